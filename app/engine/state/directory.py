"""The directory of a state on disk: whose it is, who is in it, and which boot of the machine it is of.

A private one is for the workers of one supervisor and is found by its pid and start time. Whoever uses a directory
holds a shared lock on the file `in-use` in it until it ends, however it ends. So a private one in which nobody holds
that lock is left over, and is removed by whoever makes the next one: unless its supervisor is alive, which may be about
to start new workers for all that were killed. Its pid alone says nothing: it may be of another container.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from stat import S_ISDIR

_IN_USE = "in-use"
_PRIVATE = "supervisor-"
_PLENTY = 4
_UNKNOWN = "0"


class Held:
    """A directory that this process uses.

    Args:
        path: is made when it is not there, for its owner only.

    Raises:
        OSError: it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._file = os.open(path / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:  # somebody took it for left over in this very moment
                continue
            fcntl.flock(self._file, fcntl.LOCK_SH)
            if _same(self._file, path / _IN_USE):
                break
            os.close(self._file)

    def release(self) -> None:
        """Use it no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def private(room: Path, supervisor: int) -> Held:
    """The directory of the workers of *supervisor* in *room*; those that nobody uses any more are removed.

    Args:
        room: is made when it is not there.

        supervisor: pid of the process that started the workers.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = room.lstat()
    if not S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{room} can be written to by others")
    held = Held(room / f"{_PRIVATE}{supervisor}-{_started(supervisor)}")
    for other in room.glob(f"{_PRIVATE}*"):
        if other != held.path and not _supervised(other):
            _remove_unused(other)
    return held


def boot_id() -> str:
    """Another one each time the machine starts: the clock that buckets go by starts again then, too."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux: the minute in which it started
        return f"m{round((time.time() - time.monotonic()) / 60)}"


def runtime_room(size: int) -> Path:
    """Where private directories are: what the system gives for this, else memory, else where temporary files are.

    Args:
        size: bytes that will be needed. A file system has to have several times that in all, not free: all workers are
            to come to the same answer, and the first of them takes what is free.
    """
    ours = f"l7lb-{os.geteuid()}"
    given = (os.environ.get(variable, "").split(":")[0] for variable in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"))
    for path in (*given, "/dev/shm"):  # noqa: S108  # a directory of our own in it, which nobody else may write to
        if path and os.access(path, os.W_OK | os.X_OK):
            system = os.statvfs(path)
            if system.f_blocks * system.f_frsize >= _PLENTY * size:
                return Path(path) / ours
    return Path(tempfile.gettempdir()) / ours


def _started(pid: int) -> str:
    """When process *pid* started, in ticks since boot: two processes never share both."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # proc(5): starttime, field 22
    except (OSError, IndexError):
        return _UNKNOWN


def _supervised(path: Path) -> bool:
    """Whether the supervisor that a private directory is named after runs here."""
    pid, _, started = path.name.removeprefix(_PRIVATE).partition("-")
    return started != _UNKNOWN and pid.isdecimal() and _started(int(pid)) == started


def _remove_unused(path: Path) -> None:
    try:
        file = os.open(path / _IN_USE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # being made or being removed
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody is in it
        return
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(file)


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
