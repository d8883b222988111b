"""`LB_ROUTES`, groups in one line: `/apiA=a; /apiB=b; *.example.org/=web`, host and path = pool."""

from __future__ import annotations

import re
from typing import Any

from settings.problems import Wrong

_EXAMPLE = 'write "/path=pool", with "; " between, such as "/apiA=a; /apiB=b"'
FIELDS = ("host", "path", "pool")


def parse(text: str) -> dict[str, dict[str, Any]]:
    """Group by name, named after its host and path: `/apiA` is `apia`, `/` is `root`. Raises Wrong."""
    groups: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for entry in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        match, equals, pool = (part.strip() for part in entry.rpartition("="))
        host, slash, path = match.partition("/")
        if not equals or not pool or not slash:
            raise Wrong(f'"{entry[:80]}" is not a route', _EXAMPLE)
        if match in seen:
            raise Wrong(f'"{match[:80]}" is there twice', "keep one of them")
        seen.add(match)
        group = {"path": slash + path, "pool": pool}
        groups[_name(match, groups)] = {"host": [host], **group} if host else group
    return groups


def merge(text: str, groups: Any) -> Any:
    """The groups of the one-liner and *groups*, as raw values.

    A group of the same name adds to the one that the line makes: a limit, header fields. Raises Wrong when both say
    where it is, or which pool it has, and say different things.
    """
    made = parse(text)
    if not isinstance(groups, dict):
        return groups or made
    for name in made.keys() & groups.keys():
        given = groups[name]
        if not isinstance(given, dict):
            continue
        for field in FIELDS:
            line = made[name].get(field)
            if field in given and _plain(given[field]) != _plain(line):
                fix = f"say it in one of the two places, or name the group other than {name!r}"
                raise Wrong(f"groups.{name} has another {field} than routes", fix)
        made[name] |= given
    return groups | made


def _plain(value: Any) -> Any:
    """*value* for comparison: hosts may be a list or a line, in any case; none of them is as good as an empty list."""
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value)).lower()
    return value or None


def _name(match: str, taken: dict[str, Any]) -> str:
    """*match* as a name that is not *taken*."""
    name = re.sub(r"[^a-z0-9]+", "_", match.lower()).strip("_")[:50] or "root"
    if name not in taken:
        return name
    return next(other for i in range(2, len(taken) + 3) if (other := f"{name}_{i}") not in taken)
