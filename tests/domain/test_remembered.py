"""What was found out about a secret."""

from __future__ import annotations

from app.domain.remembered import Remembered


def test_it_is_known_until_its_time() -> None:
    ours: Remembered[str] = Remembered(b"k" * 32)
    ours.put(ours.digest(b"secret"), "alice", 10.0)

    assert [ours.get(ours.digest(b"secret"), now) for now in (0.0, 9.9, 10.0, 0.0)] == ["alice", "alice", None, None]
    assert ours.get(ours.digest(b"secres"), 0.0) is None


def test_the_secret_is_not_kept() -> None:
    """And what it is kept by says nothing to who has not the key."""
    ours: Remembered[str] = Remembered(b"k" * 32)
    ours.put(ours.digest(b"secret"), "alice", 10.0)

    assert b"secret" not in repr(ours._known).encode()
    assert len(ours.digest(b"secret")) == 16
    assert ours.digest(b"secret") != Remembered[str](b"j" * 32).digest(b"secret")


def test_it_is_bounded() -> None:
    """The oldest goes; what is put again is not another."""
    ours: Remembered[int] = Remembered(b"k" * 32, most=2)
    for number, secret in enumerate([b"a", b"b", b"b", b"c"]):
        ours.put(ours.digest(secret), number, 10.0)

    assert [ours.get(ours.digest(secret), 0.0) for secret in (b"a", b"b", b"c")] == [None, 2, 3]
    ours.clear()
    assert ours.get(ours.digest(b"c"), 0.0) is None
