"""Whose a directory is, and when it may be removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.engine.state import directory
from app.engine.state.directory import Held, boot_id, private, runtime_room
from tests.support.server import ROOT


def test_workers_of_one_supervisor_meet_and_others_do_not(tmp_path: Path) -> None:
    """By its pid and start time."""
    one, same, other = private(tmp_path, os.getpid()), private(tmp_path, os.getpid()), private(tmp_path, os.getppid())

    assert one.path == same.path != other.path
    assert one.path.stat().st_mode & 0o777 == 0o700
    for held in (one, same, other):
        held.release()


def test_what_is_left_over_is_removed_and_what_is_used_is_not(tmp_path: Path) -> None:
    """However its last user ended."""
    hold = f"""
import os
from pathlib import Path
from app.engine.state.directory import private
held = private(Path({str(tmp_path)!r}), os.getpid())
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", hold], cwd=ROOT, check=False)
    used = private(tmp_path, os.getppid())
    assert [path.name for path in tmp_path.iterdir()] == [used.path.name]

    mine = private(tmp_path, os.getpid())

    assert used.path.is_dir()
    used.release()
    mine.release()


def test_what_a_supervisor_may_come_back_to_is_not_left_over(tmp_path: Path) -> None:
    """All its workers were killed, and those that it starts in their place are not there yet."""
    killed = private(tmp_path, os.getppid())
    killed.release()

    private(tmp_path, os.getpid()).release()

    assert killed.path.is_dir()


def test_what_is_being_made_is_let_be(tmp_path: Path) -> None:
    """It has no lock yet that one could look at."""
    (tmp_path / "supervisor-7-7").mkdir()

    private(tmp_path, os.getpid()).release()

    assert (tmp_path / "supervisor-7-7").is_dir()


def test_a_directory_that_was_removed_in_between_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker took it for left over just before we had the lock."""
    flock, calls = directory.fcntl.flock, []

    def removed_first(file: int, how: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "x" / "in-use").unlink()
        flock(file, how)

    monkeypatch.setattr(directory.fcntl, "flock", removed_first)

    Held(tmp_path / "x").release()

    assert len(calls) == 2
    assert (tmp_path / "x" / "in-use").is_file()


def test_a_room_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """They could put their own files there; so could who made it a link."""
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="others"):
        private(tmp_path, 1)

    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="others"):
        private(tmp_path / "link", 1)


def test_the_room_is_what_the_system_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's first; what is not there or is too small in all is passed over."""
    ours = f"l7lb-{os.geteuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "absent"))
    assert runtime_room(1) == tmp_path / ours

    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_room(1) == tmp_path / ours
    assert runtime_room(10**18) not in (tmp_path / ours, Path("/dev/shm") / ours)


def test_a_boot_has_one_name() -> None:
    """And it can be part of a path."""
    assert boot_id() == boot_id() == Path(boot_id()).name != ""
