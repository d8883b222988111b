"""The proxy that one would write first: Starlette, and httpx as its documentation shows it. A peer of the bench."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    async with httpx.AsyncClient(base_url=os.environ["BENCH_BACKEND"]) as client:
        yield {"client": client}


async def forward(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.state.client
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    outgoing = client.build_request(request.method, url, headers=request.headers.raw, content=request.stream())
    answer = await client.send(outgoing, stream=True)
    body, close = answer.aiter_raw(), BackgroundTask(answer.aclose)
    return StreamingResponse(body, status_code=answer.status_code, headers=answer.headers, background=close)


app = Starlette(routes=[Route("/{path:path}", forward, methods=METHODS)], lifespan=lifespan)
