"""What became another, said so that a person sees it; and what cannot while we run."""

from __future__ import annotations

from typing import Any

import pytest

from settings.changes import RESTART, Changed, changes
from settings.load import load, reread
from settings.problems import SettingsError
from settings.root import Settings
from settings.shape import Shape

BASE: dict[str, Any] = {
    "pools": {"a": {"backends": ["http://h:1"], "strategy": {"kind": "maglev", "table": 5003}}},
    "groups": {"all": {"pool": "a"}},
}


def differing(**other: Any) -> list[Changed]:
    return changes(Settings(**BASE), Settings(**{**BASE, **other}))


def test_what_is_the_same_is_not_said() -> None:
    assert differing() == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rate_limit": {"rate": "7/m"}}, [
            ("rate_limit.kind", "none", "token_bucket"), ("rate_limit.rate", "100/m", "7/m"),
        ]),
        ({"trusted_proxies": ["10.0.0.0/8"]}, [("trusted_proxies", [], ["10.0.0.0/8"])]),
        (
            {"pools": {"a": {"backends": ["http://h:1"], "strategy": {"kind": "maglev", "table": 1009}}}},
            [("pools.a.strategy.table", 5003, 1009)],
        ),
        (
            {"pools": {"a": {"backends": ["http://h:1"], "strategy": "first"}}},
            [("pools.a.strategy.kind", "maglev", "first"), ("pools.a.strategy.table", 5003, None)],
        ),
        (
            {"groups": {"all": {"pool": "a", "header": {"x-a": "1", "x-b": "2"}}}},
            [("groups.all.header.x-a", None, "1"), ("groups.all.header.x-b", None, "2")],
        ),
        ({"groups": {"all": {"respond": {"body": "x"}}}}, [
            ("groups.all.pool", "a", None),
            ("groups.all.respond", None, {"status": 200, "body": "x", "content_type": "text/plain; charset=utf-8"}),
        ]),
        ({"groups": {}}, [("groups.all", "whole", None)]),
        ({"edge": {"header_timeout": "2s"}}, [("edge.header_timeout", "10s", "2s")]),
    ],
)  # fmt: skip
def test_each_setting_is_named_with_what_it_was_and_is(other: Any, said: list[tuple[str, Any, Any]]) -> None:
    """In the units that it is written in; a group, a pool or a limiter that comes or goes as a whole."""
    found = differing(**other)

    assert [change.path for change in found] == [path for path, _, _ in said]
    for change, (_, before, after) in zip(found, said, strict=True):
        assert change.after == after
        assert change.before == before or (before == "whole" and change.before["pool"] == "a")


def test_a_secret_is_not_shown() -> None:
    """That it is another one is."""
    (change,) = changes(Settings(admin={"token": "one"}), Settings(admin={"token": "two"}))

    assert change.path == "admin.token"
    assert "one" not in repr(change)
    assert "two" not in repr(change)


def test_what_needs_a_restart_is_a_setting() -> None:
    """And nothing else than what is named."""
    for place in RESTART:
        assert Shape(Settings).walk(tuple(place.split("."))) is not None, place
        assert Changed(place, 1, 2).needs_restart
        assert Changed(f"{place}.x", 1, 2).needs_restart
    assert not Changed("edge.driver_", 1, 2).needs_restart
    assert not Changed("pools.state", 1, 2).needs_restart


def test_the_file_is_read_again_and_the_environment_is_not(tmp_path: Any) -> None:
    """A variable still goes before the file, as it did when we started."""
    path = tmp_path / "l7lb.toml"
    path.write_text("[drain]\ndelay = '1s'\n[edge]\nmax_headers = 7\n")
    variables = {"LB_CONFIG": str(path), "LB_EDGE__MAX_HEADERS": "9"}
    first = load(variables, env_file=tmp_path / "none")
    variables["LB_EDGE__MAX_HEADERS"] = "11"
    path.write_text("[drain]\ndelay = '5s'\n[edge]\nmax_headers = 8\n")

    again = reread(first)

    assert (first.drain.delay, again.drain.delay, again.edge.max_headers) == (1.0, 5.0, 9)
    assert (first.text.count("1s"), again.text.count("5s")) == (1, 1)
    assert reread(again, first.text) == first
    with pytest.raises(SettingsError, match=r"l7lb\.toml:1"):
        reread(again, "[drain")
