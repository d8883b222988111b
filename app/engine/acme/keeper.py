"""Keeps the certificates that ACME gives: orders what is due, as the one process that does, and waits after failures.

    asleep --one is due, nobody else orders--> ordering --issued--> asleep
                                                   |
                                                   +--failed--> asleep, and that one not due for a while

What was issued is served by whoever looks at its file. Nothing here is in the way of a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from app.domain.issuance import due, pause
from app.domain.metrics import Samples
from app.engine.acme.storage import Failed, Storage
from settings.acme import AcmeSettings

PROGRAM = ("-m", "app.engine.acme.order")
PATIENCE = 300.0
"""Seconds that an order may take."""
AWAY = 60.0
"""Seconds until a storage is looked at again that could not be used."""
LONGEST = 500
"""Characters of what the authority says that the log has."""

log = logging.getLogger("l7lb.acme")


class OrderFailed(Exception):
    """There is no certificate; says why. *limited*: there were too many orders, or failures."""

    def __init__(self, why: str, *, limited: bool = False) -> None:
        super().__init__(why)
        self.limited = limited


class Keeper:
    """The job of one process.

    Args:
        interval: seconds between two looks at what is due.

        wall: wall-clock seconds.
    """

    def __init__(self, acme: AcmeSettings, interval: float, wall: Callable[[], float] = time.time) -> None:
        self._acme = acme
        self._storage = Storage(acme)
        self._interval = interval
        self._wall = wall
        self._orders = {(domain, outcome): 0 for domain in acme.domains for outcome in ("issued", "failed")}

    def sample(self) -> Samples:
        """By domain and outcome, how many orders there were of this process."""
        return list(self._orders.items())

    async def run(self) -> None:
        """The job: look until it is cancelled."""
        while True:
            try:
                await self._look()
            except OSError as error:
                log.error("the storage of acme cannot be used: %s", error)
                await asyncio.sleep(AWAY)
            await asyncio.sleep(self._interval)

    async def _look(self) -> None:
        if not await asyncio.to_thread(self._due):
            return
        with suppress(BlockingIOError), self._storage.locked():
            self._storage.clear()
            for domain in await asyncio.to_thread(self._due):  # somebody else may have been quicker
                await self._get(domain)

    def _due(self) -> list[str]:
        now, storage = self._wall(), self._storage
        before = self._acme.renew_before
        waiting = (domain for domain in self._acme.domains if storage.failed(domain).until <= now)
        return [name for name in waiting if (known := storage.issued(name)) is None or due(known, now, before)]

    async def _get(self, domain: str) -> None:
        started = time.monotonic()
        try:
            await self._order(domain)
        except OrderFailed as failed:
            self._orders[domain, "failed"] += 1
            failures = self._storage.failed(domain).failures + 1
            wait = pause(failures, limited=failed.limited)
            self._storage.fail(domain, Failed(failures, self._wall() + wait))
            log.error("no certificate for %s, what is served stays; again in %g s: %s", domain, wait, failed)
        else:
            self._orders[domain, "issued"] += 1
            self._storage.succeed(domain)
            log.warning("certificate for %s issued in %.1f s", domain, time.monotonic() - started)

    async def _order(self, domain: str) -> None:
        """Have a certificate written. Raises OrderFailed."""
        acme = self._acme
        said = {
            "domain": domain, "file": str(acme.file(domain)), "tokens": str(acme.challenges),
            "directory": acme.directory, "ca": str(acme.ca) if acme.ca else None, "email": acme.email,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, *PROGRAM,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # it is to find what we found
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                told, complaint = await process.communicate(json.dumps(said).encode())
        except TimeoutError:
            raise OrderFailed(f"the order took over {PATIENCE:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return
        try:
            found = json.loads(told)
            why, limited = str(found["why"]), bool(found["limited"])
        except (ValueError, KeyError, TypeError):
            last = complaint.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise OrderFailed(f"the order ended with {process.returncode}: {last[:LONGEST]}") from None
        raise OrderFailed(why[:LONGEST], limited=limited)
