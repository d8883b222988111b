"""Writes a file with a secret in it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write(path: Path, data: bytes, *, over: bool = True) -> None:
    """Have *data* in *path*, whole or not at all, for its owner only; what is there stays, unless it is written *over*.

    Raises OSError.
    """
    file, name = tempfile.mkstemp(prefix=".", dir=path.parent)  # 0600
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if over:
            Path(name).replace(path)
        else:
            with suppress(FileExistsError):
                os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
