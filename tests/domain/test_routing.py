"""Which group a request belongs to."""

import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadRequest, MethodNotAllowed, NoRoute
from app.domain.rewrite import LONGEST
from app.domain.routing import RouteTable
from settings.groups import GroupSettings
from settings.problems import Crossed


def table(**groups: dict[str, Any]) -> RouteTable:
    return RouteTable.build({name: GroupSettings(pool="p", **settings) for name, settings in groups.items()})


def match(
    routes: RouteTable,
    path: str = "/",
    *,
    host: str = "example.org",
    method: str = "GET",
    headers: Sequence[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    client: str = "192.0.2.1",
) -> str:
    return routes.match(host, path, method, list(headers), query, client)


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/", "root"), ("/apix", "root"), ("/API", "root"), ("/x/api", "root"),
        ("/api", "api"), ("/api/", "api"), ("/api/v", "api"), ("/api/v12/x", "api"),
        ("/api/v1", "v1"), ("/api/v1/", "v1"), ("/api/v1/users/7", "v1"),
        ("/api/v1/health", "health"), ("/api/v1/health/", "v1"), ("/api/v1/health/x", "v1"),
    ],
)  # fmt: skip
def test_prefixes_go_by_whole_segments_and_the_longest_wins(path: str, group: str) -> None:
    """`/api` is not `/apix`; an exact path beats any prefix and is not its own slash."""
    routes = table(
        root={}, api={"path": "/api/"}, v1={"path": "/api/v1"}, health={"path": "/api/v1/health", "path_match": "exact"}
    )

    assert group == match(routes, path)


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("example.org", "exact"), ("EXAMPLE.org:8443", "exact"), ("example.org.", "exact"),
        ("a.example.org", "wild"), ("a.b.example.org:80", "wild"), ("A.B.Example.Org", "wild"),
        ("a.eu.example.org", "longer"), ("x.y.eu.example.org", "longer"), ("eu.example.org", "wild"),
        ("fixed.eu.example.org", "fixed"),
        ("", "every"), (".example.org", "every"), ("notexample.org", "every"), ("org", "every"), ("[::1]:8443", "loop"),
        ("a." * 30_000 + "example.org", "wild"), ("." * 60_000, "every"),
    ],
)  # fmt: skip
def test_an_exact_host_beats_a_wildcard_and_the_longer_beats_the_shorter(host: str, group: str) -> None:
    routes = table(
        every={},
        wild={"host": ("*.example.org",)},
        longer={"host": ("*.eu.example.org",)},
        fixed={"host": ("fixed.eu.example.org",)},
        exact={"host": ("example.org", "example.com")},
        loop={"host": ("[::1]",)},
    )

    assert group == match(routes, host=host)


def test_a_host_without_the_path_leaves_it_to_a_wider_host() -> None:
    """Precedence orders all groups that match; it does not shut the others out."""
    routes = table(
        every={}, wild={"host": ("*.example.org",), "path": "/w"}, exact={"host": ("a.example.org",), "path": "/x"}
    )

    assert [match(routes, path, host="a.example.org") for path in ("/x", "/w", "/y")] == ["exact", "wild", "every"]


def test_a_pattern_comes_after_every_prefix_of_its_host() -> None:
    routes = table(pattern={"path": "/[a-z]+/x", "path_match": "regex"}, api={"path": "/api"})

    assert [match(routes, path) for path in ("/api/x", "/web/x")] == ["api", "pattern"]


def test_a_lower_priority_on_the_way_hides_nobody() -> None:
    """The most specific is found first, then one of less priority, then one of more."""
    routes = table(
        longest={"path": "/a/b/c", "priority": 1},
        longer={"path": "/a/b"},
        shortest={"path": "/a", "priority": 2},
        other={"path": "/x", "priority": 3},
    )

    assert match(routes, "/a/b/c/d") == "shortest"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_what_is_never_served_is_said(method: str) -> None:
    with pytest.raises(MethodNotAllowed, match=f"^{method} is not served$"):
        match(table(root={}), method=method)


def test_a_path_too_long_for_the_patterns_is_refused_only_when_they_are_asked() -> None:
    routes = table(pattern={"path": "/a+", "path_match": "regex"}, api={"path": "/api"})

    assert match(routes, "/api/" + "a" * LONGEST) == "api"
    with pytest.raises(BadRequest):
        match(routes, "/" + "a" * LONGEST)


MANY = {"method": ("GET",), "header": {"a": "1", "b": "2"}, "query": {"c": "3"}, "client": ("192.0.2.0/24",)}
RICH: dict[str, Any] = {"headers": [(b"a", b"1"), (b"b", b"2")], "query": b"c=3"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"method": ("GET",)}, {k: v for k, v in MANY.items() if k != "method"}),
        ({"header": {"a": "1", "b": "2"}}, {"header": {"a": "1"}, "query": {"c": "3"}, "client": ("192.0.2.0/24",)}),
        ({"header": {"a": "1"}, "query": {"c": "3"}}, {"header": {"b": "2"}, "client": ("192.0.2.0/24",)}),
        ({"client": ("192.0.2.0/24",)}, {}),
        ({}, {}),
    ],
)
def test_on_one_path_the_one_that_asks_for_more_goes_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    """A method outweighs all header fields, those outweigh parameters, those a network; then the order decides."""
    assert match(table(first=first, second=second), **RICH) == "first"
    if first != second:
        assert match(table(second=second, first=first), **RICH) == "first"


