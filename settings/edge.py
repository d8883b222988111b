"""What a client may do to us before it is a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings.models import Frozen
from settings.units import Duration, Size


class EdgeSettings(Frozen):
    """Limits and deadlines of the client's side."""

    header_timeout: Duration = 10.0
    """From the connection, or the first byte of a request, to the end of its head."""
    body_timeout: Duration = 30.0
    """Between two pieces of a request body."""
    keep_alive: Duration = 60.0
    """Idle time between two requests."""
    write_timeout: Duration = 60.0
    """How long a client may read nothing of its response."""
    max_connections: int = Field(default=0, ge=0)
    """Connections of one process; for one more, those that wait for nothing go; 0 is as many as descriptors allow."""
    max_connections_per_client: int = Field(default=0, ge=0)
    """Connections of one client, by its address or IPv6 /64, unless it is a trusted proxy; 0 is without limit."""
    max_header_bytes: Size = Field(default=65536, ge=1024)
    """Bytes of a request head, above which it is answered 431; at least 1KiB."""
    max_headers: int = Field(default=100, ge=1)
    """Fields of a request head, above which it is answered 431."""
    max_body: Size = 0
    """Bytes of a request body, above which it is answered 413; 0 is without limit."""
    max_loop_lag: Duration = 0.0
    """While the event loop is late by more than that, new requests are answered 503; 0 is off."""
    max_buffered: Size = 0
    """While more bytes than that wait for a client or backend to read them, new requests are answered 503; 0 is off."""
    driver: Literal["asgi", "direct"] = "asgi"
    """direct: ordinary requests are carried by callbacks, without a task and ASGI messages: quicker, and younger."""
    half_close: bool = False
    """Serve a client that closes its sending side after the request (plain TCP only)."""
    encoded_slash: bool = False
    """Let `%2F` through as part of a segment, instead of answering 400."""
