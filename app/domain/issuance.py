"""When a certificate is ordered from an authority (ACME, RFC 8555), and when again after that has failed."""

from __future__ import annotations

from app.domain.certificate import Issued

CHALLENGES = "/.well-known/acme-challenge/"
"""Where an authority asks for a token (RFC 8555 section 8.3)."""

FIRST, FACTOR, LONGEST = 60.0, 4.0, 12 * 3600.0
"""Seconds to wait after a failure; by how much longer after each one more; and at most.

Four in the first hour and a half, then ever fewer: Let's Encrypt takes five failed validations an hour.
"""
LIMITED = 3600.0
"""Seconds that an authority which says that there were too many is left alone at least."""


def due(issued: Issued, now: float, renew_before: float) -> bool:
    """Whether a certificate is to be replaced, at *now* in wall-clock seconds.

    *renew_before* its end, in seconds; 0 is in the last third of the time for which it is valid. Never in the first,
    or a new one would be due at once. One that has issued itself is a placeholder, and always is.
    """
    third = (issued.ends - issued.begins) / 3
    return issued.by_itself or now >= issued.ends - min(renew_before or third, 2 * third)


def pause(failures: int, *, limited: bool) -> float:
    """Seconds to wait after so many failures in a row, of which the last said that there were too many (*limited*)."""
    wait = min(FIRST * FACTOR ** min(failures - 1, 10), LONGEST)
    return max(wait, LIMITED) if limited else wait
