"""A hedge: a second attempt beside the first, when that takes long; the first good answer is taken, the other cut.

    first --delay--> nothing yet, and the budget affords it, and there is another backend --> second
    first good answer of the two: it is the one;   both bad: the last of them is

Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56 (2013); Finagle, `BackupRequestFilter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, cast

from app.domain.errors import NoBackend, ProxyError

if TYPE_CHECKING:
    from httpx import Response

    from app.domain.attempt import Attempt
    from app.engine.client import Client, UpstreamRequest, UpstreamResponse
    from app.engine.dispatch import Dispatcher
    from app.engine.outbound import Outbound

Make = Callable[["Outbound", "Attempt"], "UpstreamRequest"]


async def race(
    dispatcher: Dispatcher, client: Client, outbound: Outbound, request: UpstreamRequest, make: Make, delay: float
) -> UpstreamResponse:
    """Send *request*, and another after *delay* seconds; `outbound.attempt` is in the end the one that came first.

    Raises:
        ProxyError: neither has a response.
    """
    loop = asyncio.get_running_loop()
    first = loop.create_task(client.send(request))
    racing = {first: request.attempt}
    try:
        await asyncio.wait(racing, timeout=delay)
        if not first.done() and (hedge := _second(dispatcher, outbound)) is not None:
            another = make(outbound, hedge)
            outbound.requests = (request, another)
            racing[loop.create_task(client.send(another))] = hedge
        while True:
            done, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            task = next(iter(done))
            attempt = outbound.attempt = racing.pop(task)
            attempts = outbound.exchange.attempts
            attempts.remove(attempt)
            attempts.append(attempt)  # the last is the one that counts
            error = task.exception()
            if not racing or (error is None and task.result().status_code not in dispatcher.again_on):
                return cast("UpstreamResponse", task.result())
            _lose(dispatcher, attempt, task)
    finally:
        for task, attempt in racing.items():
            task.cancel()
            if attempt is not outbound.attempt:
                _lose(dispatcher, attempt, task)


def _second(dispatcher: Dispatcher, outbound: Outbound) -> Attempt | None:
    """An attempt at another backend; None where none has room, or it cannot be afforded, or the client has gone."""
    now = monotonic()
    tried = outbound.attempt
    assert tried is not None
    if outbound.error is not None or dispatcher.waiting or not dispatcher.room(tried.backend):
        return None
    if not dispatcher.affords(now):
        return None
    try:
        attempt = dispatcher.begin(outbound, now)
    except NoBackend:
        return None
    finally:
        outbound.attempt = tried
    return attempt


def _lose(dispatcher: Dispatcher, attempt: Attempt, task: asyncio.Task[Response]) -> None:
    """End an attempt that is not the one: it may have failed, have a response that nobody wants, or none yet."""
    error = response = None
    if task.done() and not task.cancelled():
        fault = task.exception()
        if fault is None:
            response = cast("UpstreamResponse", task.result())
            attempt.status = response.status_code
            attempt.first_byte = monotonic()
        elif isinstance(fault, ProxyError):
            error = fault
    dispatcher.finish(attempt, error, monotonic())
    if response is not None:
        response.release()
