"""Files that are read again when they have changed: certificates, keys and authorities, towards clients and backends.

    in force --another version, twice the same--> loaded --usable--> in force
                                                    |
                                                    +--broken, expired--> refused: what was in force stays; tried again

A version that one look finds and the next one does not is still being written, and is left alone.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Generic, TypeVar

from app.domain.certificate import issued

T = TypeVar("T")
File = str | PathLike[str]
Stamp = tuple[tuple[int, int, int], ...]

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")

log = logging.getLogger("l7lb.tls")


class Renewal(Generic[T]):
    """What is made of files that belong together.

    Args:
        files: the first gives it its name.

        load: makes it, and says when it ends, in wall-clock seconds. Raises OSError or ValueError where it cannot.

        wall: wall-clock seconds.

    Attributes:
        name: as metrics have it.

        value: what is in force.

        ends: when that expires, in wall-clock seconds.

        loaded, refused: how often another version was put in force; could not be.

    Raises:
        OSError, ValueError: as *load*. What has expired is good enough to begin with, and the log says so.
    """

    def __init__(
        self, files: Iterable[File | None], load: Callable[[], tuple[T, float]], wall: Callable[[], float] = time.time
    ) -> None:
        self._files = tuple(file for file in files if file is not None)
        self._load = load
        self._wall = wall
        self.name = str(self._files[0]) if self._files else ""
        self.loaded = self.refused = 0
        self._known = self._seen = self._stamp()
        self._said = self._again = False
        self.value, self.ends = load()
        if self.ends <= wall():
            log.warning("%s has expired", self.name)

    def again(self) -> None:
        """Have it made anew at the next look, of the same files if they have not changed."""
        self._again = True

    def look(self) -> bool:
        """Put another version in force, if there is one that can be used; whether there was."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._said = stamp, False
            return False
        new = stamp != self._known
        if not (new or self._again):
            return False
        try:
            value, ends = self._load()
            if new and ends <= self._wall():
                raise ValueError("it has expired")
        except (OSError, ValueError) as error:  # SSLError is an OSError
            if not self._said:
                self._said = True
                self.refused += 1
                log.error("%s has changed and cannot be used, what was loaded before stays: %s", self.name, error)
            return False
        self._known, self.value, self.ends, self._again = stamp, value, ends, False
        if new:
            self.loaded += 1
            log.info("%s has changed, and is loaded", self.name)
        return True

    def _stamp(self) -> Stamp:
        stamps = []
        for file in self._files:
            try:
                found = Path(file).stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(stamps)


def certificates(file: File) -> list[str]:
    """The certificates in a PEM file, each as PEM. Raises OSError; ValueError for none, or one that is cut off."""
    text = Path(file).read_text("latin-1")
    found = _PEM.findall(text)
    if not found:
        raise ValueError("there is no certificate in it")
    if text.count("-----BEGIN ") != text.count("-----END "):
        raise ValueError("it is cut off")
    return found


def authorities(file: File) -> tuple[str, float]:
    """The certificates of authorities in a PEM file, as one text, and when the last of them ends.

    Raises OSError, ValueError.
    """
    found = certificates(file)
    return "\n".join(found), max(issued(ssl.PEM_cert_to_DER_cert(each)).ends for each in found)
