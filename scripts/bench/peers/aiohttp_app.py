"""A proxy written by hand on aiohttp, server and client, streaming both ways. A peer of the bench.

Use: python aiohttp_app.py PORT http://127.0.0.1:BACKEND [cert.pem key.pem]
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web  # type: ignore[import-not-found]
from yarl import URL  # type: ignore[import-not-found]

HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"),
    "upgrade",
}
BACKEND = web.AppKey("backend", str)
SESSION = web.AppKey("session", ClientSession)


async def session(app: web.Application) -> AsyncIterator[None]:
    app[SESSION] = ClientSession(
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
    )
    yield
    await app[SESSION].close()


async def forward(request: web.Request) -> web.StreamResponse:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    headers.append(("X-Forwarded-For", request.remote or "unknown"))
    body = request.content if request.body_exists else None
    url = URL(request.app[BACKEND] + request.raw_path, encoded=True)
    async with request.app[SESSION].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as got:
        answer = web.StreamResponse(status=got.status, reason=got.reason)
        for name, value in got.headers.items():
            if name.lower() not in HOP_BY_HOP:
                answer.headers.add(name, value)
        await answer.prepare(request)
        async for chunk in got.content.iter_any():
            await answer.write(chunk)
        await answer.write_eof()
        return answer


def main() -> None:
    port, backend, *pair = sys.argv[1:]
    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    uvloop.install()
    app = web.Application(client_max_size=0)
    app[BACKEND] = backend
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(port), ssl_context=context, access_log=None, print=None)


if __name__ == "__main__":
    main()
