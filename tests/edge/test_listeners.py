"""What `--bind` may say, and the socket that it opens."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network

import pytest

from app.edge.listeners import Listener


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("https://0.0.0.0:8443", Listener("https", "0.0.0.0", 8443)),
        ("http://[::1]:80", Listener("http", "::1", 80)),
        ("http://localhost:8080?redirect=https", Listener("http", "localhost", 8080, role="redirect")),
        ("http://127.0.0.1:9000/?admin", Listener("http", "127.0.0.1", 9000, role="admin")),
        ("unix:/run/l7lb.sock", Listener("unix", path="/run/l7lb.sock")),
        ("unix:/run/l7lb.sock?admin", Listener("unix", path="/run/l7lb.sock", role="admin")),
    ],
)
def test_addresses(text: str, listener: Listener) -> None:
    assert Listener.parse(text) == listener


@pytest.mark.parametrize(
    "text",
    ["", "8443", "0.0.0.0:8443", "https://0.0.0.0", "https://:8443", "ftp://a:1", "http://a:1/path", "unix:", "unix://a/b",
     "http://a:b", "http://a:99999", "http://u@a:1", "http://a:1?x", "http://a:1?redirect=http", "http://a:1?admin=1",
     "https://a:1?redirect=https"],
)  # fmt: skip
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # urlsplit says some of it in its own words
        Listener.parse(text)


NETWORKS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("http://a:1?proxy=10.0.0.0/8", Listener("http", "a", 1, proxies=NETWORKS[:1])),
        ("https://a:1?proxy=10.0.0.0/8,fd00::/8", Listener("https", "a", 1, proxies=NETWORKS)),
        ("https://a:1?proxy=10.0.0.0/8&proxy=fd00::/8", Listener("https", "a", 1, proxies=NETWORKS)),
        ("http://a:1?admin&proxy=10.0.0.0/8", Listener("http", "a", 1, role="admin", proxies=NETWORKS[:1])),
        ("http://a:1?proxy=10.0.0.0/8&redirect=https",
         Listener("http", "a", 1, role="redirect", proxies=NETWORKS[:1])),
    ],
)  # fmt: skip
def test_proxies_in_front(text: str, listener: Listener) -> None:
    assert Listener.parse(text) == listener


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8443", "'8443': write https://HOST:PORT, http://HOST:PORT or unix:/PATH"),
        ("ftp://a:1", "'ftp://a:1': write https://HOST:PORT, http://HOST:PORT or unix:/PATH"),
        ("unix://a/b", "'unix://a/b': write https://HOST:PORT, http://HOST:PORT or unix:/PATH"),
        ("unix:/a?proxy=10.0.0.0/8", "'unix:/a?proxy=10.0.0.0/8': proxy= is for http:// and https://"),
        ("http://a", "'http://a': write a host and a port, such as http://0.0.0.0:8443"),
        ("https://:1", "'https://:1': write a host and a port, such as https://0.0.0.0:8443"),
        ("https://a:1/x", "'https://a:1/x': write a host and a port, such as https://0.0.0.0:8443"),
        ("http://u@a:1", "'http://u@a:1': write a host and a port, such as http://0.0.0.0:8443"),
        ("https://a:1?redirect=https", "'https://a:1?redirect=https': redirect=https is for http://"),
        ("http://a:1?x=1",
         "?x=1: what is served there is ?admin or ?redirect=https, or all without one; and proxy=NETWORK"),
        ("http://a:1?proxy=", "proxy=: write networks, such as proxy=10.0.0.0/8,fd00::/8"),
        ("http://a:1?proxy=10.0.0.1/8", "proxy=10.0.0.1/8: write networks, such as proxy=10.0.0.0/8,fd00::/8"),
        ("http://a:1?proxy=10.0.0.0/8,x", "proxy=x: write networks, such as proxy=10.0.0.0/8,fd00::/8"),
    ],
)  # fmt: skip
def test_it_says_what_to_write_instead(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole of it is compared
        Listener.parse(text)
    assert str(error.value) == said


@pytest.mark.parametrize(
    "text", ["https://0.0.0.0:8443", "http://[::1]:80", "http://localhost:8080", "unix:/run/l7lb.sock"]
)
def test_it_is_named_as_it_was_written(text: str) -> None:
    assert str(Listener.parse(text)) == text


@pytest.mark.parametrize(
    ("host", "family", "there"),
    [("127.0.0.1", socket.AF_INET, "127.0.0.1"), ("[::1]", socket.AF_INET6, "::1"), ("[::]", socket.AF_INET6, "::")],
)
def test_a_socket_is_bound_and_does_not_listen_yet(host: str, family: int, there: str) -> None:
    sock = Listener.parse(f"http://{host}:0").open()
    assert sock is not None
    with sock:
        assert (sock.family, sock.type, sock.getsockname()[0]) == (family, socket.SOCK_STREAM, there)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
        assert sock.getsockname()[1] > 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_the_older_internet_is_not_served_by_the_newer() -> None:
    """So that both may be bound, each with its own."""
    newer = Listener.parse("http://[::]:0").open()
    assert newer is not None
    with newer:
        assert newer.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_port_that_was_used_just_now_may_be_had() -> None:
    """A connection that we closed waits there for a while."""
    first = Listener.parse("http://127.0.0.1:0").open()
    assert first is not None
    first.listen()
    address = first.getsockname()
    client = socket.create_connection(address)
    taken, _ = first.accept()
    taken.close()
    first.close()
    assert client.recv(1) == b""
    client.close()
    again = Listener("http", *address).open()
    assert again is not None
    again.close()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_taken_port() -> None:
    """Nothing is left of the attempt: a socket that was not closed would be said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError) as error:  # noqa: PT011  # which one is looked at
            Listener("http", "127.0.0.1", taken.getsockname()[1]).open()
        assert error.value.errno == errno.EADDRINUSE


def test_a_name_may_be_bound() -> None:
    sock = Listener.parse("http://localhost:0").open()
    assert sock is not None
    with sock:
        assert sock.getsockname()[0] in ("127.0.0.1", "::1")


def test_a_unix_socket_is_bound_when_it_is_served() -> None:
    assert Listener.parse("unix:/nowhere/at/all.sock").open() is None
