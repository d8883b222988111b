"""The record of one request and its response through us: filled on the way in, read once on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.domain.attempt import Attempt
    from app.domain.bucket import Decision
    from app.domain.coding import Coding
    from app.domain.errors import ProxyError
    from app.domain.pages import Pages


class Exchange:
    """One request and its response. Times are monotonic seconds; 0.0 is "did not happen".

    Attributes:
        peer: address at the other end of the connection; "unix" for a unix socket.

        client: who the client is: the peer, unless a trusted proxy said otherwise.

        host: the Host field as sent.

        path: the raw path as sent, percent-encoded, without the query.

        request_id: sent on to the backend and logged; "" until one is made or accepted.

        group, pool: names; "" until routed.

        limit: what the last limiter said; its fields go into the response.

        fields: what layers on the way in want in the response head.

        cache: what a cache did with it: hit, stale, validated, miss, collapsed, bypass; "" where none was asked.

        user: who it is, as the layer says that let the client in; "" where none asked.

        pages: how errors look in its group; None as everywhere.

        coding: how the client wants the response compressed; None in a group that does not.

        queued: seconds spent waiting for a backend with room.

        status: what the client got; 499 when it had gone before; 0 while there is none.

        first_byte: when the response head was handed to the client's connection.

        bytes_in, bytes_out: body bytes, as read from and written to the client.

        error: why this status, where we made it or cut it short.

        leave: gives back what a layer took for as long as the exchange lasts; called once, when the record is closed.
    """

    __slots__ = (
        "attempts", "bytes_in", "bytes_out", "cache", "client", "coding", "ended", "error", "fields", "first_byte",
        "group", "host", "leave", "limit", "method", "pages", "path", "peer", "pool", "queued", "request_id", "scheme",
        "started", "status", "user",
    )  # fmt: skip

    def __init__(self, started: float, peer: str, scheme: str, method: str, host: str, path: str) -> None:
        self.started = started
        self.peer = self.client = peer
        self.scheme = scheme
        self.method = method
        self.host = host
        self.path = path
        self.request_id = ""
        self.group = ""
        self.pool = ""
        self.limit: Decision | None = None
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        self.cache = ""
        self.user = ""
        self.pages: Pages | None = None
        self.coding: Coding | None = None
        self.queued = 0.0
        self.attempts: list[Attempt] = []
        self.status = 0
        self.first_byte = 0.0
        self.ended = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.error: ProxyError | None = None
        self.leave: Callable[[], None] | None = None