def test_who_falls_short_leaves_it_to_the_next() -> None:
    routes = table(
        plain={"path": "/a"}, beta={"path": "/a", "header": {"x-beta": "*"}}, post={"path": "/a/b", "method": ("POST",)}
    )

    assert match(routes, "/a/b") == "plain"
    assert match(routes, "/a/b", headers=[(b"x-beta", b"")]) == "beta"
    assert match(routes, "/a/b", method="POST", headers=[(b"x-beta", b"")]) == "post"


def test_a_priority_beats_every_detail() -> None:
    """Of groups with the same priority, the details decide again."""
    routes = table(
        exact={"host": ("example.org",), "path": "/a/b", "path_match": "exact"},
        deep={"path": "/a/b/c", "priority": -1},
        high={"path": "/a", "priority": 5},
        higher={"path": "/[^/]+/b", "path_match": "regex", "priority": 5, "method": ("PUT",)},
        top={"header": {"x": "1"}, "priority": 9},
    )

    assert match(routes, "/a/b") == "high"
    assert match(routes, "/a/b/c") == "high"
    assert match(routes, "/a/b", method="PUT") == "high"
    assert match(routes, "/x/b", method="PUT") == "higher"
    assert match(routes, "/a/b", headers=[(b"x", b"1")]) == "top"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_two_methods_are_never_served(method: str) -> None:
    with pytest.raises(MethodNotAllowed):
        match(table(every={}), method=method)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"host": "other.example"}, "no group has this host"),
        ({"path": "/nowhere"}, "no group has this path"),
        ({"path": "/post"}, "no group has this method"),
        ({"path": "/head"}, "other header fields"),
        ({"path": "/query"}, "other query parameters"),
        ({"path": "/net"}, "other clients"),
        ({"path": "/re/x"}, "no group has this path"),
        ({"path": "/two"}, "other header fields"),
    ],
)
def test_no_route_says_what_the_request_fell_short_of(asked: dict[str, Any], reason: str) -> None:
    """Of several groups, the one that it came nearest to is meant."""
    here = {"host": ("example.org",)}
    routes = table(
        post={"path": "/post", "method": ("POST",), **here},
        head={"path": "/head", "header": {"a": "1"}, **here},
        query={"path": "/query", "query": {"a": "1"}, **here},
        net={"path": "/net", "client": ("10.0.0.0/8",), **here},
        pattern={"path": "/re/[0-9]", "path_match": "regex", **here},
        two={"path": "/two", "method": ("GET",), "header": {"a": "1"}, **here},
        other={"path": "/two", "method": ("PUT",), "header": {"a": "1"}, **here},
    )

    with pytest.raises(NoRoute, match=reason):
        match(routes, **asked)


def test_a_table_without_groups_has_no_route() -> None:
    with pytest.raises(NoRoute, match="no group has this host"):
        match(table())


def test_every_group_that_cannot_be_built_is_named() -> None:
    groups = {
        "good": GroupSettings(pool="p"),
        "dots": GroupSettings(pool="p", path="/a/%2e%2e"),
        "field": GroupSettings(pool="p", header={"a": r"~\u00e9"}),
    }

    with pytest.raises(Crossed) as crossed:
        RouteTable.build(groups)

    assert [path for path, _ in crossed.value.found] == [("groups", "dots", "path"), ("groups", "field", "header", "a")]


