"""Host names: how a request's Host is read, and what the operator may write for it."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

from app.domain.errors import BadRequest

_NAME: Final = re.compile(rb"[A-Za-z0-9._-]{1,255}")
_PORT: Final = re.compile(rb"[0-9]{0,5}")


def bare(host: str) -> str:
    """A Host field as it is compared: lower case, without port and final dot (RFC 9110 section 4.2.3)."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or (port and not port.isdigit()):  # the latter is the inside of [::1]
        name = host.lower()
    return name.removesuffix(".")


@lru_cache(maxsize=1024)
def check_host(host: bytes) -> None:
    """Raise BadRequest unless *host* is a name, an IPv4 address or a bracketed IPv6 address, with or without a port.

    Narrower than RFC 3986's reg-name, which lets in what no name server does and what others split lists at.
    """
    if host[:1] == b"[":
        literal, bracket, rest = host[1:].partition(b"]")
        colon, port = rest[:1], rest[1:]
        try:
            ipaddress.IPv6Address(literal.decode("ascii"))
        except ValueError:
            bracket = b""
        valid = bracket == b"]" and colon in (b"", b":") and b"%" not in literal
    else:
        name, _, port = host.partition(b":")
        valid = _NAME.fullmatch(name) is not None
    if not valid or not _PORT.fullmatch(port) or int(port or b"0") > 65535:
        raise BadRequest("not a valid Host")


def pattern(text: str) -> str:
    """What a group's host is known by: "example.org", ".example.org" for `*.example.org`, "" for `*`."""
    return text.lower().removesuffix(".").removeprefix("*")


def shown(known: str) -> str:
    """The other way round, for people."""
    return f"*{known}" if known.startswith(".") else known or "*"


def wilder(known: str) -> list[str]:
    """Every wildcard that holds all that *known* holds, itself aside, the longest first; then "" for any host."""
    if not known:
        return []
    if known.startswith("["):
        return [""]
    dots = [at for at, letter in enumerate(known) if letter == "." and at]
    return [*(known[at:] for at in dots), ""]
