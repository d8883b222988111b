"""A backend that registers itself: `uvicorn tests.support.registering:app`; it finds where in its environment."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.register import registered


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("registered")


def place() -> dict[str, str]:
    return {"to": os.environ["REGISTER_AT"], "url": os.environ["REGISTER_URL"], "token": os.environ["LB_ADMIN__TOKEN"]}


app = Starlette(
    routes=[Route("/{path:path}", answer)],
    lifespan=registered(**place(), pool="main", ttl=3.0) if "REGISTER_AT" in os.environ else None,
)
