"""Hashes of passwords: those that others made are the same here, and those that are none are refused."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64encode
from hashlib import scrypt

import bcrypt
import pytest

from app.engine.auth import passwords
from app.engine.auth.passwords import apr1, check_of, users_of
from settings.problems import Wrong

LONG = b"x" * 100


def of_scrypt(password: bytes, salt: bytes = b"salt of mine") -> str:
    made = scrypt(password, salt=salt, n=16, r=8, p=1, dklen=32)
    told = (b64encode(part).decode().rstrip("=") for part in (salt, made))
    return f"$scrypt$ln=4,r=8,p=1${'$'.join(told)}"


HASHES = {
    "bcrypt": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(),
    "bcrypt, as htpasswd calls it": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
    "scrypt": of_scrypt(b"secret"),
    "apr1": "$apr1$4tCqzBMI$" + apr1(b"secret", b"4tCqzBMI").decode(),
}


@pytest.mark.parametrize("kind", HASHES)
def test_the_password_is_right_and_others_are_not(kind: str) -> None:
    """Whatever is sent is right or wrong, and nothing else."""
    check = check_of(HASHES[kind])

    assert check(b"secret")
    for wrong in (b"", b"Secret", b"secret ", b"secret\0", b"\0", b"\xff" * 80, LONG, b"x" * 100_000):
        assert not check(wrong)


@pytest.mark.parametrize("kind", ["scrypt", "apr1"])
@pytest.mark.parametrize("password", [b"secret", b"Secret", b"", b"x" * 1000])
def test_hashes_are_compared_in_the_same_time(monkeypatch: pytest.MonkeyPatch, kind: str, password: bytes) -> None:
    """Once, by that which takes as long where all is different, and it alone decides. Those of bcrypt it compares."""
    compared = []

    def never(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    monkeypatch.setattr(passwords, "compare_digest", never)

    assert not check_of(HASHES[kind])(password)
    assert len(compared) == 1
    assert compared[0][0] == compared[0][1] > 20


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("password", ["", "a", "myPassword", "a longer one than sixteen characters", "ä" * 20])
def test_apr1_is_that_of_others(password: str) -> None:
    found = subprocess.run(
        ["openssl", "passwd", "-apr1", "-salt", "4tCqzBMI", "-stdin"],
        input=password + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert found.stdout.strip() == "$apr1$4tCqzBMI$" + apr1(password.encode(), b"4tCqzBMI").decode()


def test_a_password_over_72_bytes_is_that_of_htpasswd() -> None:
    """Which goes no further; nor did bcrypt, before it raised."""
    check = check_of(bcrypt.hashpw(LONG[:72], bcrypt.gensalt(4)).decode())

    assert check(LONG)
    assert not check(LONG[:71])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a hash"),
        ("secret", "not a hash"),
        ("$2b$04$short", "not a hash"),
        ("$2b$31$" + "a" * 53, "takes too long"),
        ("$scrypt$ln=24,r=16,p=9$c2FsdA$c2FsdA", "takes too long"),
        ("$scrypt$ln=4,r=0,p=1$c2FsdA$c2FsdA", "takes too long"),
        ("$scrypt$ln=4,r=8,p=1$c$c2FsdA", "no base64"),
        ("$6$salt$hash", "not a hash"),
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "as good as the password"),
        ("rqXexS6ZhobKA", "as good as the password"),
    ],
)
def test_what_is_no_hash_or_no_good_one_is_refused(text: str, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        check_of(text)


def test_a_file_of_users() -> None:
    """With comments, and fields behind the hash that are for others."""
    found = users_of(f"# ours\n\nalice:{HASHES['apr1']}\r\nbob:{HASHES['scrypt']}:Bob Builder\n")

    assert {user: check(b"secret") for user, check in found.items()} == {"alice": True, "bob": True}


@pytest.mark.parametrize("text", ["alice", "a:b", f"a b:{HASHES['apr1']}", f"Жора:{HASHES['apr1']}"])
def test_a_file_that_is_none_says_where(text: str) -> None:
    with pytest.raises(ValueError, match="line 2: "):
        users_of("\n" + text)
