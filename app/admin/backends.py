"""Registers backends at run time and changes them: drained and back, another weight, gone; here and everywhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from time import monotonic
from typing import Self
from urllib.parse import quote

from pydantic import ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from app.admin import views
from app.admin.answers import FIELDS, Json, Refusal
from app.admin.body import body_of, parsed
from app.domain.backend import Backend, locate
from app.domain.networks import permits
from app.domain.pool import Pool
from app.domain.registration import Registration
from app.engine.registrations import Registrations, TooMany
from app.engine.state.board import BoardAway, Conflict
from app.engine.topology import Topology
from settings.models import Frozen
from settings.pools import BackendSettings

AGAIN = 5
"""How often what was asked for without a condition is tried when others write at the same time."""

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


class NewBackend(BackendSettings):
    """What a POST says."""

    ttl: float = Field(default=0.0, ge=0, le=86_400, allow_inf_nan=False)
    """Seconds after which the backend is gone when it is not registered again; 0 is never."""

    @model_validator(mode="after")
    def _of_the_operator(self) -> Self:
        if self.networks:
            raise ValueError("networks are the operator's to say: LB_ADMIN__ALLOW_BACKENDS")
        return self

    @property
    def spec(self) -> BackendSettings:
        """The backend itself."""
        return BackendSettings.model_validate(self.model_dump(exclude={"ttl"}))


class Backends:
    """`/pools/{pool}/backends`: POST registers one. `/pools/{pool}/backends/{backend}`: GET, PATCH, DELETE.

    All of it may come twice. The ETag is that of what was said at run time, `"0"` where nothing was; If-Match and
    If-None-Match go by it. It holds on all that share the board, and outlives them as far as the board does.
    """

    methods = ("GET", "PATCH", "DELETE")

    def __init__(
        self,
        topology: Topology,
        registrations: Registrations,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._topology = topology
        self._registrations = registrations
        self._clock = clock
        self._wall = wall

    async def answer(self, request: Request) -> Response:
        """Serve one request for a backend. Raises Refusal."""
        if request.method == "PATCH":
            body = await body_of(request)
            return await self._again(request, lambda: self._change(request, body))
        if request.method == "DELETE":
            return await self._again(request, lambda: self._remove(request))
        return self._show(self._find(request)[1])

    async def register(self, request: Request) -> Response:
        """Serve one request for a new one. Raises Refusal."""
        body = await body_of(request)
        return await self._again(request, lambda: self._register(request, body))

    async def _again(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """Do *work*, and again where somebody else wrote meanwhile. Raises Refusal."""
        for _ in range(AGAIN):
            try:
                return await work()
            except Conflict as conflict:
                if {"if-match", "if-none-match"} & set(request.headers):
                    raise Refusal(412, f"it is at revision {conflict.revision} by now") from None
            except TooMany as error:
                raise Refusal(409, str(error)) from None
            except BoardAway as error:
                raise Refusal(503, f"the shared state is away: {error}", {"retry-after": "1"}) from None
        raise Refusal(503, "others write at the same time", {"retry-after": "1"})

    def _find(self, request: Request) -> tuple[Pool, Backend]:
        pool = self._pool(request)
        wanted = request.path_params["backend"]
        if (backend := _by_id(pool, wanted)) is None:
            raise Refusal(404, f"pool {pool.name} has no backend {wanted}")
        return pool, backend

    def _pool(self, request: Request) -> Pool:
        name = request.path_params["pool"]
        pool = self._topology.pools.get(name)
        if pool is None:
            raise Refusal(404, f"there is no pool {name}")
        return pool

    def _show(self, backend: Backend, status: int = 200, **fields: str) -> Response:
        _, revision = self._registrations.known(backend.pool, backend.id)
        return Json(views.backend(backend, self._clock()), status, {"etag": f'"{revision}"', **fields})

    async def _register(self, request: Request, body: bytes) -> Response:
        pool = self._pool(request)
        if not self._registrations.networks:
            raise Refusal(
                403, "no backend can be registered: set LB_ADMIN__ALLOW_BACKENDS to the networks they may be in"
            )
        new = parsed(body, NewBackend)
        spec = new.spec
        self._check_address(spec)
        present, revision = await self._registrations.look(pool.name, spec.id)
        _check_conditions(request, revision, there=present.spec is not None)
        path = f"{request.url.path}/{quote(spec.id, safe=':')}"
        if present.removed and present.spec is None and not present.ttl:
            revision = await self._registrations.write(pool.name, spec.id, Registration(), revision)
            if (back := _by_id(pool, spec.id)) is not None:
                _log.info("pool %s: backend %s is back", pool.name, spec.id)
                return self._show(back, 201, location=path)
        if present.spec is None and _by_id(pool, spec.id) is not None:
            raise Refusal(409, f"{spec.id} is there already, and not by registration: take another id")
        if await self._registrations.register(pool.name, Registration(spec=spec, ttl=new.ttl), revision):
            _log.info("pool %s: backend %s is registered: %s", pool.name, spec.id, spec.url)
        backend = _by_id(self._pool(request), spec.id)
        if backend is None:  # somebody has taken it out in that moment
            raise Conflict(0)
        return self._show(backend, 200 if present.spec is not None else 201, location=path)

    def _check_address(self, spec: BackendSettings) -> None:
        host = locate(spec)[1]
        try:
            ip_address(host)
        except ValueError:
            return  # a name: looked at with every connection
        if not permits(self._registrations.networks, host):
            raise Refusal(
                403, f"{host} is in no network of LB_ADMIN__ALLOW_BACKENDS, or in one where no backend may be"
            )

    async def _change(self, request: Request, body: bytes) -> Response:
        pool, backend = self._find(request)
        change = parsed(body, BackendChange)
        present, revision = await self._registrations.look(pool.name, backend.id)
        pool, backend = self._find(request)
        _check_conditions(request, revision, there=True)
        said = present
        if "weight" in change.model_fields_set:
            said = said.weighed(change.weight, backend.spec)
        if "draining" in change.model_fields_set:
            let_go = None if change.deadline is None else self._wall() + change.deadline
            said = replace(said, draining=change.draining, let_go=let_go)
        if said != present:
            await self._registrations.write(pool.name, backend.id, said, revision)
        draining = ", draining" if backend.draining else ""
        _log.info("pool %s: backend %s now has weight %d%s", pool.name, backend.id, backend.weight, draining)
        return self._show(backend)

    async def _remove(self, request: Request) -> Response:
        pool, backend = self._find(request)
        present, revision = await self._registrations.look(pool.name, backend.id)
        _check_conditions(request, revision, there=True)
        if present.spec is not None:
            await self._registrations.withdraw(pool.name, backend.id, revision)
        else:
            self._check_unneeded(backend)
            said = Registration(removed=True, instead_of=backend.spec)
            await self._registrations.write(pool.name, backend.id, said, revision)
        _log.info("pool %s: backend %s is removed", pool.name, backend.id)
        return Response(status_code=204, headers=FIELDS)

    def _check_unneeded(self, backend: Backend) -> None:
        """Raises Refusal where a backend that a source names takes requests, or has some: it may be a mistake."""
        if not backend.draining:
            raise Refusal(409, f'{backend.id} takes requests: PATCH it with {{"draining": true}} first')
        if not backend.idle:
            detail = f"{backend.id} is draining, and has {backend.in_flight} in flight: try again when it has none"
            raise Refusal(409, detail, {"retry-after": "1"}, in_flight=backend.in_flight)


def _by_id(pool: Pool, wanted: str) -> Backend | None:
    return next((backend for backend in pool.backends if backend.id == wanted), None)


def _check_conditions(request: Request, revision: int, *, there: bool) -> None:
    """Raises Refusal where If-Match or If-None-Match forbid it (RFC 9110 sections 13.1.1 and 13.1.2)."""
    match, none = (_tags(request, name) for name in ("if-match", "if-none-match"))
    own = {"*", f'"{revision}"'} if there else set()
    if match is not None and not match & own:
        raise Refusal(412, f"it is at revision {revision}")
    if none is not None and {tag.removeprefix("W/") for tag in none} & own:
        raise Refusal(412, f"it is there, at revision {revision}")


def _tags(request: Request, name: str) -> set[str] | None:
    """What all fields of that name list; None without one."""
    fields = request.headers.getlist(name)
    return {tag.strip() for field in fields for tag in field.split(",")} if fields else None
