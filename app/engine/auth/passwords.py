r"""Hashes of passwords, as htpasswd and others write them: which ones we know, and whether a password is the one.

    $2y$10$...              bcrypt, of `htpasswd -nB`; takes the package bcrypt (pip install l7lb[auth])
    $scrypt$ln=15,r=8,p=1$  scrypt (RFC 7914), with salt and hash in unpadded base64, as passlib writes it
    $apr1$...               1000 rounds of MD5, htpasswd's own default, which is weak

What is not here cannot be taken: plain text, crypt(3) and {SHA} are none that a stolen file would withstand.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from functools import partial
from hashlib import md5, scrypt
from hmac import compare_digest
from typing import Any

from settings.identity import user_name
from settings.problems import Wrong

Check = Callable[[bytes], bool]
"""Whether a password is the one; takes its time on purpose. Raises nothing."""

LONGEST = 1024
"""Bytes of a password; a longer one is wrong."""
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_APR1 = re.compile(r"\$apr1\$([!-#%-~]{1,8})\$([./0-9A-Za-z]{22})")
_FIX = "write what `htpasswd -nB` prints behind the colon"
_DEAREST = 1 << 28
"""Bytes that one scrypt may take."""
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def check_of(text: str) -> Check:
    """The check of the hash *text*. Raises Wrong when it is none that we know, or would take for ever."""
    if found := _BCRYPT.fullmatch(text):
        if not 4 <= int(found[1]) <= 15:
            raise Wrong("a bcrypt of this cost takes too long, or is no hash", "write one with a cost from 10 to 15")
        return partial(_checked, partial(_bcrypt, _library(), text.encode()))
    if found := _SCRYPT.fullmatch(text):
        rounds, block, lanes = int(found[1]), int(found[2]), int(found[3])
        if not 1 <= rounds <= 24 or not block or not lanes or 128 * block * (1 << rounds) * lanes > _DEAREST:
            raise Wrong("a scrypt of this cost takes too long, or is no hash", "write one with ln=15,r=8,p=1")
        try:
            salt, wanted = (b64decode(part + "=" * (-len(part) % 4)) for part in (found[4], found[5]))
        except Error:
            raise Wrong("salt or hash is no base64", _FIX) from None
        return partial(_checked, partial(_scrypt, wanted, {"salt": salt, "n": 1 << rounds, "r": block, "p": lanes}))
    if found := _APR1.fullmatch(text):
        return partial(_checked, partial(_apr1, found[1].encode(), found[2].encode()))
    if text.startswith("{SHA}") or re.fullmatch(r"[./0-9A-Za-z]{13}", text):
        raise Wrong("such a hash is as good as the password itself", _FIX)
    raise Wrong("not a hash of a password that we know", _FIX)


def users_of(text: str) -> dict[str, Check]:
    """The checks of a file of `user:hash` lines. Raises ValueError, with the line's number."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        user, colon, rest = line.strip().partition(":")
        if not user or user.startswith("#"):
            continue
        if not colon:
            raise ValueError(f"line {number}: not of the form user:hash")
        try:
            found[user_name(user)] = check_of(rest.partition(":")[0])
        except Wrong as wrong:
            raise ValueError(f"line {number}: {wrong}") from None
    return found


def _library() -> Any:
    try:
        import bcrypt  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise Wrong("bcrypt is not installed", "pip install l7lb[auth]") from None
    return bcrypt


def _checked(check: Check, password: bytes) -> bool:
    """Without what could be taken for another password: scrypt fills up with zeros, and bcrypt may end at one."""
    return len(password) <= LONGEST and b"\0" not in password and check(password)


def _bcrypt(library: Any, wanted: bytes, password: bytes) -> bool:
    return bool(library.checkpw(password[:72], wanted))  # htpasswd, too, goes no further


def _scrypt(wanted: bytes, cost: dict[str, Any], password: bytes) -> bool:
    return compare_digest(scrypt(password, **cost, maxmem=2 * _DEAREST, dklen=len(wanted)), wanted)


def _apr1(salt: bytes, wanted: bytes, password: bytes) -> bool:
    return compare_digest(apr1(password, salt), wanted)


def apr1(password: bytes, salt: bytes) -> bytes:
    """The hash of *password* as Apache's htpasswd makes it, without what stands before it: 22 characters."""
    mixed = _md5(password + salt + password)
    size = len(password)
    start = password + b"$apr1$" + salt + (mixed * (size // 16 + 1))[:size]
    while size:
        start += b"\0" if size & 1 else password[:1]
        size >>= 1
    final = _md5(start)
    for turn in range(1000):
        odd = turn & 1
        text = password if odd else final
        text += salt if turn % 3 else b""
        text += password if turn % 7 else b""
        final = _md5(text + (final if odd else password))
    places = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
    return b"".join(_text(final[a] << 16 | final[b] << 8 | final[c], 4) for a, b, c in places) + _text(final[11], 2)


def _md5(text: bytes) -> bytes:
    return md5(text, usedforsecurity=False).digest()


def _text(number: int, length: int) -> bytes:
    return bytes(_ITOA64[number >> 6 * place & 63] for place in range(length))
