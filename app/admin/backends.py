"""Changes a backend at run time, in this process: drained and back, another weight, gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.admin import views
from app.admin.answers import FIELDS, Json, Refusal
from app.domain.backend import Backend
from app.domain.pool import Pool
from app.engine.topology import Topology
from settings.models import Frozen

LONGEST = 4096
"""Bytes of a request body."""

_log = logging.getLogger("l7lb.admin")


class BackendChange(Frozen):
    """What a PATCH may say; what it does not say stays."""

    model_config = ConfigDict(strict=True)

    weight: int = Field(default=1, ge=0, le=65535)
    draining: bool = False
    deadline: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds: how long a backend that is draining keeps the clients that a cookie keeps at it; for ever when null."""

    @model_validator(mode="after")
    def _of_a_drain(self) -> Self:
        if self.deadline is not None and not self.draining:
            raise ValueError("a deadline is for draining: say both")
        return self


class Backends:
    """`/pools/{pool}/backends/{backend}`: GET shows it, PATCH changes it, DELETE takes one out that was drained.

    A PATCH may come twice. After a restart all is as the settings say.
    """

    methods = ("GET", "PATCH", "DELETE")

    def __init__(self, topology: Topology, clock: Callable[[], float] = monotonic) -> None:
        self._topology = topology
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Serve one request. Raises Refusal."""
        if request.method == "PATCH":
            return await self._change(request)
        pool, backend = self._find(request)
        if request.method == "DELETE":
            return self._remove(pool, backend)
        return self._show(backend)

    def _find(self, request: Request) -> tuple[Pool, Backend]:
        name, wanted = request.path_params["pool"], request.path_params["backend"]
        pool = self._topology.pools.get(name)
        if pool is None:
            raise Refusal(404, f"there is no pool {name}")
        for backend in pool.backends:
            if backend.id == wanted:
                return pool, backend
        raise Refusal(404, f"pool {name} has no backend {wanted}")

    def _show(self, backend: Backend) -> Response:
        return Json(views.backend(backend, self._clock()))

    async def _change(self, request: Request) -> Response:
        body = await _body(request)
        pool, backend = self._find(request)
        try:
            change = BackendChange.model_validate_json(body)
        except ValidationError as error:
            wrong = [{"at": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()]
            status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
            detail = "; ".join(": ".join(filter(None, one.values())) for one in wrong)
            raise Refusal(status, detail, errors=wrong) from None
        if "weight" in change.model_fields_set:
            pool.weigh(backend, change.weight)
        if change.draining:
            pool.drain(backend, inf if change.deadline is None else self._clock() + change.deadline)
        elif "draining" in change.model_fields_set:
            pool.undrain(backend)
        draining = ", draining" if backend.draining else ""
        _log.info("pool %s: backend %s now has weight %d%s", pool.name, backend.id, backend.weight, draining)
        return self._show(backend)

    def _remove(self, pool: Pool, backend: Backend) -> Response:
        if not backend.draining:
            raise Refusal(409, f'{backend.id} takes requests: PATCH it with {{"draining": true}} first')
        if not backend.idle:
            detail = f"{backend.id} is draining, and has {backend.in_flight} in flight: try again when it has none"
            raise Refusal(409, detail, {"retry-after": "1"}, in_flight=backend.in_flight)
        self._topology.remove(backend)
        _log.info("pool %s: backend %s is removed", pool.name, backend.id)
        return Response(status_code=204, headers=FIELDS)


async def _body(request: Request) -> bytes:
    """All of it. Raises Refusal."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST:
                raise Refusal(413, f"a body of more than {LONGEST} bytes")
    except ClientDisconnect:
        raise Refusal(400, "the body did not come to its end") from None
    return body
