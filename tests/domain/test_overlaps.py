"""Which groups are never reached, and which share requests."""

from typing import Any

import pytest

from app.domain.routing import RouteTable
from settings.groups import GroupSettings


def findings(**groups: dict[str, Any]) -> list[tuple[str, str, str]]:
    table = RouteTable.build({name: GroupSettings(pool="p", **settings) for name, settings in groups.items()})
    return [(found.kind, found.group, found.other) for found in table.overlaps()]


def message(**groups: dict[str, Any]) -> str:
    table = RouteTable.build({name: GroupSettings(pool="p", **settings) for name, settings in groups.items()})
    (found,) = table.overlaps()
    assert found.message == str(found)
    return str(found)


@pytest.mark.parametrize(
    "groups",
    [
        {"a": {}, "b": {"path": "/b"}},
        {"a": {"path": "/b"}, "b": {"path": "/b", "path_match": "exact"}},
        {"a": {"host": ("a.example",)}, "b": {"host": ("b.example",)}, "c": {}},
        {"a": {"host": ("*.example",)}, "b": {"host": ("b.example",)}},
        {"a": {}, "b": {"method": ("GET",)}},
        {"a": {"method": ("GET",)}, "b": {"method": ("POST",)}},
        {"a": {"header": {"x": "1"}}, "b": {"header": {"x": "2"}}},
        {"a": {"path": "/x.*", "path_match": "regex"}, "b": {"path": "/x[0-9]", "path_match": "regex"}},
        {"a": {"path": "/x", "priority": 1}, "b": {}},
        {"a": {"path": "/x", "path_match": "exact", "priority": 1}, "b": {"path": "/x"}},
        {"a": {"path": "/x.*", "path_match": "regex", "priority": 1}, "b": {"path": "/x"}},
        {"a": {"path": "/x", "priority": 1}, "b": {"path": "/x.*", "path_match": "regex"}},
        {"a": {"path": "/x", "path_match": "exact", "priority": 1}, "b": {"path": "/x", "path_match": "regex"}},
    ],
)
def test_groups_that_each_have_requests_of_their_own_are_not_reported(groups: dict[str, Any]) -> None:
    assert findings(**groups) == []


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        ({}, {}),
        ({"path": "/a"}, {"path": "/a/"}),
        ({"method": ("GET", "PUT")}, {"method": ("GET",)}),
        ({"header": {"a": "*"}}, {"header": {"a": "1"}}),
        ({"path": "/"}, {"path": "/x.*", "path_match": "regex"}),
        ({"path": "/x.*", "path_match": "regex"}, {"path": "/x.*", "path_match": "regex"}),
        ({"path": "/x", "path_match": "exact"}, {"path": "/x", "path_match": "exact", "host": ("*",)}),
        ({"priority": 1}, {"path": "/a", "host": ("a.example",), "header": {"x": "1"}}),
        ({"priority": 1, "path": "/x.*", "path_match": "regex"}, {"path": "/xy", "path_match": "exact"}),
        ({"priority": 1, "host": ("*.example",)}, {"host": ("a.example", "*.b.example")}),
        ({"host": ("a.example", "b.example")}, {"host": ("b.example",)}),
    ],
)
def test_a_group_whose_every_request_goes_elsewhere_is_unreachable(
    winner: dict[str, Any], loser: dict[str, Any]
) -> None:
    if loser.get("host") == ("*",):
        loser = {**loser, "host": ()}  # what `*` means
    assert findings(winner=winner, loser=loser) == [("unreachable", "loser", "winner")]


def test_the_group_that_wins_may_be_another_for_each_host() -> None:
    found = findings(a={"host": ("a.example",)}, b={"host": ("b.example",)}, both={"host": ("a.example", "b.example")})

    assert found == [("unreachable", "both", "a")]


def test_a_group_that_is_lost_for_some_of_its_hosts_is_shadowed_there() -> None:
    text = message(a={"host": ("*.a.example",)}, both={"host": ("b.example", "*.a.example")})

    where, why = text.split(": ")
    assert where == "group 'both' is never reached for host *.a.example"
    assert why == "group 'a' matches all of its requests and is defined first"


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (
            {"a": {"path": "/x"}, "b": {"path": "/x"}},
            "group 'b' is never reached: group 'a' matches the same requests and is defined first",
        ),
        (
            {"a": {"path": "/x"}, "b": {"priority": 3}},
            "group 'a' is never reached: group 'b' matches all of its requests and has the higher priority (3 over 0)",
        ),
        (
            {"a": {"path": "/x.*", "path_match": "regex"}, "b": {}},
            (
                "group 'a' is never reached: group 'b' matches all of its requests, "
                "and a prefix goes before a regular expression; give 'a' a higher priority"
            ),
        ),
        (
            {"a": {"header": {"x": "~."}}, "b": {"header": {"x": "*", "y": "*"}}},
            "",
        ),
        (
            {"a": {"header": {"x": "1"}}, "b": {"header": {"y": "1"}}},
            (
                "groups 'a' and 'b' can match the same request: 'a' wins, for it is defined first; "
                "give one a priority to say which is meant"
            ),
        ),
    ],
)
def test_findings_are_sentences(groups: dict[str, Any], text: str) -> None:
    if text:
        assert text == message(**groups)
    else:
        assert findings(**groups) == []


def test_groups_that_only_their_order_decides_between_are_reported_once() -> None:
    """Whatever the number of hosts that they share."""
    hosts = {"host": ("a.example", "b.example")}

    assert findings(a={"header": {"x": "1"}, **hosts}, b={"header": {"y": "1"}, **hosts}) == [("overlapping", "b", "a")]
