"""Answers of the control plane: JSON, and problem details (RFC 9457) for everything that goes wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELDS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_log = logging.getLogger("l7lb.admin")


class Json(Response):
    """A JSON answer, indented for people."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {**FIELDS, **(headers or {})})

    def render(self, content: Any) -> bytes:
        """*content* as ASCII JSON."""
        return (json.dumps(content, indent=2) + "\n").encode("ascii")


class Problem(Json):
    """An error as problem details; *more* are members of its own."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        super().__init__(content | more, status, headers)


class Refusal(Exception):
    """Raised by a route to have it answered with a `Problem` of the same arguments."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, headers, **more)


class Problems:
    """Turns what the routes raise into problem details. A defect of ours is logged with its traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Refusal as refusal:
            answer = refusal.problem
        except HTTPException as error:
            missing = error.status_code == HTTPStatus.NOT_FOUND
            detail = f"the control plane has no {scope['path']}" if missing else error.detail
            answer = Problem(error.status_code, detail, error.headers)
        except Exception:
            if started:
                raise
            _log.exception("the control plane failed at %s", scope["path"])
            answer = Problem(500, "a defect of the balancer; its log has the details")
        else:
            return
        await answer(scope, receive, send)
