"""The file of one stored response: what it is, then its body, with checksums that a cut or a damage does not survive.

    8 bytes    magic and format
    3 numbers  bytes of the key, of the head, of the body
    2 numbers  CRC-32 of key, head and all of this before; CRC-32 of the body
    key, head (Stored.encoded), body

It is written under another name, without the first part; that is written last, and then the file gets its name. So a
process that is killed leaves no file that could be taken for a whole one. A power loss may: then the checksums decide.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from zlib import crc32

_MAGIC = b"l7lbobj1"
_SIZES = Struct("!8sIIQ")
_SUMS = Struct("!II")
FRONT = _SIZES.size + _SUMS.size
"""Bytes in front of the key."""
_ROUND = 1024 * 1024


class Damaged(Exception):
    """The file is not what was written."""


class Growing:
    """A file that is being written at *path*, locked as long as it is open.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, key: bytes, head: bytes) -> None:
        self.path = path
        self._key = key
        self._head = head
        self._start = FRONT + len(key) + len(head)
        self._sum = 0
        self.size = 0
        self._file = -1
        try:
            while self._file < 0:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX)
                if not os.fstat(self._file).st_nlink:  # somebody took it for abandoned in this very moment
                    self.close()
            _write(self._file, key + head, FRONT)
        except BaseException:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Add to the body. Raises OSError: then it is of no use any more."""
        _write(self._file, data, self._start + self.size)
        self._sum = crc32(data, self._sum)
        self.size += len(data)

    def read(self, offset: int, most: int) -> bytes:
        """A part of the body."""
        return os.pread(self._file, min(most, self.size - offset), self._start + offset)

    def finish(self, path: Path) -> None:
        """It is whole, and is at *path* from now on. Raises OSError."""
        sizes = _SIZES.pack(_MAGIC, len(self._key), len(self._head), self.size)
        _write(self._file, sizes + _SUMS.pack(crc32(self._key + self._head, crc32(sizes)), self._sum), 0)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self.path.rename(path)
        self.path = path

    def close(self) -> None:
        """No more of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Whole:
    """The file at *path*, for as long as it is open, even when its name has gone.

    Attributes:
        key, head: as they were written.

        size: bytes of the body.

    Raises:
        OSError: it cannot be read.

        Damaged: it is not whole, or key or head are not what was written.
    """

    def __init__(self, path: Path) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            front = os.pread(self._file, FRONT, 0)
            if len(front) < FRONT:
                raise Damaged(f"{path}: cut short")
            magic, key, head, self.size = _SIZES.unpack_from(front)
            known, self._sum = _SUMS.unpack_from(front, _SIZES.size)
            self._start = FRONT + key + head
            if magic != _MAGIC or os.fstat(self._file).st_size != self._start + self.size:
                raise Damaged(f"{path}: cut short, or of another version")
            rest = os.pread(self._file, key + head, FRONT)
            if crc32(rest, crc32(front[: _SIZES.size])) != known:
                raise Damaged(f"{path}: its head is damaged")
            self.key, self.head = rest[:key], rest[key:]
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Read all of the body. Raises Damaged when it is not what was written, OSError."""
        total, at = 0, 0
        while at < self.size:
            data = self.read(at, _ROUND)
            total = crc32(data, total)
            at += len(data)
        if total != self._sum:
            raise Damaged("its body is damaged")

    def read(self, offset: int, most: int) -> bytes:
        """One to *most* bytes of the body from *offset* on. Raises OSError, Damaged."""
        data = os.pread(self._file, min(most, self.size - offset), self._start + offset)
        if not data:
            raise Damaged("cut short")
        return data

    def close(self) -> None:
        """No more of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = close


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody writes the file at *path*, whose writer was killed then; nobody begins to, meanwhile."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locked(file)
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write(file: int, data: bytes, at: int) -> None:
    """All of *data*: a full disk gives room for some of it."""
    done = os.pwrite(file, data, at)
    while done < len(data):
        data, at = data[done:], at + done
        done = os.pwrite(file, data, at)
