"""Opens environments of LMDB so that a disk that is full is an error, and not the end of the process.

LMDB maps its table of readers into memory, from a file without blocks; the kernel kills who writes to a page of it for
which the disk has none (SIGBUS). So the blocks are taken first.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import lmdb

READERS = 1024
"""Threads, of all processes, that may read at a time."""
_LOCK = 128 + 64 * READERS
"""Bytes of the table of so many."""


def opened(path: Path, *, size: int, **options: Any) -> lmdb.Environment:
    """That in the directory *path*, which is made; *size* bytes is what it may grow to, *options* are `lmdb.open`'s.

    Raises:
        OSError: there is no room on the disk.

        lmdb.Error: the environment cannot be opened, or this process has it open.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    lock = path / "lock.mdb"
    os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    take_room(lock, _LOCK)
    return lmdb.open(str(path), map_size=size, mode=0o600, max_readers=READERS, **options)


def take_room(path: Path, size: int) -> None:
    """Have all of a file's blocks. Raises OSError where the disk has none left."""
    with path.open("r+b") as file:
        have = os.fstat(file.fileno()).st_blocks * 512 // 4096 * 4096
        if have < size:
            try:
                os.posix_fallocate(file.fileno(), have, size - have)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
