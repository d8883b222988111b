"""What is written down, and what is passed on."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from settings.models import Frozen
from settings.problems import Wrong


class LogSettings(Frozen):
    """The latency log: a line a request on standard output."""

    format: Literal["json", "common", "off"] = "json"
    """One JSON object a line, the common log format, or nothing."""


class ForwardedSettings(Frozen):
    """What the backend is told of the client."""

    x_forwarded: Literal["replace", "append", "off"] = "replace"
    """replace: what an untrusted peer sent is dropped, a trusted one's is continued; append: always continued."""
    forwarded: bool = False
    """RFC 7239 `Forwarded`, by the same rule."""
    via: str = "l7lb"
    """Name in `Via`, both ways; empty leaves the field out."""
    request_id: bool = True
    """`X-Request-ID`: passed on, or made."""
    traceparent: Literal["make", "pass", "drop"] = "make"
    """W3C trace context: passed on, and made where missing."""

    @field_validator("via")
    @classmethod
    def _pseudonym(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:-]{0,64}", value):
            raise Wrong("not a name for Via", "write letters, digits and . _ : - only, or nothing")
        return value
