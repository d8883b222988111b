"""Which group a request belongs to, and what is changed on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend, answers, reply
from tests.support.raw import Response
from tests.support.server import Balancer, pool

IDS = itertools.count()
GROUPS = r"""
[groups.api]
path = "/api"
pool = "main"

[groups.exact]
path = "/exact"
path_match = "exact"
pool = "main"

[groups.regex]
path = "/item/[0-9]+"
path_match = "regex"
pool = "main"

[groups.shop]
host = ["shop.test"]
pool = "main"

[groups.wild]
host = ["*.shop.test"]
pool = "main"

[groups.post]
path = "/method"
method = ["POST", "PUT"]
pool = "main"

[groups.canary]
path = "/api"
header = { x-canary = "1" }
pool = "main"

[groups.beta]
path = "/api"
query = { beta = "yes" }
pool = "main"

[groups.local]
path = "/local"
client = ["127.0.0.0/8"]
pool = "main"

[groups.far]
path = "/far"
client = ["203.0.113.0/24"]
pool = "main"

[groups.first]
path = "/api/deep"
priority = 10
header = { x-first = "*" }
pool = "main"

[groups.deep]
path = "/api/deep"
pool = "main"

[groups.strip]
path = "/strip"
strip_prefix = true
pool = "main"

[groups.moved]
path = "/moved"
strip_prefix = true
add_prefix = "/new"
pool = "main"

[groups.rewritten]
path = "/old"
rewrite = { pattern = "^/old/(.*)$", to = '/new/\1' }
pool = "main"

[groups.away]
path = "/away"
redirect = { to = "https://{host}{path}", status = 301 }

[groups.fixed]
path = "/fixed"
respond = { status = 418, body = "short and stout" }

[groups.named]
path = "/named"
host_header = "backend"
pool = "main"

