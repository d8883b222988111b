"""Whether and how a response is compressed, and what its head says then: RFC 9110 sections 8.4, 8.8 and 12.5.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.domain.headers import Fields

if TYPE_CHECKING:
    from settings.policies import CompressionSettings

_BODILESS = (204, 205, 304)
_VARY = (b"vary", b"Accept-Encoding")


class Coding:
    """What one client wants of one group: prepared once for each answer that `Codings.negotiate` can give.

    Attributes:
        name: `gzip` and the like; b"" where the client takes none of ours.

        level: how hard it is tried, 1 to 9.
    """

    __slots__ = ("_any", "_min_size", "_types", "level", "name")

    def __init__(self, name: str, settings: CompressionSettings) -> None:
        self.name = name.encode()
        self.level = settings.level
        self._min_size = settings.min_size
        types = [media.encode() for media in settings.types]
        self._types = frozenset(types)
        self._any = tuple(media[:-1] for media in types if media.endswith(b"/*"))

    def apply(self, status: int, fields: Fields, whole: int | None = None) -> tuple[Fields, bool]:
        """The head of a compressed response, and whether its body is to be: not where it is as small as it gets.

        What can be compressed has Vary and a weak ETag for every client, whether it takes a coding or not: the same
        response comes in several forms then. That of a HEAD and of a 304 is as that of a GET.

        Args:
            status: of the response.

            fields: as the client would get them; names in lower case.

            whole: bytes of the body where all of it has come; None, or no Content-Length either: not known.
        """
        length, media, found = whole, b"", False
        for name, value in fields:
            if name == b"content-type":
                media = value.partition(b";")[0].strip().lower()
            elif name == b"content-length" and length is None:
                length = int(value)
            elif name == b"cache-control":
                found = found or b"no-transform" in value.lower()
            elif name in (b"content-encoding", b"content-range"):
                found = found or value.strip().lower() != b"identity"
        same = found or (status != 304 and not self._fits(media))
        if same or status in (204, 205, 206) or status < 200:
            return fields, False
        if status != 304 and length is not None and length < self._min_size:
            return fields, False
        if not self.name:
            return [*fields, _VARY], False
        told = [_weak(field) for field in fields]
        told.append(_VARY)
        if status in _BODILESS:
            return told, False
        told = [field for field in told if field[0] not in (b"content-length", b"accept-ranges", b"content-md5")]
        told.append((b"content-encoding", self.name))
        return told, True

    def _fits(self, media: bytes) -> bool:
        return media in self._types or media.startswith(self._any)


class Codings:
    """The codings of one group.

    Args:
        names: those that can be made here, the one that we like best first.
    """

    __slots__ = ("_known", "_names", "_none", "_ours")

    def __init__(self, names: Sequence[str], settings: CompressionSettings) -> None:
        self._names = tuple(names)
        self._ours = {name: Coding(name, settings) for name in names}
        self._none = Coding("", settings)
        self._known: dict[bytes, Coding] = {}

    def negotiate(self, accepted: bytes) -> Coding:
        """What to do for *accepted*, the Accept-Encoding of a request, b"" without one: the highest weight, then ours.

        Without the field a client may take anything, but those that do not say so mostly cannot.
        """
        found = self._known.get(accepted)
        if found is None:
            if len(self._known) >= 256:
                self._known.clear()
            found = self._known[accepted] = self._negotiate(accepted)
        return found

    def _negotiate(self, accepted: bytes) -> Coding:
        weights: dict[str, float] = {}
        for item in accepted.decode("latin-1").lower().split(","):
            name, *parameters = [part.strip() for part in item.split(";")]
            name = "gzip" if name == "x-gzip" else name
            weight = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
            weights.setdefault(name, weight)
        anything = weights.get("*", 0.0)
        best, best_weight = self._none, 0.0
        for name in self._names:
            weight = weights.get(name, anything)
            if weight > best_weight:
                best, best_weight = self._ours[name], weight
        return best if best_weight >= weights.get("identity", 0.0) else self._none


def _weak(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A strong ETag says that the bytes are the same; compressed they are others."""
    return (b"etag", b"W/" + field[1]) if field[0] == b"etag" and not field[1].startswith(b"W/") else field


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
