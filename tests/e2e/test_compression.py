"""What backends answer is compressed where the client, the group and the response want it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from random import Random

import brotli
import pytest
import zstandard

from tests.support.backend import Backend, Gate, answers, pause, read_all, reply, script, send, stall
from tests.support.raw import Response, Truncated, request
from tests.support.server import Balancer, pool
from tests.support.until import until

TEXT = b"".join(b"%d green bottles hanging on the wall\n" % n for n in range(100))
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    """With everything there is, with gzip alone, and with nothing."""
    said = {
        "all": {"compression__codings": "zstd,br,gzip"},
        "gzip": {"compression__level": "1", "compression__min_size": "100B", "compression__types": "text/*"},
        "plain": {},
        "pages": {"compression__codings": "gzip", "errors__texts": "5xx=<h1>oh</h1>", "errors__backend": "true"},
    }
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", "pool": "main", **keys}.items()
    }
    return {"LB_ROUTES": "", **groups, **pool("main", shared, timeouts__idle="3s")}


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": unzstd}


def decoded(response: Response) -> bytes:
    coding = response.get("content-encoding")
    return DECODERS[coding](response.body) if coding else response.body


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=0.5, br;q=0.4", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, zstd;q=0", "br"),
        ("gzip;q=0", None),
        ("gzip;q=0.2, identity", None),
        ("deflate", None),
        ("gzip;q=nonsense", None),
        (",;,=;q=;;\xff", None),
        ("", None),
        (None, None),
    ],
)
def test_the_client_says_how(balancer: Balancer, backend: Backend, accepted: str | None, coding: str | None) -> None:
    """RFC 9110 section 12.5.3; and every client is told that it depends on that."""
    backend.answer(TEXT, JSON, "Vary: Cookie")
    fields = [f"Accept-Encoding: {accepted}".encode("latin-1")] if accepted is not None else []

    for _ in range(2):  # over a new connection and a kept one
        response = balancer.get("/all", *fields)
        assert (response.status, response.get("content-encoding")) == (200, coding)
        assert decoded(response) == TEXT
        assert int(response.get("content-length") or -1) == len(response.body)
        assert (len(response.body) < len(TEXT) / 4) is (coding is not None)
        assert response.all("vary") == [b"Cookie", b"Accept-Encoding"]


STAYS = {
    "small": (b"x" * 99, ["Content-Type: text/plain"], "200 OK"),
    "an image": (TEXT, ["Content-Type: image/png"], "200 OK"),
    "of no type": (TEXT, [], "200 OK"),
    "compressed already": (gzip.compress(TEXT), ["Content-Type: text/plain", "Content-Encoding: gzip"], "200 OK"),
    "not to be touched": (TEXT, ["Content-Type: text/plain", "Cache-Control: public, No-Transform"], "200 OK"),
    "a part": (TEXT, ["Content-Type: text/plain", "Content-Range: bytes 0-3899/5000"], "206 Partial Content"),
}


@pytest.mark.parametrize("what", STAYS)
def test_what_stays_as_it_is(balancer: Balancer, backend: Backend, what: str) -> None:
    """Byte for byte, with its strong ETag."""
    body, fields, status = STAYS[what]
    backend.answer(body, *fields, 'ETag: "1"', status=status)

    response = balancer.get("/gzip", "Accept-Encoding: gzip")

    assert (response.status, response.body, response.get("etag")) == (int(status[:3]), body, '"1"')
    assert (response.get("content-encoding") == "gzip") is (what == "compressed already")


def test_other_groups_are_left_alone(balancer: Balancer, backend: Backend) -> None:
    backend.answer(TEXT, "Content-Type: text/plain")

    response = balancer.get("/plain", "Accept-Encoding: gzip")

    assert (response.body, response.get("vary")) == (TEXT, None)


def test_an_etag_gets_weak(balancer: Balancer, backend: Backend) -> None:
    """For the bytes are others; on a 304 and to a HEAD as well, so that a client can tell that they are of the same."""
    backend.answer(TEXT, "Content-Type: text/plain", 'ETag: "1"', "Accept-Ranges: bytes")
    get, head = (balancer.get("/gzip", "Accept-Encoding: gzip", method=method) for method in ("GET", "HEAD"))
    backend.play(answers(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'))
    not_modified = balancer.get("/gzip", "Accept-Encoding: gzip", 'If-None-Match: W/"1"')

    for response in (get, head):
        assert (response.status, response.get("etag"), response.get("vary")) == (200, 'W/"1"', "Accept-Encoding")
        assert (response.get("content-encoding"), response.get("accept-ranges")) == ("gzip", None)
    assert head.body == b""
    assert (not_modified.status, not_modified.get("etag"), not_modified.get("vary")) == (
        304,
        'W/"1"',
        "Accept-Encoding",
    )
    assert not_modified.get("content-encoding") is None


def test_request_bodies_are_untouched(balancer: Balancer, backend: Backend) -> None:
    """And the backend gets what the client accepts, in case that it likes to compress by itself."""
    balancer.get("/gzip", "Accept-Encoding: gzip", "Content-Encoding: gzip", method="POST", body=gzip.compress(TEXT))

    assert backend.bodies == [gzip.compress(TEXT)]
    assert backend.requests[0].get("accept-encoding") == "gzip"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_long_bodies_come_whole(balancer: Balancer, backend: Backend, coding: str) -> None:
    """Chunked and sized, of some MiB, in pieces as the network has them; the log counts what the client got."""
    rng = Random(3)
    body = b"".join(rng.choice([TEXT, rng.randbytes(1000)]) for _ in range(2000))
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(body[i : i + 9973]), body[i : i + 9973]) for i in range(0, len(body), 9973)
    )
    for answer in (
        reply(body, JSON),
        f"HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n",
    ):
        backend.play(answers(answer))
        response = balancer.get(f"/all/{coding}", f"Accept-Encoding: {coding}")
        assert response.get("content-encoding") == coding
        assert decoded(response) == body
        size = len(response.body)
        assert balancer.record(lambda r, size=size: r["path"] == f"/all/{coding}" and r["bytes_out"] == size)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_events_come_when_they_happen(balancer: Balancer, backend: Backend, coding: str) -> None:
    """The head before the first of them, and each at once."""
    gates = [Gate(), Gate()]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    event = b"data: 1\n\n"
    steps = [read_all, send(head)]
    for gate in gates:
        steps += [pause(gate), send(b"%x\r\n%b\r\n" % (len(event), event))]
    backend.play(*steps, stall)
    makers = {
        "gzip": lambda: zlib.decompressobj(31),
        "br": brotli.Decompressor,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    }
    decoder = makers[coding]()
    decode = decoder.process if coding == "br" else decoder.decompress

    with balancer.client() as client:
        client.send(request("/all", f"Accept-Encoding: {coding}"))
        assert client.head()[0] == 200
        for gate in gates:
            gate.open()
            text = b""
            while text != event:
                text += decode(b"".join(chunk(client)))


def chunk(client: object) -> Iterator[bytes]:
    size = client._size()  # type: ignore[attr-defined]
    pieces: list[bytes] = []
    client._take(size, pieces)  # type: ignore[attr-defined]
    assert client._line() == b""  # type: ignore[attr-defined]
    yield from pieces


def test_what_is_cut_short_is_seen_to_be(balancer: Balancer, backend: Backend) -> None:
    """No end of a compressed body is made up."""
    backend.play(read_all, send(reply(TEXT * 20, "Content-Type: text/plain")[:-10]))

    with balancer.client() as client, pytest.raises(Truncated):
        client.ask(request("/gzip", "Accept-Encoding: gzip"))


def test_a_client_that_goes_away_ends_it(balancer: Balancer, backend: Backend) -> None:
    """The backend is let go at once."""
    backend.play(read_all, send(reply(TEXT * 2000, "Content-Type: text/plain")[:-10]), stall)
    with balancer.client() as client:
        client.send(request("/gzip/gone", "Accept-Encoding: gzip"))
        assert client.head()[0] == 200
        client.reset()

    until(lambda: all(connection.closed for connection in backend.connections), "the backend to be let go")
    assert balancer.record(lambda record: record["path"] == "/gzip/gone")["reason"] == "connection_terminated"


def test_a_page_in_place_of_an_error_is_no_concern_of_it(balancer: Balancer, backend: Backend) -> None:
    backend.answer(TEXT, "Content-Type: text/plain", status="500 Oh")

    response = balancer.get("/pages", "Accept-Encoding: gzip")

    assert (response.status, response.body, response.get("content-encoding")) == (500, b"<h1>oh</h1>", None)


def test_http_1_0_gets_it_by_the_end_of_the_connection(balancer: Balancer, backend: Backend) -> None:
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(TEXT), TEXT)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    gate = Gate()
    backend.play(script(read_all, send(head), pause(gate), send(chunks)))

    with balancer.client() as client:
        client.send(request("/gzip", "Accept-Encoding: gzip", version="1.0"))
        assert client.head()[0] == 200
        gate.open()
        assert gzip.decompress(client.rest()) == TEXT
