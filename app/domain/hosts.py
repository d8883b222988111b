"""Host names: how a request's Host is read, and what the operator may write for it."""

from __future__ import annotations


def bare(host: str) -> str:
    """A Host field as it is compared: lower case, without port and final dot (RFC 9110 section 4.2.3)."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or (port and not port.isdigit()):  # the latter is the inside of [::1]
        name = host.lower()
    return name.removesuffix(".")


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
