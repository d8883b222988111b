"""A JSON endpoint that is polled, and the request by which all APIs are asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.engine.discovery.api import ApiOptions
from app.engine.discovery.http import Http, HttpOptions
from app.engine.discovery.request import LARGEST, LONGEST_HEAD, Reply, asking
from app.engine.discovery.source import SourceFailed, reason
from tests.support.api import Call, Serve, api, first, urls
from tests.support.tls import Certificate


def polling(url: str, **options: Any) -> Http:
    return Http(HttpOptions(**{"url": url, "interval": 0.01, "timeout": 10.0, **options}), pool="web")


def says(answer: bytes) -> Serve:
    async def serve(call: Call) -> None:
        await call.write(answer)

    return serve


async def why(source: Any) -> str:
    """Why it fails."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  # any: `reason` has to know it
        await first(source)
    assert isinstance(raised.value, Exception)
    return reason(raised.value)


async def test_gives_each_answer_and_what_is_not_modified_stays() -> None:
    """By ETag, so that nothing is sent, nor read, while nothing changes."""
    tags = iter(['"1"', '"1"', '"2"', '"2"'])
    bodies = {'"1"': ["http://a:1"], '"2"': {"backends": ["http://a:1", "http://b:1|weight=3"]}}

    async def serve(call: Call) -> None:
        tag = next(tags)
        if call.fields.get("if-none-match") == tag:
            await call.say(304, etag=tag)
        else:
            await call.say(200, bodies[tag], etag=tag)

    async with api(serve) as there:
        found = await first(polling(f"{there.url}/backends?pool=web"), 4)

    assert [urls(one) for one in found] == [["http://a:1"]] * 2 + [["http://a:1", "http://b:1"]] * 2
    assert [call.fields.get("if-none-match") for call in there.calls] == [None, '"1"', '"1"', '"2"']
    assert {(call.method, call.target) for call in there.calls} == {("GET", "/backends?pool=web")}


