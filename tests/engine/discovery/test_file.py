"""Backends in a file: what it may look like, and that nothing is read that is still being written."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.engine.discovery.file import LARGEST, File, FileOptions, parsed
from app.engine.discovery.source import SourceFailed
from tests.support.api import first, urls


def watched(path: Path) -> File:
    return File(FileOptions(path=path, interval=0.02), pool="web")


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".json", '["http://a:1|weight=2", {"url": "http://b:1"}]'),
        (".JSON", '{"backends": ["http://a:1|weight=2", "http://b:1"]}'),
        (".toml", 'backends = ["http://a:1|weight=2", { url = "http://b:1" }]'),
        (".yaml", "- http://a:1|weight=2\n- url: http://b:1\n"),
        (".yml", "backends:\n- http://a:1|weight=2\n- http://b:1\n"),
        (".txt", "# two\nhttp://a:1|weight=2   # the big one\n\n  http://b:1\n"),
        ("", "http://a:1|weight=2\r\nhttp://b:1"),
    ],
)
def test_each_form(suffix: str, text: str) -> None:
    found = parsed(suffix, text.encode())

    assert sorted((one.url, one.weight) for one in found) == [("http://a:1", 2), ("http://b:1", 1)]


@pytest.mark.parametrize(
    ("suffix", "text", "why"),
    [
        (".json", b'["http://a:1"', "not JSON"),
        (".json", b"", "not JSON"),
        (".toml", b'backends = ["http://a:1"', "not TOML"),
        (".toml", b"\xff", "not UTF-8 text"),
        (".yaml", b"- [", "not YAML"),
        (".yaml", b"", "not a list of backends"),
        (".txt", b"http://a:1\nhttp:", "backend 2: "),
        (".txt", b"\xff", "not UTF-8 text"),
    ],
)
def test_what_is_half_written_is_a_failure(suffix: str, text: bytes, why: str) -> None:
    with pytest.raises(SourceFailed, match=why):
        parsed(suffix, text)


async def test_gives_each_version(tmp_path: Path) -> None:
    """Written anew, or put in the place of the one before; the first at once."""
    path = tmp_path / "backends.json"
    path.write_text('["http://a:1"]')
    found: list[list[str]] = []

    async def follow() -> None:
        async for members in watched(path):
            found.append(urls(members))  # noqa: PERF401  # it is looked at meanwhile

    async def reach(count: int) -> None:
        while len(found) < count:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(10):
        task = asyncio.create_task(follow())
        await reach(1)
        path.write_text('["http://a:1", "http://b:1"]')
        await reach(2)
        (tmp_path / "new").write_text('["http://c:1", "http://b:1"]')  # as long as the one before
        (tmp_path / "new").rename(path)
        await reach(3)
        path.write_text("[]")
        await reach(4)
        task.cancel()
        await asyncio.wait({task})

    assert found == [["http://a:1"], ["http://a:1", "http://b:1"], ["http://b:1", "http://c:1"], []]


async def test_what_is_still_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look finds it longer, so nothing is read until two have found the same: a plain list has no end to see."""
    path = tmp_path / "backends"
    path.write_text("http://a:1\n")
    lines = iter(["http://b:1\n", "http://c:1\n", "http://d:1\n"])
    looks = 0
    real = Path.stat

    def stat(self: Path, **options: Any) -> Any:
        nonlocal looks
        if self == path:
            looks += 1
            if looks >= 2 and (line := next(lines, None)):
                with path.open("a") as file:
                    file.write(line)
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", stat)

    before, after = await first(watched(path), 2)

    assert urls(before) == ["http://a:1"]
    assert urls(after) == ["http://a:1", "http://b:1", "http://c:1", "http://d:1"]


async def test_a_failure_is_no_reason_to_read_what_is_half_written(tmp_path: Path) -> None:
    """Begun again, it waits for two looks that find the same, for now somebody may be at it."""
    path = tmp_path / "backends"
    source = watched(path)
    with pytest.raises(FileNotFoundError):
        await first(source)
    path.write_text("http://a:1\n")
    again = aiter(source)
    step = asyncio.ensure_future(anext(again))
    await asyncio.sleep(0)
    path.write_text("http://a:1\nhttp://b:1\n")

    assert urls(await asyncio.wait_for(step, 10)) == ["http://a:1", "http://b:1"]
    await again.aclose()  # type: ignore[attr-defined]


async def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_bytes(b"#" * (LARGEST + 1))

    with pytest.raises(SourceFailed, match=f"over {LARGEST} bytes"):
        await first(watched(path))


async def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is not what was seen: it waits for the next looks."""
    path = tmp_path / "backends"
    path.write_text("http://a:1\n")
    real = Path.open
    reads = 0

    def open_(self: Path, *args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            with real(self, "wb") as file:
                file.write(b"http://a:1\nhttp://b:1\n")
        return real(self, *args, **options)

    monkeypatch.setattr(Path, "open", open_)
    (found,) = await first(watched(path))

    assert urls(found) == ["http://a:1", "http://b:1"]
    assert reads == 2
