"""What scripts of other origins may do: the CORS protocol, as the Fetch standard has it (section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.headers import Field, Fields

if TYPE_CHECKING:
    from settings.policies import CorsSettings

OWNED = (
    b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers",
    b"access-control-allow-methods", b"access-control-allow-headers", b"access-control-max-age",
)  # fmt: skip
"""Fields of a response that are ours to say: two of one name, and a browser takes neither."""
_VARY = (b"vary", b"Origin")
_PREFLIGHT_VARY = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_REMEMBERED = 1024


class CorsRule:
    """The rule of one group, prepared."""

    __slots__ = ("_any", "_exact", "_known", "_preflight", "_read", "_suffixes")

    def __init__(self, settings: CorsSettings) -> None:
        origins = [origin.encode() for origin in settings.origins]
        self._any = b"*" in origins
        self._exact = frozenset(origin for origin in origins if b"*" not in origin)
        self._suffixes = tuple(
            (scheme, rest) for scheme, star, rest in (origin.partition(b"*") for origin in origins) if star and scheme
        )
        self._read: Fields = []
        if settings.credentials:
            self._read.append((b"access-control-allow-credentials", b"true"))
        self._preflight = list(self._read)
        if settings.expose:
            self._read.append((b"access-control-expose-headers", ", ".join(settings.expose).encode()))
        self._preflight.append((b"access-control-allow-methods", ", ".join(settings.methods).encode()))
        if settings.headers:
            self._preflight.append((b"access-control-allow-headers", ", ".join(settings.headers).encode()))
        self._preflight.append((b"access-control-max-age", b"%d" % settings.max_age))
        self._known: dict[bytes, tuple[Field, ...]] = {}

    def fields(self, origin: bytes) -> tuple[Field, ...]:
        """What a response gets for *origin*, b"" for a request without one; an origin that may nothing gets no word."""
        found = self._known.get(origin)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            allowed = self._allowed(origin)
            found = () if allowed is None else (allowed, *self._read)
            if not self._any:  # who stores the response must not give it to another origin
                found = (*found, _VARY)
            self._known[origin] = found
        return found

    def preflight(self, origin: bytes) -> list[Field]:
        """What the answer to a preflight from *origin* has."""
        allowed = self._allowed(origin)
        return [_PREFLIGHT_VARY] if allowed is None else [allowed, *self._preflight, _PREFLIGHT_VARY]

    def _allowed(self, origin: bytes) -> Field | None:
        if self._any:
            return b"access-control-allow-origin", b"*"
        asked = origin.lower()
        if asked not in self._exact and not any(_below(asked, *suffix) for suffix in self._suffixes):
            return None
        return b"access-control-allow-origin", origin


def _below(origin: bytes, scheme: bytes, rest: bytes) -> bool:
    """Whether *origin* has one or more labels in front of *rest*, which begins with a dot."""
    labels = origin[len(scheme) : len(origin) - len(rest)]
    if not labels or not origin.startswith(scheme) or not origin.endswith(rest):
        return False
    return all(label and label.replace(b"-", b"").replace(b"_", b"").isalnum() for label in labels.split(b"."))