async def test_an_etag_outlives_a_failure() -> None:
    """And one that is gone is not sent any more."""
    said = iter([(200, '"1"'), (500, ""), (304, ""), (200, ""), (200, "")])

    async def serve(call: Call) -> None:
        status, tag = next(said)
        await call.say(status, ["http://a:1"] if status == 200 else b"", **({"etag": tag} if tag else {}))

    async with api(serve) as there:
        source = polling(there.url)
        with pytest.raises(SourceFailed, match="status 500"):
            await first(source, 2)
        found = await first(source, 3)

    assert [urls(one) for one in found] == [["http://a:1"]] * 3
    assert [call.fields.get("if-none-match") for call in there.calls] == [None, '"1"', '"1"', '"1"', None]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n[]", "the connection closed before the end of the response"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n",
            "the connection closed before the end of the response",
        ),
        (b"HTTP/1.1 200 OK\r\nX", "the connection closed before the end of the response"),
        (b"", "the connection closed before the end of the response"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "not a list of backends"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n[", "not JSON"),
        (b"HTTP/1.1 301 Moved\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "status 301"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "status 304"),
        (b"HTTP/1.1 503 No\r\n\r\n[]", "status 503"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (LONGEST_HEAD + 9), f"the response head is over {LONGEST_HEAD} bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (LARGEST + 1), f"over {LARGEST} bytes"),
    ],
)
async def test_what_is_no_answer(answer: bytes, failure: str) -> None:
    """Cut short, it is never taken for a shorter list."""
    async with api(says(answer)) as there:
        assert (await why(polling(there.url))).startswith(failure)


async def test_the_end_of_the_connection_may_be_the_end_of_the_body() -> None:
    """Where nothing else says how long it is; and interim responses are none."""
    async with api(says(b"HTTP/1.1 103 Early\r\netag: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\n[]")) as there:
        assert await first(polling(there.url)) == [frozenset()]


async def test_nobody_there_and_nobody_who_answers(tmp_path: Path) -> None:
    async with api(says(b"")) as gone:
        pass

    async def stalls(call: Call) -> None:
        await asyncio.sleep(60)

    async with api(stalls) as silent:
        assert await why(polling(silent.url, timeout=0.05)) == "no answer in time"
    assert await why(polling(gone.url)) == "connection refused"
    assert await why(polling(f"unix://{tmp_path}/no.sock")) == "no such file or directory"
    assert (await why(polling("http://nowhere.invalid"))).startswith("name not resolved: ")


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with api(says(b"HTTP/1.1 200 OK\r\n\r\n[]"), path=tmp_path / "a.sock") as there:
        assert await first(polling(there.url)) == [frozenset()]

    assert [(call.target, call.fields["host"]) for call in there.calls] == [("/", "localhost")]


async def test_over_tls(tmp_path: Path) -> None:
    """The certificate is verified, by the authority that is given."""
    certificate = Certificate(tmp_path)
    async with api(says(b"HTTP/1.1 200 OK\r\n\r\n[]"), tls=certificate.server()) as there:
        assert await first(polling(there.url, ca=certificate.ca)) == [frozenset()]
        assert await first(polling(there.url, verify=False)) == [frozenset()]
        assert (await why(polling(there.url))).startswith("certificate: ")


async def test_a_token_is_sent_and_its_file_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    async with api(says(b"HTTP/1.1 200 OK\r\n\r\n[]")) as there:
        await first(polling(there.url, token="zero"))
        source = polling(there.url, token_file=file)
        await first(source)
        file.write_text("two")
        await first(source)
        file.write_text("two\nlines")
        assert await why(source) == "the token's file has more than one line"

    assert [call.fields["authorization"] for call in there.calls] == ["Bearer zero", "Bearer one", "Bearer two"]


@asynccontextmanager
async def replying(serve: Serve) -> AsyncIterator[Reply]:
    async with api(serve) as there, asking(ApiOptions(url=there.url, timeout=10.0), "/watch") as reply:
        yield reply


async def test_lines_come_as_they_are_sent() -> None:
    """Wherever the chunks are cut; the last may have no end."""

    async def serve(call: Call) -> None:
        await call.stream()
        for piece in (b'{"a"', b": 1}\n\n{", b'"b": 2}\r\n{"c"', b": 3}"):
            await call.chunk(piece)
        await call.write(b"0\r\n\r\n")

    async with replying(serve) as reply:
        found = []
        while lines := await reply.lines(10.0):
            found += lines
        assert found == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']


async def test_lines_that_come_close_together_are_one_piece_of_news() -> None:
    """What comes after them is the next."""
    said = asyncio.Event()

    async def serve(call: Call) -> None:
        await call.stream()
        await call.chunk(b"1\n")
        await call.chunk(b"2\n3")
        await said.wait()
        await call.chunk(b"\n4\n")
        await asyncio.sleep(60)

    async with replying(serve) as reply:
        assert await reply.lines(10.0, 0.2) == [b"1", b"2"]
        with pytest.raises(TimeoutError):
            await reply.lines(0.01)
        said.set()
        assert await reply.lines(10.0, 0.2) == [b"3", b"4"]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_more_than_anybody_wants_to_keep_is_not_kept(end: bytes) -> None:
    """Of one line, or of all that come together."""

    async def serve(call: Call) -> None:
        await call.stream()
        await call.chunk(b"1\n")
        for _ in range(LARGEST // 65_536 + 1):
            await call.chunk(b"x" * 65_536 + end)
        await asyncio.sleep(60)

    async with replying(serve) as reply:
        with pytest.raises(SourceFailed, match=f"over {LARGEST} bytes"):
            await reply.lines(10.0, 10.0)


async def test_a_stream_that_breaks() -> None:
    async def serve(call: Call) -> None:
        await call.stream()

    async with replying(serve) as reply:
        with pytest.raises(SourceFailed, match="closed before the end"):
            await reply.lines(10.0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:80",
        "ftp://a",
        "http://",
        "http://a:0",
        "http://a:x",
        "http://u:p@a",
        "unix://a/b",
        "http://a/ b",
        "http://a/\n",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValidationError):
        ApiOptions(url=url)


async def test_a_query_of_the_url_goes_along() -> None:
    async with api(says(b"HTTP/1.1 200 OK\r\n\r\n[]")) as there:
        for path, target in (("/base/?dc=a", "/v1"), ("/base?dc=a", "/v1?x=1"), ("", "/v1")):
            async with asking(ApiOptions(url=there.url + path), target) as reply:
                assert reply.status == 200

    assert [call.target for call in there.calls] == ["/base/v1?dc=a", "/base/v1?x=1&dc=a", "/v1"]
