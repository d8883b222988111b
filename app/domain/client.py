"""Who the client is: the peer, or what trusted proxies in front of us say of it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from app.domain.headers import Field, listed

_REMEMBERED: Final = 4096


class TrustedProxies:
    """The networks whose word is taken. Answers are remembered, for some thousands of addresses."""

    __slots__ = ("_answers", "_everybody", "_networks")

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._everybody = any(n.version == 4 and n.prefixlen == 0 for n in networks)
        self._answers: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        answer = self._answers.get(address)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[address] = self._look_up(address)
        return answer

    def _look_up(self, address: str) -> bool:
        if address == "unix":
            return self._everybody
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def clean_address(text: str) -> str | None:
    """An address as proxies write it, without port and brackets, in canonical form; None when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = _parsed(text)
    return None if parsed is None else str(parsed)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, an IPv4-mapped one as IPv4; None when *text* is none."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def client_of(peer: str, headers: Sequence[Field], trusted: TrustedProxies) -> tuple[str, str | None]:
    """The client's address, and the scheme it used where a trusted proxy told it.

    `X-Forwarded-For` is walked from the right: each entry was written by the proxy before it, so the first that is not
    itself trusted is the client (nginx `real_ip_recursive`). What is not an address ends the walk at the last good one.
    """
    if peer not in trusted:
        return peer, None
    client = peer
    for entry in reversed(listed(b"x-forwarded-for", headers).decode("latin-1").split(",")):
        address = clean_address(entry)
        if address is None:
            break
        client = address
        if address not in trusted:
            break
    scheme = listed(b"x-forwarded-proto", headers).rpartition(b",")[2].strip().lower()
    return client, scheme.decode() if scheme in (b"http", b"https") else None
