"""What is for nobody's eyes, wherever settings are shown: in an error, by `l7lb config`, in the control plane."""

from __future__ import annotations

import json
import re
from typing import Any

from settings.sources import ROOT

REDACTED = "**********"
_LONGEST = 80
# Of keys that are not ours, such as names of header fields: nothing else says what their values are.
_NAMES = re.compile(
    r"token|secret|passw|authorization|cookie|credential|signature|session|api[-_]?key|[-_]key$", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=redis://).+(?=@)|(?<=rediss://).+(?=@)|(?<=//)[^/@\s]+(?=@)|(?<=[?&]password=)[^&\s]+")


def secret(path: tuple[str | int, ...]) -> bool:
    """Whether the value at *path* is for nobody's eyes: by its type where there is such a setting, else by its name."""
    shape = ROOT
    for i, key in enumerate(path):
        inner = None if shape.free else shape.step(key)
        if inner is None:  # beside a secret it may be one, its name misspelt
            return shape.secrets or any(_NAMES.search(str(name)) for name in path[i:])
        shape = inner
    return shape.secrets


def redacted(path: tuple[str | int, ...], value: Any) -> Any:
    """*value*, and all inside it, without what is for nobody's eyes."""
    if isinstance(value, dict):
        return {key: redacted((*path, key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted((*path, i), inner) for i, inner in enumerate(value)]
    if value is not None and value != "" and not isinstance(value, bool) and secret(path):
        return REDACTED
    return _USERINFO.sub(REDACTED, value) if isinstance(value, str) else value


def shown(path: tuple[str | int, ...], value: Any) -> str:
    """*value* as an error may show it: quoted, without control characters, "" when secret or long."""
    if not isinstance(value, str | int | float) or secret(path):
        return ""
    try:
        text = json.dumps(redacted(path, value))
    except ValueError:  # an integer with more digits than Python prints
        return ""
    return text if len(text) <= _LONGEST else ""
