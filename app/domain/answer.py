"""Our own answer when something went wrong: problem details (RFC 9457), text or HTML, with Proxy-Status (RFC 9209)."""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

from app.domain.errors import ProxyError
from app.domain.headers import Field

if TYPE_CHECKING:
    from app.domain.pages import Pages

PROXY_NAME = b"l7lb"


def preferred(accept: bytes, default: str = "application/problem+json") -> str:
    """The media type for an error by the client's `Accept`: the first of ours with the highest weight.

    *default* when it does not say, takes anything, or says what we do not have.

    Source: RFC 9110 section 12.5.1.
    """
    best, best_weight = default, 0.0
    for item in accept.decode("latin-1").lower().split(",") if accept else ():
        media, *parameters = [part.strip() for part in item.split(";")]
        ours = default if media == "*/*" else _OURS.get(media)
        weight = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if ours is not None and weight > best_weight:
            best, best_weight = ours, weight
    return best


_OURS = {
    "application/problem+json": "application/problem+json",
    "application/json": "application/problem+json",
    "application/*": "application/problem+json",
    "text/html": "text/html",
    "text/plain": "text/plain",
    "text/*": "text/plain",
}


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def page(pages: Pages | None, status: int, request_id: str, accept: bytes) -> tuple[bytes, bytes] | None:
    """Content-Type and body of the page for *status*; None where there is none, or problem details are asked for."""
    found = pages.render(status, request_id) if pages is not None else None
    if found is None:
        return None
    content_type, text = found
    media = content_type.partition(";")[0].strip().lower()
    if preferred(accept, media) == "application/problem+json" and not media.endswith("json"):
        return None
    return content_type.encode("latin-1"), text.encode()


def answer(error: ProxyError, request_id: str, accept: bytes, pages: Pages | None = None) -> tuple[list[Field], bytes]:
    """Fields and body of the response to *error*, by the *pages* of its group."""
    if (own := page(pages, error.status, request_id, accept)) is not None:
        return _fields(error, own[0]), own[1]
    title = HTTPStatus(error.status).phrase
    media = preferred(accept)
    if media == "text/html":
        body = (
            f"<!doctype html><title>{error.status} {title}</title><h1>{error.status} {title}</h1>"
            f"<p>{html.escape(error.detail)}</p><p>{error.error_type} {html.escape(request_id)}</p>\n"
        )
    elif media == "text/plain":
        body = f"{error.status} {title}: {error.detail or error.error_type}\n"
    else:
        problem = {"type": "about:blank", "title": title, "status": error.status, "detail": error.detail}
        problem |= {"error": error.error_type, "request_id": request_id}
        body = json.dumps(problem) + "\n"
    return _fields(error, media.encode() + (b"" if media.endswith("json") else b"; charset=utf-8")), body.encode()


def proxy_status(error: ProxyError) -> bytes:
    """Who failed, and how (RFC 9209)."""
    return b"%b; error=%b" % (PROXY_NAME, error.error_type.encode())


def _fields(error: ProxyError, content_type: bytes) -> list[Field]:
    fields = [
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"proxy-status", proxy_status(error)),
    ]
    if error.retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    return fields
