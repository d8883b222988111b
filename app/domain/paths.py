"""One reading of a request's path: the canonical form that decides the route, and what is done to the raw bytes.

The canonical form is text: percent-decoded, UTF-8, runs of slashes as one. A path that a backend could read in another
way than we do has no canonical form and is refused (RFC 3986 section 6.2.2, CWE-22, CWE-436).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from app.domain.errors import BadRequest
from settings.problems import Wrong

_UNRESERVED: Final = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_PLAIN: Final = bytes(byte if byte in _UNRESERVED + b"/!$&'()*+,;=:@" else byte ^ 255 for byte in range(256))
"""Translates into itself what needs no second look, but for `//` and `/.`; quicker than a pattern."""

_REFUSED: Final = re.compile(rb"[^\x21-\x7e]|[\\#?]")
_REFUSED_DECODED: Final = re.compile(rb"[\x00-\x1f\x7f\\]")
_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASH: Final = re.compile(rb"%2[Ff]")
_SLASHES: Final = re.compile(r"//+")
_RAW_SLASHES: Final = re.compile(rb"//+")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_OVERLONG: Final = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
_DOTS: Final = (b".", b"..")
_ESCAPES: Final = {byte: b"%%%02X" % byte for byte in range(256)} | {byte: bytes((byte,)) for byte in _UNRESERVED}


def canonical(raw: bytes, *, encoded_slash: bool = False) -> str:
    """The form of *raw* that decides the route.

    Args:
        raw: the path as sent, percent-encoded, without the query.

        encoded_slash: let `%2F` through; it stays `%2F` and is part of its segment.

    Returns:
        Text that begins with a slash. Bytes that are not UTF-8 are lone surrogates (PEP 383).

    Raises:
        BadRequest: for what can be read in two ways, and for what no path may hold (RFC 3986 section 3.3).
    """
    if raw.translate(_PLAIN) == raw:
        text = raw.decode("ascii")  # `in` is five times quicker on text than on bytes
        if text[:1] == "/" and "//" not in text and "/." not in text:
            return text
    return _careful(raw, encoded_slash)


def _careful(raw: bytes, encoded_slash: bool) -> str:
    if not raw.startswith(b"/"):
        raise BadRequest("the path does not begin with a slash")
    if _REFUSED.search(raw):
        raise BadRequest("the path holds a character that no path may hold unescaped")
    if _BROKEN.search(raw):
        raise BadRequest("the path holds a percent sign without two hexadecimal digits")
    if not encoded_slash and _SLASH.search(raw):
        raise BadRequest("the path holds an encoded slash")
    decoded = unquote_to_bytes(raw)
    if _REFUSED_DECODED.search(decoded):
        raise BadRequest("the path holds an encoded control character or backslash")
    if _OVERLONG.search(decoded):
        raise BadRequest("the path holds overlong UTF-8")
    for segment in decoded.split(b"/"):
        if segment.partition(b";")[0] in _DOTS:  # `..;x` is `..` to servers that know path parameters
            raise BadRequest("the path holds a dot segment")
    return _SLASHES.sub("/", _text(raw))


def _text(raw: bytes) -> str:
    return unquote_to_bytes(_SLASH.sub(b"%252F", raw)).decode("utf-8", "surrogateescape")


def strip(raw: bytes, prefix: str) -> bytes:
    """*raw* without *prefix*, which is canonical and ends without a slash; *raw* itself when it is not under it.

    The rest is as it was sent, but begins with exactly one slash: `//x` would be a host to some readers.
    """
    at = 0
    for segment in prefix.split("/")[1:]:
        while raw.startswith(b"/", at):
            at += 1
        end = raw.find(b"/", at)
        end = len(raw) if end < 0 else end
        if _text(raw[at:end]) != segment:
            return raw
        at = end
    return rooted(raw[at:])


def rooted(raw: bytes) -> bytes:
    """*raw* with exactly one slash in front."""
    if raw.startswith(b"/") and not raw.startswith(b"//"):
        return raw
    return b"/" + raw.lstrip(b"/")


def plainer(raw: bytes) -> bytes:
    """*raw* without needless escapes and repeated slashes, so that one pattern sees one spelling of one path."""
    if b"%" not in raw and b"//" not in raw:
        return raw
    return _RAW_SLASHES.sub(b"/", _ESCAPE.sub(lambda found: _ESCAPES[int(found[1], 16)], raw))


def literal(text: str, *at: str) -> str:
    """The canonical form of a path that the operator wrote, escaped or not: `/café` and `/caf%C3%A9` are one.

    Raises:
        Wrong: when no request could ever have this path; *at* is the setting that says so.
    """
    try:
        return canonical(escaped(text), encoded_slash=True)
    except BadRequest as refused:
        fix = 'write it as requests are allowed to have it, such as "/api/v1"'
        raise Wrong(f"a path that no request can have ({refused.detail})", fix, at=at) from None


def escaped(text: str, also: str = "") -> bytes:
    """What the operator wrote, as it stands in a request: spaces, quotes and all beyond ASCII percent-encoded.

    Percent signs are taken for escapes already made; the characters in *also* are left as they are.
    """
    return quote(text, safe="%/!$&'()*+,;=:@-._~[]|{}?#\\^`" + also, errors="surrogateescape").encode("ascii")


def spelled(text: str) -> bytes:
    """The usual raw spelling of canonical *text*; there are others."""
    return quote(text, safe="/!$&'()*+,;=:@-._~", errors="surrogateescape").encode("ascii")
