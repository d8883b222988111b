"""What a stored response is found by: the URL, and the fields that `Vary` named: RFC 9111 sections 2 and 4.1.

Fields are compared after a normalisation that never changes what they mean: lines are combined, spaces around commas
go; codings and languages are of no case, and codings of no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from app.domain.cache.directives import members
from app.domain.cache.stored import Stored
from app.domain.headers import Fields

Chosen = tuple[tuple[bytes, bytes | None], ...]

EXTRA: Final = b":key"
"""In `Stored.vary`: what the settings make part of the key beside the URL. No field has such a name."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def origin(group: str, scheme: str, host: str) -> bytes:
    """What the keys of all URLs of a host begin with: `api https://example.org`; *host* in one spelling."""
    host = host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))
    return b"%b %b://%b" % (group.encode(), scheme.encode(), host.encode("latin-1"))


class Query:
    """Which parameters of the query tell one response from another.

    Args:
        only: names; none for all.

        without: names that do not; of `utm_*` all that begin so.
    """

    def __init__(self, only: Iterable[str], without: Iterable[str]) -> None:
        self._only = frozenset(name.encode() for name in only)
        self._without = frozenset(name.encode() for name in without)
        self._prefixes = tuple(name[:-1].encode() for name in without if name.endswith("*"))

    def apply(self, target: bytes) -> bytes:
        """*target* with the parameters that count, in their order."""
        path, mark, query = target.partition(b"?")
        if not mark:
            return target
        kept = [pair for pair in query.split(b"&") if self._counts(pair.partition(b"=")[0])]
        return b"%b?%b" % (path, b"&".join(kept)) if kept else path

    def _counts(self, name: bytes) -> bool:
        if self._only and name not in self._only:
            return False
        return name not in self._without and not name.startswith(self._prefixes)


def chosen(names: Sequence[bytes], headers: Fields, extra: bytes | None) -> Chosen:
    """What a request has of the fields *names*, as `Stored.vary` keeps it; *extra* is what settings add to the key."""
    found = tuple((name, normalised(name, headers)) for name in names)
    return ((EXTRA, extra), *found) if extra else found


def matches(stored: Stored, headers: Fields, extra: bytes | None, negotiate: bool = False) -> bool:
    """Whether *stored* was chosen by what a request with *headers* and *extra* has, too.

    With *negotiate*, of languages the one that the client wants most decides, in whatever words it says so.
    """
    keyed = False
    for name, value in stored.vary:
        if name == EXTRA:
            keyed = True
            if value != extra:
                return False
        elif normalised(name, headers) != value and not (
            negotiate and name == b"accept-language" and _same_language(stored, headers, value)
        ):
            return False
    return keyed or not extra


def normalised(name: bytes, headers: Fields) -> bytes | None:
    """All values of a field as one that is the same for all that mean the same; None without any."""
    values = [value for field, value in headers if field == name]
    if not values:
        return None
    if len(values) == 1 and name not in _CASELESS and b"," not in values[0]:
        return values[0].strip(b" \t")
    parts = [part for value in values for part in members(value)]
    if name in _CASELESS:
        parts = [part.lower().replace(b" ", b"") for part in parts]
        if name == b"accept-encoding":
            parts.sort()
    return b",".join(parts)


_CASELESS: Final = frozenset({b"accept-encoding", b"accept-language"})


def _same_language(stored: Stored, headers: Fields, value: bytes | None) -> bool:
    """Whether the client is served as well: it wants the same languages, or most of all that of the response."""
    wanted = _languages(normalised(b"accept-language", headers))
    if wanted == _languages(value):
        return True
    said = [value.strip().lower() for name, value in stored.fields if name == b"content-language"]
    best = max(wanted.values(), default=0.0)
    return len(said) == 1 and best > 0 and wanted.get(said[0]) == best


def _languages(value: bytes | None) -> dict[bytes, float]:
    """Weights by language range, of a normalised Accept-Language."""
    weights = {}
    for part in (value or b"").split(b","):
        language, *parameters = part.split(b";")
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith(b"q=")), b"1")
        try:
            weights[language] = float(weight)
        except ValueError:
            weights[language] = 0.0
    return weights
