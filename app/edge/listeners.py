"""What `--bind` says: an address, whether it speaks TLS, and what is served there."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Role = Literal["app", "redirect", "admin"]


@dataclass(frozen=True, slots=True)
class Listener:
    """One `--bind`.

    Attributes:
        scheme: "unix" is plain HTTP on a Unix socket.

        host, port: of an Internet address; port 0 takes any that is free.

        path: of a Unix socket.

        role: "app" is all of it (without the control plane, when another listener is for that), "redirect" sends
            clients to https, "admin" is the control plane alone.

        proxies: networks of the proxies in front of us that begin every connection with a PROXY header.
    """

    scheme: Literal["https", "http", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""
    role: Role = "app"
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Listener:
        """Read `https://0.0.0.0:8443`, `http://[::]:8080?redirect=https`, `unix:/run/l7lb.sock`, `http://127.0.0.1:9000?admin`.

        `proxy=10.0.0.0/8` beside that, with commas between several, is for PROXY headers.

        Raises ValueError with what to write instead.
        """
        parts = urlsplit(text)
        role, proxies = _options(parts.query)
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            if proxies:
                raise ValueError(f"{text!r}: proxy= is for http:// and https://")
            return cls("unix", path=parts.path, role=role)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{text!r}: write https://HOST:PORT, http://HOST:PORT or unix:/PATH")
        if parts.hostname is None or parts.port is None or parts.path.strip("/") or parts.username is not None:
            raise ValueError(f"{text!r}: write a host and a port, such as {parts.scheme}://0.0.0.0:8443")
        if parts.scheme == "https" and role == "redirect":
            raise ValueError(f"{text!r}: redirect=https is for http://")
        scheme: Literal["https", "http"] = "https" if parts.scheme == "https" else "http"
        return cls(scheme, parts.hostname, parts.port, role=role, proxies=proxies)

    def open(self) -> socket.socket | None:
        """Bind, without listening yet, so that a taken port is known before anything has started. None for unix.

        Raises OSError.
        """
        if self.scheme == "unix":
            return None
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        return sock

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _options(query: str) -> tuple[Role, tuple[IPv4Network | IPv6Network, ...]]:
    options = parse_qs(query, keep_blank_values=True)
    said = options.pop("proxy", [])
    proxies = tuple(map(_network, ",".join(said).split(","))) if said else ()
    if not options:
        return "app", proxies
    if options == {"admin": [""]}:
        return "admin", proxies
    if options == {"redirect": ["https"]}:
        return "redirect", proxies
    raise ValueError(
        f"?{query}: what is served there is ?admin or ?redirect=https, or all without one; and proxy=NETWORK"
    )


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"proxy={text}: write networks, such as proxy=10.0.0.0/8,fd00::/8") from None