def work(run: Callable[[], object]) -> int:
    """How many bytecode instructions *run* takes, in all that it calls."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("place", ["/svc{n}", "/api/svc{n}/v1", "host", "wildcard", "exact"])
def test_a_thousand_groups_cost_what_one_costs(place: str) -> None:
    """Not less by the clock but by count: not one more instruction is run, wherever the group stands in the table."""

    def settings(number: int) -> GroupSettings:
        if place == "host":
            return GroupSettings(pool="p", host=(f"h{number}.example.org",))
        if place == "wildcard":
            return GroupSettings(pool="p", host=(f"*.h{number}.example.org",))
        kind = "exact" if place == "exact" else "prefix"
        path = f"/svc{number}" if kind == "exact" else place.format(n=number)
        return GroupSettings(pool="p", path=path, path_match=kind)

    def ask(routes: RouteTable, number: int) -> Callable[[], str]:
        host = {"host": f"h{number}.example.org", "wildcard": f"a.h{number}.example.org:8443"}.get(place, "example.org")
        path = place.format(n=number) if place.startswith("/") else f"/svc{number}"
        return lambda: match(routes, path, host=host)

    one = RouteTable.build({"g100": settings(100)})
    thousand = RouteTable.build({f"g{number}": settings(number) for number in range(1, 1000)})

    expected = work(ask(one, 100))
    assert expected > 0
    assert {expected} == {work(ask(thousand, number)) for number in (100, 101, 500, 999)}


def test_a_path_of_many_segments_costs_no_more_than_the_table_is_deep() -> None:
    routes = table(api={"path": "/api"})
    short, long = "/api/a", "/api" + "/a" * 30_000

    assert work(lambda: match(routes, short)) == work(lambda: match(routes, long))


HOSTS = ["example.org", "a.example.org", "b.a.example.org", "example.com"]
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "host": st.lists(st.sampled_from([*HOSTS, "*.example.org", "*.a.example.org", "*.org"]), max_size=2).map(tuple),
        "method": st.sampled_from([("GET",), ("PUT",), ("GET", "PUT")]),
        "header": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "*", "~[12]"]), max_size=2),
        "query": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "*"]), max_size=1),
        "client": st.sampled_from([("10.0.0.0/8",), ("10.1.0.0/16", "::/0")]),
        "priority": st.sampled_from([0, 0, 0, 1, -1]),
    },
)
PATHS = st.one_of(
    st.tuples(st.sampled_from(["prefix", "exact"]), st.sampled_from(["/", "/a", "/a/", "/a/b", "/b", "/a/b/c"])),
    st.tuples(st.just("regex"), st.sampled_from(["/a.*", "/.*", "/[ab]/b", "/b"])),
)
GROUPS = st.lists(
    st.builds(lambda rest, path: GroupSettings(pool="p", path_match=path[0], path=path[1], **rest), SETTINGS, PATHS),
    max_size=8,
).map(lambda groups: {f"g{number}": group for number, group in enumerate(groups)})
PAIRS = st.lists(st.sampled_from([(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", b"3")]), max_size=2)
REQUESTS = st.fixed_dictionaries(
    {
        "host": st.sampled_from([*HOSTS, "c.example.com:80"]),
        "path": st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c/d", "/ab", "/b"]),
        "method": st.sampled_from(["GET", "PUT"]),
        "headers": PAIRS,
        "query": PAIRS.map(lambda pairs: b"&".join(name + b"=" + value for name, value in pairs)),
        "client": st.sampled_from(["10.0.0.1", "10.1.0.1", "::1", "unix"]),
    }
)


def scan(groups: dict[str, GroupSettings], request: dict[str, Any]) -> str | None:
    """The Gateway API's rule as it is written: all groups that match, put in order, and the first."""
    import re

    def fits(wanted: dict[str, str], pairs: list[tuple[bytes, bytes]]) -> bool:
        def one(name: str, text: str) -> bool:
            values = [value.decode() for key, value in pairs if key.decode() == name]
            return any(text in ("*", value) or (text[0] == "~" and re.fullmatch(text[1:], value)) for value in values)

        return all(one(name, text) for name, text in wanted.items())

    def order(number: int, group: GroupSettings) -> tuple[Any, ...] | None:
        host, path = request["host"].partition(":")[0], request["path"]
        known = [h for h in group.host if h == host or (h[0] == "*" and host.endswith(h[1:]) and host != h[1:])]
        if group.host and not known:
            return None
        at = {
            "exact": path == group.path,
            "prefix": f"{path}/".startswith(group.path.rstrip("/") + "/"),
            "regex": bool(re.fullmatch(group.path, path)),
        }[group.path_match]
        pairs = [tuple(pair.split(b"=")) for pair in request["query"].split(b"&") if pair]
        client = ip_address(request["client"]) if request["client"] != "unix" else None
        net = not group.client or (client is not None and any(client in network for network in group.client))
        method = not group.method or request["method"] in group.method
        if not (at and net and method and fits(group.header, request["headers"]) and fits(group.query, pairs)):  # type: ignore[arg-type]
            return None
        best = max(((h[0] != "*", len(h)) for h in known), default=(False, 0))
        kind = ("regex", "prefix", "exact").index(group.path_match)
        length = len(group.path.rstrip("/")) if kind == 1 else 0
        details = (bool(group.method), len(group.header), len(group.query), bool(group.client))
        return (group.priority, best, kind, length, *details, -number)

    ranked = [(order(number, group), name) for number, (name, group) in enumerate(groups.items())]
    return max(((rank, name) for rank, name in ranked if rank is not None), default=(None, None))[1]


@given(groups=GROUPS, request=REQUESTS)
def test_the_walk_finds_what_a_scan_in_order_would(groups: dict[str, GroupSettings], request: dict[str, Any]) -> None:
    expected = scan(groups, request)
    routes = RouteTable.build(groups)

    if expected is None:
        with pytest.raises(NoRoute):
            match(routes, **request)
    else:
        assert expected == match(routes, **request)


@given(groups=GROUPS, requests=st.lists(REQUESTS, min_size=1, max_size=12))
def test_a_group_called_unreachable_is_never_found(
    groups: dict[str, GroupSettings], requests: list[dict[str, Any]]
) -> None:
    routes = RouteTable.build(groups)
    dead = {finding.group for finding in routes.overlaps() if finding.kind == "unreachable"}

    assert not dead & {scan(groups, request) for request in requests}
