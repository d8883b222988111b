"""Quantities as people write them: "250ms", "64KiB", "100/m", "50%"; read into seconds, bytes, a Rate, a share."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from settings.problems import Wrong

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"
_DURATION = rf"(?:{_NUMBER}(?:ms|s|m|h|d))+"
_SIZE = rf"{_NUMBER}\s*(B|[KMG]i?B)?"
_RATE = rf"{_NUMBER}\s*/\s*([0-9]{{0,9}})\s*(ms|s|m|h|d)"


class Rate(NamedTuple):
    """*count* in *period* seconds."""

    count: float  # type: ignore[assignment]  # tuple.count is nothing that anybody would call
    period: float


def duration(value: Any) -> Any:
    """Seconds from "250ms", "5s", "1m30s"; 0 needs no unit. Raises Wrong for a bare number: its unit is a guess."""
    if isinstance(value, float) and math.isfinite(value) and value >= 0:  # seconds: settings written in Python
        return value
    text = _text(value)
    if text in ("0", "0.0"):
        return 0.0
    if not re.fullmatch(_DURATION, text):
        raise Wrong("not a duration", 'write one with its unit, such as "250ms", "5s" or "1m30s"')
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(rf"{_NUMBER}(ms|s|m|h|d)", text))


def size(value: Any) -> Any:
    """Bytes from "64KiB", "1MB" or a whole number of bytes. Raises Wrong."""
    found = re.fullmatch(_SIZE, _text(value))
    if not found:
        raise Wrong("not a size", 'write one such as "64KiB", "10MB" or a number of bytes')
    return int(float(found[1]) * _BYTES[found[2] or "B"])


def rate(value: Any) -> Any:
    """A Rate from "100/s", "100/m", "5/10s". Raises Wrong."""
    if isinstance(value, Rate):
        return value
    found = re.fullmatch(_RATE, _text(value))
    if not found or float(found[1]) <= 0 or (found[2] and int(found[2]) == 0):
        raise Wrong("not a rate", 'write one such as "100/s", "100/m" or "5/10s"')
    return Rate(float(found[1]), int(found[2] or 1) * _SECONDS[found[3]])


def ratio(value: Any) -> Any:
    """A share from 0 to 1, from "50%" or 0.5. Raises Wrong."""
    text = _text(value)
    found = re.fullmatch(rf"{_NUMBER}(%?)", text)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1:
        raise Wrong("not a share", 'write one from 0 to 1, such as "50%" or 0.5')
    return share


def spell_duration(seconds: float) -> str:
    """Seconds as "1m30s", so that `duration` reads the same again."""
    if round(seconds * 1000, 6) % 1000:
        ms = round(seconds * 1000, 6)
        return f"{ms:g}ms" if ms < 1000 else f"{_plain(seconds)}s"
    rest, parts = round(seconds), ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"


def spell_size(count: int) -> str:
    """Bytes as "64KiB", so that `size` reads the same again."""
    units = ("GiB", "MiB", "KiB", "GB", "MB", "KB")
    unit = next((unit for unit in units if count and count % _BYTES[unit] == 0), "B")
    return f"{count // _BYTES[unit]}{unit}"


def spell_rate(value: Rate) -> str:
    """A Rate as "100/m", so that `rate` reads the same again."""
    for unit in ("d", "h", "m", "s", "ms"):
        periods = round(value.period / _SECONDS[unit], 6)
        if periods and periods % 1 == 0:
            break
    return f"{_plain(value.count)}/{'' if periods == 1 else round(periods)}{unit}"


def spell_ratio(share: float) -> str:
    """A share as "10%"."""
    return f"{_plain(share * 100)}%"


def _text(value: Any) -> str:
    """What was written, as text; nothing that a quantity could be made of for a bool, a list and the like."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip() if isinstance(value, str) or abs(value) < 1e15 else ""


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def _schema(examples: list[str | int], description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "number"], "examples": examples, "title": description})


Duration = Annotated[
    float, BeforeValidator(duration), PlainSerializer(spell_duration, return_type=str, when_used="json"),
    _schema(["250ms", "5s", "1m30s", 0], "duration"),
]  # fmt: skip
Size = Annotated[
    int, BeforeValidator(size), PlainSerializer(spell_size, return_type=str, when_used="json"),
    _schema(["64KiB", "10MB", 0], "size"),
]  # fmt: skip
Ratio = Annotated[
    float, BeforeValidator(ratio), PlainSerializer(spell_ratio, return_type=str, when_used="json"),
    _schema(["10%", "0.1"], "share"),
]  # fmt: skip
RateField = Annotated[
    Rate, BeforeValidator(rate), PlainSerializer(spell_rate, return_type=str, when_used="json"),
    _schema(["100/s", "100/m", "5/10s"], "rate"),
]  # fmt: skip
