"""What `Retry-After` says, in seconds."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.domain.headers import Fields


def retry_after_of(fields: Fields) -> float | None:
    """Seconds from now, of a number or a date; None without the field, and where it is neither.

    Source: RFC 9110 section 10.2.3.
    """
    for name, value in fields:
        if name == b"retry-after":
            text = value.decode("latin-1").strip()
            if text.isascii() and text.isdigit() and len(text) < 10:
                return float(text)
            try:
                return max(0.0, parsedate_to_datetime(text).timestamp() - time())
            except (ValueError, TypeError, OverflowError):
                return None
    return None
