"""A small file, read again when it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.kept_file import LARGEST, KeptFile
from tests.support.clock import Clock


def number(text: str) -> int:
    return int(text)


def test_it_is_looked_at_once_a_second_and_read_when_it_is_another(tmp_path: Path) -> None:
    path, clock = tmp_path / "n", Clock()
    path.write_text("1")
    kept = KeptFile(path, number, clock)
    path.write_text("12")

    assert (kept.get(), kept.version) == (1, 0)
    clock.advance(1.0)
    assert (kept.get(), kept.version) == (12, 1)
    clock.advance(1.0)
    assert (kept.get(), kept.version) == (12, 1)


def test_what_is_broken_or_gone_is_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which the log has once; what comes back is read."""
    path, clock = tmp_path / "n", Clock()
    path.write_text("1")
    kept = KeptFile(path, number, clock)
    path.write_text("none")
    for _ in range(3):
        clock.advance(1.0)
        assert kept.get() == 1
    path.unlink()
    clock.advance(1.0)
    assert kept.get() == 1
    assert len(caplog.records) == 2

    path.write_text("3")
    clock.advance(1.0)
    assert (kept.get(), kept.version) == (3, 1)


def test_what_cannot_be_used_to_begin_with_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with pytest.raises(OSError):  # noqa: PT011
        KeptFile(path, number)
    for content in (b"none", b"\xff", b"1" * (LARGEST + 1)):
        path.write_bytes(content)
        with pytest.raises(ValueError):  # noqa: PT011
            KeptFile(path, number)
