"""For backends: being registered at l7lb for as long as one serves.

    from app.register import registered

    app = Starlette(lifespan=registered("https://lb/-", pool="web", url="http://10.0.0.5:8000", token="..."))

registers when the server listens, and again and again; on SIGTERM it first has the backend taken out, so that nothing
new comes any more, and only then lets the server stop. `l7lb register` does the same around any command.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import FrameType
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

LISTEN = 0.05
"""Seconds between two attempts to find out whether the server listens."""
PATIENCE = 5.0
"""Seconds that l7lb has to answer, and in which being taken out is tried."""
AGAIN = 0.5
"""Seconds between two attempts at that."""
SHORTEST = 1.0
"""Seconds that a ttl has at least."""

log = logging.getLogger("l7lb.register")


class Registered:
    """One backend that is registered from `begin` to `end`.

    Args:
        to: URL of the control plane, such as `https://lb/-`.

        pool: name of the pool.

        url: of the backend, as l7lb reaches it.

        token: of the control plane.

        id: of the backend; host:port of its URL where none is given.

        weight: share of the traffic beside the others.

        ttl: seconds, at least 1, after which it is gone when it is not heard of; it registers again three times as
            often.

        verify: as httpx has it: a context that trusts the certificate of *to*, or whether it is looked at.

    Raises:
        ValueError: one of them cannot be; says which.
    """

    def __init__(
        self,
        to: str,
        *,
        pool: str,
        url: str,
        token: str,
        id: str = "",  # noqa: A002  # the API calls it that
        weight: int = 1,
        ttl: float = 15.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        if ttl < SHORTEST:
            raise ValueError(f"ttl: {ttl:g} s is too short; write at least {SHORTEST:g}")
        if not token.isascii():
            raise ValueError("token: it can be of ASCII characters only")
        for name, value in (("to", to), ("url", url)):
            if not _is_url(value):
                raise ValueError(f"{name}: {value} is no URL; write one such as http://10.0.0.5:8000")
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        self._place = f"{to.rstrip('/')}/pools/{quote(pool, safe='')}/backends"
        self._said = {"url": url, "weight": weight, "ttl": ttl, "id": id or f"{self._host}:{self._port}"}
        self._rest = ttl / 3
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {token}"}, verify=verify, timeout=PATIENCE, trust_env=False
        )
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def begin(self) -> None:
        """Register as soon as the backend listens, and stay registered."""
        self._task = asyncio.create_task(self._stay())

    async def end(self) -> None:
        """Have it taken out, where it is registered; twice is once.

        What is on its way to l7lb is waited for: it would be registered again by that.
        """
        task, self._task = self._task, None
        if task is None:
            return
        self._over.set()
        await asyncio.wait({task}, timeout=PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        why = ""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    why = await self._ask("DELETE", f"{self._place}/{quote(str(self._said['id']), safe='')}", 404)
                    if not why:
                        break
                    await asyncio.sleep(AGAIN)
        except TimeoutError:
            log.warning("not taken out at %s: %s; it goes by itself", self._place, why or "no answer")
        await self._client.aclose()

    async def _stay(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self._port)
                writer.close()
                break
            await self._pause(LISTEN)
        failed = False
        while not self._over.is_set():
            why = await self._ask("POST", self._place, said=self._said)
            if why and not failed:
                log.warning("not registered at %s: %s; it is tried again", self._place, why)
            elif failed and not why:
                log.warning("registered at %s again", self._place)
            failed = bool(why)
            await self._pause(min(1.0, self._rest) if why else self._rest)

    async def _ask(self, method: str, url: str, *fine: int, said: Any = None) -> str:
        """Why it was not done; "" when it was, or the status is *fine*."""
        try:
            response = await self._client.request(method, url, json=said)
        except httpx.HTTPError as error:
            return repr(error)
        done = response.is_success or response.status_code in fine
        return "" if done else f"{response.status_code}: {response.text}"

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(httpx.URL(value).host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def registered(to: str, *, drain: float = 1.0, **said: Any) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan for an ASGI app, which is registered while it serves.

    Args:
        to: as `Registered` has it.

        drain: seconds from being taken out to the server's own end, in which what is on its way still arrives.

        **said: as `Registered` has them.
    """

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        backend = Registered(to, **said)
        backend.begin()
        release = _on_terminate(backend, drain)
        try:
            yield
        finally:
            release()
            await backend.end()

    return lifespan


def _on_terminate(backend: Registered, drain: float) -> Callable[[], None]:
    """Stand before the server's own answer to SIGTERM, as uvicorn has it; what comes back ends that.

    One that is the loop's own cannot be put off: there it is taken out when the server has let its requests finish.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    theirs: Callable[[int, FrameType | None], Any] | int | None = signal.getsignal(signal.SIGTERM)
    if getattr(theirs, "__module__", "").startswith(("asyncio.", "uvloop.")):
        return lambda: None
    tasks = set[asyncio.Task[None]]()

    async def leave() -> None:
        await backend.end()
        await asyncio.sleep(drain)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, theirs)
        signal.raise_signal(signal.SIGTERM)

    def told() -> None:
        if not tasks:
            tasks.add(loop.create_task(leave()))

    def release() -> None:
        if loop.remove_signal_handler(signal.SIGTERM):
            signal.signal(signal.SIGTERM, theirs)

    loop.add_signal_handler(signal.SIGTERM, told)
    return release
