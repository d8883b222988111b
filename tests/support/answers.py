"""What backends answered, as attempts that have ended."""

from __future__ import annotations

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import ProxyError


def answer(
    backend: Backend, now: float, status: int = 200, *, error: ProxyError | None = None, head: float = 0.01
) -> Attempt:
    """An attempt that ended at *now* with the head of its response, after *head* seconds; status 0: without one."""
    attempt = Attempt(backend, now - head)
    attempt.status = status
    attempt.error = error
    attempt.first_byte = now if status else 0.0
    attempt.ended = now
    return attempt
