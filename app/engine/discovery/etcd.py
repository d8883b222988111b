"""Backends that are keys of etcd below a prefix, by its JSON gateway: each value a line or a table, as in the settings.

A key with a lease is a backend that registers itself: it is gone when nobody keeps the lease alive. A value that does
not say an id has what stands behind the prefix.

Source: etcd v3, "gRPC gateway" and "Interacting with etcd": range, watch, authenticate.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from pydantic import Field, SecretStr

from app.engine.discovery.api import ApiOptions, Url, token_of
from app.engine.discovery.members import Sieve, decoded, noted
from app.engine.discovery.request import Reply, asking
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import Line
from settings.units import Duration

GATHER = 0.1
"""Seconds, within which events are one change."""
REST = 0.2
"""Seconds, at least, between two watches."""


class EtcdOptions(ApiOptions):
    """Which keys."""

    url: Url = "http://127.0.0.1:2379"
    """Where the API is."""
    prefix: Line = Field(min_length=1)
    """What the keys begin with, such as `/l7lb/web/`."""
    user: Line = ""
    """Who we are, where etcd wants to know."""
    password: SecretStr | None = None
    """Of the user."""
    interval: Duration = Field(default=60.0, gt=0)
    """How long after the last event they are read anew in any case."""


class Etcd(Source):
    """Reads all keys, and reads them again when one was written or has gone."""

    Options = EtcdOptions

    def __init__(self, options: EtcdOptions, *, pool: str, **services: object) -> None:
        self._options = options
        self._sieve = Sieve(pool)
        prefix = options.prefix.encode()
        behind = prefix.rstrip(b"\xff")  # the first key that does not begin with it
        behind = behind[:-1] + bytes((behind[-1] + 1,)) if behind else b"\0"
        self._range = {"key": _encoded(prefix), "range_end": _encoded(behind)}

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give what is there now, and after each change."""
        while True:
            token = await self._token()
            members, revision = await self._read(token)
            wanted = {"create_request": {**self._range, "start_revision": str(revision + 1)}}
            async with self._asking("/v3/watch", wanted, token) as told:
                _well(told.status)
                yield members
                while True:
                    try:
                        lines = await told.lines(self._options.interval, GATHER)
                    except TimeoutError:
                        break
                    if not lines:
                        raise SourceFailed("the stream of events ended")
                    said = [_result(line) for line in lines]
                    if any(one.get("canceled") for one in said):
                        break  # the revision is not known any more: begin with one that is
                    if any(one.get("events") for one in said):
                        yield (await self._read(token))[0]
            await asyncio.sleep(REST)

    async def _read(self, token: str) -> tuple[Members, int]:
        async with self._asking("/v3/kv/range", self._range, token) as reply:
            _well(reply.status)
            said = decoded(await reply.read())
        try:
            pairs = [(b64decode(one["key"]), b64decode(one.get("value", ""))) for one in said.get("kvs", ())]
            revision = int(said["header"]["revision"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SourceFailed("not an answer of etcd") from None
        return self._sieve.take(self._backend(key, value) for key, value in pairs), revision

    def _backend(self, key: bytes, value: bytes) -> tuple[str, dict[str, Any] | str]:
        name = key.decode(errors="replace")
        return name, noted(name.removeprefix(self._options.prefix), value)

    async def _token(self) -> str:
        if not self._options.user:
            return await token_of(self._options)
        password = self._options.password.get_secret_value() if self._options.password is not None else ""
        wanted = {"name": self._options.user, "password": password}
        async with self._asking("/v3/auth/authenticate", wanted, "") as reply:
            _well(reply.status)
            said = decoded(await reply.read())
        token = said.get("token") if isinstance(said, dict) else None
        if not isinstance(token, str) or not token.isprintable():
            raise SourceFailed("not an answer of etcd")
        return token

    def _asking(self, target: str, wanted: dict[str, Any], token: str) -> AbstractAsyncContextManager[Reply]:
        fields = {"authorization": token} if token else None
        return asking(self._options, target, method="POST", body=json.dumps(wanted).encode(), fields=fields)


def _well(status: int) -> None:
    if status != 200:
        raise SourceFailed(f"status {status}")


def _result(line: bytes) -> dict[str, Any]:
    said = decoded(line)
    result = said.get("result") if isinstance(said, dict) else None
    if not isinstance(result, dict):
        raise SourceFailed("the watch failed")
    return result


def _encoded(text: bytes) -> str:
    return b64encode(text).decode()
