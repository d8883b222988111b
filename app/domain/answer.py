"""Our own answer when something went wrong: problem details (RFC 9457), text or HTML, with Proxy-Status (RFC 9209)."""

from __future__ import annotations

import html
import json
from http import HTTPStatus
from math import ceil

from app.domain.errors import ProxyError
from app.domain.headers import Field

PROXY_NAME = b"l7lb"


def preferred(accept: bytes) -> str:
    """The media type for an error by the client's `Accept`: the first of ours with the highest weight.

    Problem details when it does not say, or says what we do not have.

    Source: RFC 9110 section 12.5.1.
    """
    best, best_weight = "application/problem+json", 0.0
    for item in accept.decode("latin-1").lower().split(",") if accept else ():
        media, *parameters = [part.strip() for part in item.split(";")]
        ours = _OURS.get(media)
        weight = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        if ours is not None and weight > best_weight:
            best, best_weight = ours, weight
    return best


_OURS = {
    "application/problem+json": "application/problem+json",
    "application/json": "application/problem+json",
    "*/*": "application/problem+json",
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


def answer(error: ProxyError, request_id: str, accept: bytes) -> tuple[list[Field], bytes]:
    """Fields and body of the response to *error*."""
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
    fields = [
        (b"content-type", media.encode() + (b"" if media.endswith("json") else b"; charset=utf-8")),
        (b"cache-control", b"no-store"),
        (b"proxy-status", b"%b; error=%b" % (PROXY_NAME, error.error_type.encode())),
    ]
    if error.retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    return fields, body.encode()
