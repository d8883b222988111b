"""The answer to an authority that asks for a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import Answered
from app.domain.exchange import Exchange
from app.middleware.challenges import Challenges
from tests.support.layers import Inside, ask

PREFIX = "/.well-known/acme-challenge/"


def exchange(path: str, method: str = "GET") -> Exchange:
    return Exchange(0.0, "192.0.2.1", "http", method, "a.test", path)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_token_that_is_there(tmp_path: Path, method: str) -> None:
    (tmp_path / "to-ken_1").write_text("to-ken_1.thumb")
    with pytest.raises(Answered) as answered:
        Challenges(Inside(), tmp_path).enter(exchange(PREFIX + "to-ken_1", method), [])
    assert (answered.value.status, answered.value.body) == (200, b"to-ken_1.thumb")


@pytest.mark.parametrize(
    "path",
    ["/", PREFIX, PREFIX + "other", PREFIX + "../secret", PREFIX + "%2e%2e", PREFIX + ".x", PREFIX + "a" * 300,
     PREFIX + "directory", PREFIX + "a/b", PREFIX + "a\0"],
)  # fmt: skip
def test_everything_else_goes_on(tmp_path: Path, path: str) -> None:
    """A backend may have an authority of its own."""
    (tmp_path / "secret").write_text("no")
    tokens = tmp_path / "tokens"
    (tokens / "directory").mkdir(parents=True)
    (tokens / ".x").write_text("no")
    Challenges(Inside(), tokens).enter(exchange(path), [])


def test_a_post_goes_on(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    Challenges(Inside(), tmp_path).enter(exchange(PREFIX + "token", "POST"), [])


async def test_on_the_general_path(tmp_path: Path) -> None:
    inside = Inside()
    await ask(Challenges(inside, tmp_path), (b"a", b"b"))
    assert inside.seen == [[(b"a", b"b")]]
