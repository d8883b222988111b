"""Lets nobody without a user's name and password past (RFC 7617). Not in the stack of a group that asks for none.

A password is hashed once and remembered for a while by a keyed digest of what the client sent, so that a request
costs a table's look-up. Hashing takes its time on purpose: it is done in threads of its own, few of them, so that
neither the event loop nor who else needs threads has to wait for it.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from app.domain.bucket import network
from app.domain.errors import AuthAway, TooManyFailures, Unauthorized
from app.domain.exchange import Exchange
from app.domain.failures import Failures
from app.domain.headers import Fields, put, spelled
from app.domain.remembered import Remembered
from app.engine.asgi import ASGIApp, Receive, Scope, Send, Waits
from app.engine.auth.passwords import Check, check_of, users_of
from app.engine.kept_file import KeptFile
from settings.identity import BasicAuthSettings
from settings.problems import Wrong

MOST_WAITING = 64
"""Passwords that may wait to be hashed in one process; who comes then is answered 503."""


class Hashing:
    """The threads in which passwords are hashed."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether too many wait already."""
        return self._waiting >= MOST_WAITING

    async def check(self, check: Check, password: bytes) -> bool:
        """Whether the password is the one."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "password")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, check, password)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Let go of the threads; what waits is not begun."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


class Users:
    """Those of one group: of the settings, and of a file that may change.

    Attributes:
        version: changes when the file has.

    Raises:
        Wrong: a hash that cannot be used, or a file.
    """

    def __init__(self, settings: BasicAuthSettings) -> None:
        self._own: dict[str, Check] = {}
        for user, text in settings.users.items():
            try:
                self._own[user] = check_of(text.get_secret_value())
            except Wrong as wrong:
                raise Wrong(wrong.message, wrong.fix, at=("users", user)) from None
        self._file: KeptFile[dict[str, Check]] | None = None
        if settings.users_file is not None:
            try:
                self._file = KeptFile(Path(settings.users_file), users_of)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                fix = "write the path of a file as htpasswd writes it"
                raise Wrong(f"it cannot be used ({reason})", fix, at=("users_file",)) from None
        self.version = -1
        self._all: Mapping[str, Check] = self._own
        self.get()

    def get(self) -> Mapping[str, Check]:
        """The checks by user; those of the settings win."""
        if self._file is not None:
            found = self._file.get()
            if self.version != self._file.version:
                self.version = self._file.version
                self._all = {**found, **self._own}
        return self._all


class BasicAuth:
    """Sets `exchange.user`. Raises Unauthorized, TooManyFailures, and AuthAway when too much is to be hashed."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: BasicAuthSettings,
        users: Users,
        hashing: Hashing,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.app = app
        self._users = users
        self._version = users.version
        self._hashing = hashing
        self._clock = clock
        self._remember = settings.remember
        self._known: Remembered[str] = Remembered(os.urandom(32))
        self._places: Remembered[bool] = Remembered(os.urandom(32))
        most = max(1, int(settings.failures.count))
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._failures = Failures(most, settings.failures.period)
        self._challenge = (b"www-authenticate", b'Basic realm="%b", charset="UTF-8"' % settings.realm.encode("latin-1"))
        self._header = (settings.header or "").lower().encode()
        taken = (settings.header, None if settings.pass_on else "authorization")
        self._taken = spelled(name for name in taken if name is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        exchange, headers = scope["lb.exchange"], scope["headers"]
        given = self._given(exchange, headers)
        user = self._recall(exchange, given)
        if user is None:
            user = await self._check(exchange, given)
        self._admit(exchange, headers, user)
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Look. Raises Waits for a password that has to be hashed first."""
        user = self._recall(exchange, self._given(exchange, headers))
        if user is None:
            raise Waits(self)
        self._admit(exchange, headers, user)

    def _given(self, exchange: Exchange, headers: Fields) -> bytes:
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if scheme.lower() != b"basic":
            raise self._refused(exchange, "this needs a user's name and password")
        return credentials.strip()

    def _recall(self, exchange: Exchange, given: bytes) -> str | None:
        """Whose password it is, as far as that is known; None for one that has to be checked, or may not be tried."""
        users = self._users.get()
        if self._version != self._users.version:
            self._version = self._users.version
            self._known.clear()
            self._places.clear()
        now = self._clock()
        user = self._known.get(self._known.digest(given), now)
        if user not in users:
            return None
        if self._failures and self._failures.wait(client := _client(exchange), now):
            # else a guess would be looked up among the passwords of all others, as often as one likes
            return user if self._places.get(self._place(client, given), now) else None
        return user

    def _place(self, client: str, given: bytes) -> bytes:
        return self._places.digest(b"%b %b" % (client.encode(), given))

    async def _check(self, exchange: Exchange, given: bytes) -> str:
        user, password = _parts(given)
        if user is None:
            raise self._refused(exchange, "this is no name and password")
        client = _client(exchange)
        digest = self._known.digest(given)
        check = self._checks.get(digest)
        if check is None:  # requests that come at the same time with the same password share one hash, and one try
            check = self._begin(client, user, password)
            self._checks[digest] = check
            check.add_done_callback(lambda _: self._checks.pop(digest))
        if not await asyncio.shield(check):
            raise self._refused(exchange, "the name or the password is wrong")
        self._failures.forgive(client)
        until = self._clock() + self._remember
        self._known.put(digest, user, until)
        self._places.put(self._place(client, given), True, until)
        return user

    def _begin(self, client: str, user: str, password: bytes) -> asyncio.Task[bool]:
        now = self._clock()
        if wait := self._failures.wait(client, now):
            raise TooManyFailures("too many wrong passwords", retry_after=wait)
        if self._hashing.full:
            raise AuthAway("too many passwords wait to be looked at")
        self._failures.note(client, now)  # before it is known, or many could be tried at the same time
        users = self._users.get()
        return asyncio.get_running_loop().create_task(self._right(users, user, password))

    async def _right(self, users: Mapping[str, Check], user: str, password: bytes) -> bool:
        check = users.get(user) or next(iter(users.values()), None)  # who is not there takes as long
        return check is not None and await self._hashing.check(check, password) and user in users

    def _refused(self, exchange: Exchange, why: str) -> Unauthorized:
        exchange.fields += (self._challenge,)
        return Unauthorized(why)

    def _admit(self, exchange: Exchange, headers: Fields, user: str) -> None:
        exchange.user = user
        put(headers, self._taken, [(self._header, user.encode("latin-1", "replace"))] if self._header else [])


def _client(exchange: Exchange) -> str:
    return network(exchange.client) if ":" in exchange.client else exchange.client


def _parts(given: bytes) -> tuple[str | None, bytes]:
    """User and password of what a client sent: RFC 7617 section 2; None and nothing of what is not of that form."""
    try:
        name, colon, password = b64decode(given, validate=True).partition(b":")
    except Error:
        return None, b""
    if not colon:
        return None, b""
    try:
        return name.decode(), password
    except UnicodeDecodeError:
        return name.decode("latin-1"), password
