"""The path that the backend gets: prefix off, pattern replaced, prefix on; always on the raw bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, AnyStr

from app.domain.errors import BadRequest
from app.domain.paths import canonical, escaped, literal, plainer, rooted, spelled, strip
from settings.problems import Wrong

if TYPE_CHECKING:
    from settings.groups import GroupSettings, RewriteSettings

LONGEST = 2048
"""Bytes of a path that a regular expression is given; a longer path is refused, for it cannot be judged."""

_GROUP = re.compile(r"\$(?:(\d{1,2})|\{(\w+)\}|(\$))")
_UNFIT = re.compile(r"[\x00-\x20\x7f?#]")


class Target:
    """How the paths of one group change."""

    __slots__ = ("_added", "_pattern", "_plain", "_replacement", "_stripped", "_under")

    def __init__(self, stripped: str, pattern: re.Pattern[bytes] | None, replacement: bytes, added: bytes) -> None:
        self._stripped = stripped
        self._plain = spelled(stripped)
        self._under = self._plain + b"/"
        self._pattern = pattern
        self._replacement = replacement
        self._added = added

    @classmethod
    def of(cls, settings: GroupSettings) -> Target | None:
        """What *settings* ask for: `strip_prefix`, then `rewrite`, then `add_prefix`; None when nothing changes.

        Raises:
            Wrong: for a prefix that no path has, a pattern that does not compile, a replacement that does not fit it.
        """
        stripped = _stripped(settings)
        pattern, replacement = _rewritten(settings.rewrite) if settings.rewrite else (None, b"")
        added = _added(settings.add_prefix)
        return cls(stripped, pattern, replacement, added) if stripped or pattern or added else None

    def apply(self, raw: bytes) -> bytes:
        """The path to ask the backend for. It begins with one slash.

        Raises:
            BadRequest: when a pattern is to see more than 2048 bytes, or makes a path that can be read in two ways.
        """
        if self._stripped:
            if raw.startswith(self._under):
                raw = rooted(raw[len(self._plain) :])
            elif raw == self._plain:
                raw = b"/"
            else:
                raw = rooted(strip(raw, self._stripped))
        if self._pattern is not None:
            raw = self._rewrite(self._pattern, raw)
        return self._added + raw

    def _rewrite(self, pattern: re.Pattern[bytes], raw: bytes) -> bytes:
        if len(raw) > LONGEST:
            raise BadRequest("the path is too long to be rewritten")
        raw = rooted(pattern.sub(self._replacement, plainer(raw), count=1))
        canonical(raw, encoded_slash=True)  # `..` can come together from pieces that were harmless
        return raw


def _stripped(settings: GroupSettings) -> str:
    prefix = settings.path if settings.strip_prefix is True else settings.strip_prefix
    return literal(prefix, "strip_prefix").rstrip("/") if prefix else ""


def _added(prefix: str) -> bytes:
    if not prefix:
        return b""
    literal(prefix, "add_prefix")
    return rooted(escaped(prefix)).rstrip(b"/")


def _rewritten(settings: RewriteSettings) -> tuple[re.Pattern[bytes], bytes]:
    if _UNFIT.search(settings.to):
        fix = "percent-encode what is meant literally"
        raise Wrong("spaces, control characters, ? and # have no place in a path", fix, at=("rewrite", "to"))
    template = _GROUP.sub(lambda found: found[3] or rf"\g<{found[1] or found[2]}>", settings.to)
    replacement = escaped(template, also="<>")
    pattern = compiled(settings.pattern.encode(), "rewrite", "pattern")
    try:
        pattern.sub(replacement, b"")
    except (re.error, IndexError) as error:
        fix = r"parenthesise in the pattern what is needed again, and name it $1 or \1"
        raise Wrong(f"the replacement does not fit the pattern ({error})", fix, at=("rewrite", "to")) from None
    return pattern, replacement


def compiled(pattern: AnyStr, *at: str) -> re.Pattern[AnyStr]:
    """*pattern* compiled. Raises Wrong when it does not compile; *at* is the setting that says it."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        fix = "escape what is meant literally with a backslash"
        raise Wrong(f"not a regular expression ({error})", fix, at=at) from None
