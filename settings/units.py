"""Quantities as people write them: "250ms", "64KiB", "100/m", "50%"."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER = r"(\d+(?:\.\d+)?)"


class Rate(NamedTuple):
    """*count* in *period* seconds."""

    count: float
    period: float


def duration(value: Any) -> Any:
    """Seconds from "250ms", "5s", "1m30s"; 0 needs no unit. Raises ValueError for a bare number: its unit is a guess."""
    if isinstance(value, float):  # already seconds: a default, or a settings object built in Python
        return value
    text = str(value).strip()
    if text in ("0", "0.0"):
        return 0.0
    if not re.fullmatch(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+", text):
        raise ValueError('write a duration with its unit, such as "250ms", "5s" or "1m"')
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(rf"{_NUMBER}(ms|s|m|h|d)", text))


def size(value: Any) -> Any:
    """Bytes from "64KiB", "1MB" or a whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(rf"{_NUMBER}\s*(B|[KMG]i?B)?", str(value).strip())
    if not found:
        raise ValueError('write a size such as "64KiB", "10MB" or a number of bytes')
    return int(float(found[1]) * _BYTES[found[2] or "B"])


def rate(value: Any) -> Any:
    """A Rate from "100/s", "100/m", "5/10s"."""
    if isinstance(value, Rate):
        return value
    found = re.fullmatch(rf"{_NUMBER}\s*/\s*(\d*)\s*(ms|s|m|h|d)", str(value).strip())
    if not found or float(found[1]) <= 0 or found[2] == "0":
        raise ValueError('write a rate such as "100/s", "100/m" or "5/10s"')
    return Rate(float(found[1]), int(found[2] or 1) * _SECONDS[found[3]])


def ratio(value: Any) -> Any:
    """A share from 0 to 1, from "50%" or 0.5."""
    text = str(value).strip()
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:
        raise ValueError('write a share such as "50%" or 0.5')
    return share


Duration = Annotated[float, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Ratio = Annotated[float, BeforeValidator(ratio)]
RateField = Annotated[Rate, BeforeValidator(rate)]
