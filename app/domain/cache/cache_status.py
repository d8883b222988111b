"""The Cache-Status field, as we add it behind what other caches on the way have said: RFC 9211."""

from __future__ import annotations

from app.domain.answer import PROXY_NAME


def hit(ttl: float, detail: str = "") -> bytes:
    """Served from the store, with *ttl* seconds to its being stale; below zero, since."""
    return b"%b; hit; ttl=%d%b" % (PROXY_NAME, int(ttl), _detail(detail))


def forwarded(why: str, status: int = 0, *, stored: bool = False, collapsed: bool = False, detail: str = "") -> bytes:
    """Forwarded.

    Args:
        why: of section 2.2: bypass, method, uri-miss, vary-miss, request, stale, partial.

        status: of the backend, where the client gets another.

        stored: the response was, or is being stored.

        collapsed: another request was forwarded, and this one got the same answer.

        detail: why it was not stored, and the like.
    """
    said = b"%b; fwd=%b" % (PROXY_NAME, why.encode())
    if status:
        said += b"; fwd-status=%d" % status
    if stored:
        said += b"; stored"
    if collapsed:
        said += b"; collapsed"
    return said + _detail(detail)


def _detail(detail: str) -> bytes:
    return b'; detail="%b"' % detail.encode() if detail else b""