[groups.fields]
path = "/fields"
pool = "main"
request_headers = { remove = ["X-Out"], set = { X-Set = "ours" }, add = { X-Add = "more" } }
response_headers = { remove = ["Server"], set = { X-Frame-Options = "DENY" }, add = { X-Add = "more" } }
"""


@pytest.fixture(scope="module")
def balancer(shared: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """Its settings come from a file."""
    file = tmp_path_factory.mktemp("settings") / "lb.toml"
    file.write_text(f'{GROUPS}\n[pools.main]\nbackends = "{shared.url}"\nhealth = {{ kind = "none" }}\n')
    with Balancer({"LB_CONFIG": str(file)}) as running:
        yield running


def group(balancer: Balancer, target: str, *fields: str, **options: str) -> str:
    """The group that took it, by the log; "404" for none."""
    own = f"id-{next(IDS)}"
    response = balancer.get(target, *fields, f"X-Request-ID: {own}", **options)
    line = balancer.record(lambda record: record["request_id"] == own)
    return line["group"] or str(response.status)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api", "api"), ("/api/", "api"), ("/api/x", "api"), ("/api?x", "api"), ("/apix", "404"), ("/ap", "404"),
        ("/API", "404"), ("/%61pi/x", "api"), ("/", "404"), ("/exact", "exact"), ("/exact/x", "404"),
        ("/item/12", "regex"), ("/item/x", "404"), ("/item/12/x", "404"),
        ("/api/deep/er", "deep"), ("/api/deeper", "api"),
    ],
)  # fmt: skip
def test_paths(balancer: Balancer, backend: Backend, path: str, expected: str) -> None:
    """By whole segments, the longest first, on the one canonical form."""
    assert expected == group(balancer, path)


def test_empty_segments_do_not_get_around_a_rule(balancer: Balancer, backend: Backend) -> None:
    """`//api` is `/api` to most backends, so it is to us; what goes on is what came."""
    assert group(balancer, "//api//x") == "api"
    assert [seen.target for seen in backend.requests] == [b"//api//x"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.test", "shop"), ("SHOP.test", "shop"), ("shop.test:8443", "shop"), ("shop.test.", "shop"),
        ("a.shop.test", "wild"), ("a.b.shop.test", "wild"), ("xshop.test", "404"), ("shop.test.evil", "404"),
    ],
)  # fmt: skip
def test_hosts(balancer: Balancer, backend: Backend, host: str, expected: str) -> None:
    assert expected == group(balancer, "/any", host=host)


def test_methods(balancer: Balancer, backend: Backend) -> None:
    assert [group(balancer, "/method", method=m) for m in ("POST", "PUT", "GET")] == ["post", "post", "404"]


def test_fields_and_parameters(balancer: Balancer, backend: Backend) -> None:
    """The more conditions, the more specific; one that does not hold leaves it to the next."""
    assert group(balancer, "/api/x", "X-Canary: 1") == "canary"
    assert group(balancer, "/api/x", "X-Canary: 2") == "api"
    assert group(balancer, "/api/x?a=1&beta=yes") == "beta"
    assert group(balancer, "/api/x?beta=no") == "api"


def test_client_networks(balancer: Balancer, backend: Backend) -> None:
    assert [group(balancer, path) for path in ("/local", "/far")] == ["local", "404"]


def test_priority(balancer: Balancer, backend: Backend) -> None:
    assert group(balancer, "/api/deep", "X-First: anything") == "first"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/strip", b"/"), ("/strip/", b"/"), ("/strip/a%20b/?q=1", b"/a%20b/?q=1"), ("/strip?q", b"/?q"),
        ("/moved/a?q", b"/new/a?q"), ("/old/a/b?q", b"/new/a/b?q"), ("/api/a?q", b"/api/a?q"),
    ],
)  # fmt: skip
def test_what_the_backend_is_asked_for(balancer: Balancer, backend: Backend, path: str, target: bytes) -> None:
    balancer.get(path)

    assert [target] == [seen.target for seen in backend.requests]


def test_a_redirect(balancer: Balancer, backend: Backend) -> None:
    response = balancer.get("/away/a%20b", host="lb.test:80")

    assert (response.status, backend.requests) == (301, [])
    assert (response.get("location") or "").startswith("https://lb.test")
    assert (response.get("location") or "").endswith("/away/a%20b")


@pytest.mark.parametrize("path", ["//evil.test/away", "/away//evil.test", "/away/%0d%0aX-Evil:1"])
def test_a_redirect_stays_where_it_was_told_to(balancer: Balancer, backend: Backend, path: str) -> None:
    response = balancer.get(path)

    assert response.all("x-evil") == []
    assert all(value.startswith(b"https://lb.test/") for value in response.all("location"))


def test_a_fixed_response(balancer: Balancer, backend: Backend) -> None:
    response = balancer.get("/fixed")

    assert (response.status, response.body, backend.requests) == (418, b"short and stout", [])


def test_a_fixed_response_to_a_body(balancer: Balancer, backend: Backend) -> None:
    """Nobody reads it; the connection is not left half-way through it."""
    assert balancer.get("/fixed", method="POST", body=b"x" * 300_000).status == 418


def test_the_hosts_name(balancer: Balancer, shared: Backend, backend: Backend) -> None:
    """The client's by default, the backend's own where its group says so."""
    balancer.get("/api", host="lb.test:8080")
    balancer.get("/named", host="lb.test:8080")

    assert ["lb.test:8080", f"127.0.0.1:{shared.port}"] == [seen.get("host") for seen in backend.requests]


def test_fields_are_changed_both_ways(balancer: Balancer, backend: Backend) -> None:
    backend.answer(b"hi", "Server: demo", "X-Frame-Options: ALLOW", "X-Add: theirs")

    response = balancer.get("/fields", "X-Out: 1", "X-Set: theirs", "X-Add: theirs")

    seen = backend.requests[0]
    assert (seen.all("x-out"), seen.get("x-set"), seen.all("x-add")) == ([], "ours", [b"theirs", b"more"])
    assert (
        response.all("server"), response.get("x-frame-options"), response.all("x-add"),
    ) == ([], "DENY", [b"theirs", b"more"])  # fmt: skip


def test_unknown_paths_are_nobodys(balancer: Balancer, backend: Backend) -> None:
    response: Response = balancer.get("/nobody")

    assert (response.status, backend.requests) == (404, [])
    assert b"destination_not_found" in response.body


def test_a_thousand_groups(tmp_path: Path, start) -> None:
    """Each finds its own; that the cost is the same is for the bench to show."""
    backend = start(answers(lambda asked: reply(asked.target)))
    routes = "; ".join(f"/g{n}=main" for n in range(1000))

    with Balancer({"LB_ROUTES": routes, **pool("main", backend)}) as balancer:
        assert [balancer.get(path).body for path in ("/g0", "/g999/x", "/g500")] == [b"/g0", b"/g999/x", b"/g500"]
        assert balancer.get("/g1000").status == 404
