"""What one group asks of a request beside host and path: method, header fields, query parameters, client network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from app.domain.errors import BadRequest
from app.domain.rewrite import LONGEST, compiled

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from settings.groups import GroupSettings
    from settings.models import Network

LONGEST_VALUE: Final = 8192
"""Bytes of a field or parameter that a regular expression is given; a longer one is refused: it cannot be judged."""

PATH: Final = 1
METHOD: Final = 2
HEADER: Final = 3
QUERY: Final = 4
CLIENT: Final = 5
"""What a request fell short of, in the order of asking; 0 is nothing."""

Bits = tuple[int, int, int]
"""A network, prepared: IP version, address, mask."""


class Asked:
    """One request, as far as conditions ask for it; what is costly is taken apart once, and only when asked for."""

    __slots__ = ("_address", "_client", "_parameters", "_query", "headers", "method", "path")

    def __init__(self, path: str, method: str, headers: Fields, query: bytes, client: str) -> None:
        self.path = path
        self.method = method
        self.headers = headers
        self._query = query
        self._client = client
        self._parameters: Fields | None = None
        self._address: tuple[int, int] | None = None

    @property
    def parameters(self) -> Fields:
        """Names and values of the query, decoded as a form sends them."""
        if self._parameters is None:
            pairs = (pair.replace(b"+", b" ").partition(b"=") for pair in self._query.split(b"&") if pair)
            self._parameters = [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
        return self._parameters

    @property
    def address(self) -> tuple[int, int]:
        """IP version and number of the client; version 0 for a unix socket. IPv4 in IPv6 is IPv4."""
        if self._address is None:
            try:
                found = ip_address(self._client)
            except ValueError:
                self._address = (0, 0)
            else:
                found = (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
                self._address = (found.version, int(found))
        return self._address


class Value:
    """What the values of one name are compared with: any (`*`), one text, or a regular expression (`~`)."""

    __slots__ = ("name", "pattern", "text", "wanted")

    def __init__(self, name: bytes, wanted: str, *at: str) -> None:
        self.name = name
        self.wanted = wanted
        self.text: bytes | None = None
        self.pattern: re.Pattern[bytes] | None = None
        if wanted.startswith("~"):
            self.pattern = compiled(wanted[1:].encode(errors="surrogateescape"), *at)
        elif wanted != "*":
            self.text = wanted.encode(errors="surrogateescape")

    def met(self, pairs: Fields) -> bool:
        """Whether any value of the name fits. Raises BadRequest for one that is too long to be judged."""
        return any(self.fits(value) for name, value in pairs if name == self.name)

    def fits(self, value: bytes) -> bool:
        """Whether *value* fits: it equals the text, or the whole of it matches. Raises BadRequest as `met` does."""
        if self.pattern is None:
            return self.text is None or value == self.text
        if len(value) > LONGEST_VALUE:
            raise BadRequest("a value is too long to be routed by")
        return self.pattern.fullmatch(value) is not None

    def wider(self, other: Value) -> bool:
        """Whether every request that meets *other* meets this; False when that is not certain."""
        if self.name != other.name:
            return False
        if self.wanted in {"*", other.wanted}:
            return True
        text = other.text
        return (
            self.pattern is not None
            and text is not None
            and len(text) <= LONGEST_VALUE
            and bool(self.pattern.fullmatch(text))
        )

    def apart(self, other: Value) -> bool:
        """Whether both ask for different texts of one name."""
        return self.name == other.name and None not in {self.text, other.text} and self.text != other.text


class Conditions:
    """All that one group asks for beside host and path. *none* when it asks for nothing."""

    __slots__ = ("headers", "methods", "networks", "none", "parameters", "pattern")

    def __init__(self, settings: GroupSettings) -> None:
        self.pattern = compiled(settings.path, "path") if settings.path_match == "regex" else None
        self.methods = frozenset(method.upper() for method in settings.method)
        self.headers = tuple(
            Value(name.lower().encode(), text, "header", name) for name, text in settings.header.items()
        )
        self.parameters = tuple(
            Value(name.encode(errors="surrogateescape"), text, "query", name) for name, text in settings.query.items()
        )
        self.networks = tuple(_bits(network) for network in settings.client)
        self.none = not (self.pattern or self.methods or self.headers or self.parameters or self.networks)

    def shortfall(self, asked: Asked) -> int:
        """Where the request falls short first: 0 when nowhere.

        Raises:
            BadRequest: for a path over 2048 characters, or a value over 8192 bytes, that a pattern would have to judge.
        """
        if self.pattern is not None:
            if len(asked.path) > LONGEST:
                raise BadRequest("the path is too long to be routed by a regular expression")
            if not self.pattern.fullmatch(asked.path):
                return PATH
        if self.methods and asked.method not in self.methods:
            return METHOD
        if self.headers and not all(value.met(asked.headers) for value in self.headers):
            return HEADER
        if self.parameters and not all(value.met(asked.parameters) for value in self.parameters):
            return QUERY
        if self.networks and not _within(asked.address, self.networks):
            return CLIENT
        return 0

    def rank(self) -> tuple[int, int, int, int]:
        """How much is asked for, as the Gateway API compares it: the higher goes first."""
        return (bool(self.methods), len(self.headers), len(self.parameters), bool(self.networks))

    def wider(self, other: Conditions) -> bool:
        """Whether every request that meets *other* meets this, the path aside; False when that is not certain."""
        if self.methods and not (other.methods and other.methods <= self.methods):
            return False
        if self.networks and not (other.networks and all(_covered(one, self.networks) for one in other.networks)):
            return False
        return _all_wider(self.headers, other.headers) and _all_wider(self.parameters, other.parameters)

    def apart(self, other: Conditions) -> bool:
        """Whether hardly a request meets both."""
        if self.methods and other.methods and not self.methods & other.methods:
            return True
        if self.networks and other.networks and not _touching(self.networks, other.networks):
            return True
        pairs = [(a, b) for a in self.headers for b in other.headers]
        pairs += [(a, b) for a in self.parameters for b in other.parameters]
        return any(a.apart(b) for a, b in pairs)


def _bits(network: Network) -> Bits:
    return (network.version, int(network.network_address), int(network.netmask))


def _within(address: tuple[int, int], networks: Iterable[Bits]) -> bool:
    version, number = address
    return any(version == of and number & mask == base for of, base, mask in networks)


def _covered(network: Bits, networks: Iterable[Bits]) -> bool:
    """Whether one of *networks* holds all of *network*."""
    version, number, own = network
    return any(version == of and mask <= own and number & mask == base for of, base, mask in networks)


def _touching(some: Sequence[Bits], others: Sequence[Bits]) -> bool:
    return any(_covered(one, others) for one in some) or any(_covered(one, some) for one in others)


def _all_wider(some: Iterable[Value], others: Sequence[Value]) -> bool:
    return all(any(value.wider(other) for other in others) for value in some)
