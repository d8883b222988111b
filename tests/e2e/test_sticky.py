"""A cookie of ours that keeps a client at its backend, as long as that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support import control
from tests.support.backend import Backend, answers, reply
from tests.support.raw import Response
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import until

KEY, OLD = "k" * 20, "o" * 20
STICKY = {"sticky__enabled": "true", "sticky__keys": KEY}


@pytest.fixture(scope="module")
def three(driver: str) -> Iterator[list[Backend]]:
    """Each answers with its name."""
    started = [Backend(answers(reply(name))) for name in (b"a", b"b", b"c")]
    yield started
    for backend in started:
        backend.stop()


def urls(backends: list[Backend]) -> str:
    return ",".join(f"{backend.url}|id={name}" for backend, name in zip(backends, "abc", strict=False))


@pytest.fixture(scope="module")
def leaving(driver: str) -> Iterator[Backend]:
    """One that fails, and then is gone."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def balancer(driver: str, three: list[Backend], leaving: Backend) -> Iterator[Balancer]:
    """A pool for each case."""
    said = {
        **pool("failing", backends=urls([leaving, three[1]]), **STICKY),
        **pool("stopped", backends=urls([leaving, three[1]]), **STICKY),
        **pool("main", backends=urls(three), **STICKY),
        **pool("other", backends=urls(three), **STICKY),
        **pool("said", backends=urls(three), **STICKY, sticky__cookie="sid", sticky__path="/said",
               sticky__max_age="1h", sticky__same_site="strict", sticky__secure="always"),
        **pool("new", backends=urls(three), sticky__enabled="true", sticky__keys=f"{OLD},{KEY}"),
        **pool("drained", backends=urls(three), **STICKY),
        **pool("strict", backends=urls(three), **STICKY, sticky__draining="false"),
        **pool("full", backends=urls(three), **STICKY, backend_max_in_flight=1),
    }  # fmt: skip
    names = sorted({key.split("__")[1].lower() for key in said})
    routes = "; ".join(f"/{name}={name}" for name in names) + "; /=main"
    with Balancer({**said, **control.OPEN, "LB_ROUTES": routes}) as running:
        yield running


def cookie(response: Response, name: str = "l7lb") -> str:
    """As the client sends it back."""
    field = response.get("set-cookie")
    assert field is not None
    assert field.startswith(f"{name}=")
    return f"Cookie: {field.partition(';')[0]}"


def kept_at(balancer: Balancer, wanted: bytes, path: str = "/") -> str:
    """The cookie of a client that is kept at that backend."""
    return cookie(until(lambda: (got := balancer.get(path)).body == wanted and got, f"{wanted!r} to be picked"))


def test_what_the_cookie_says(balancer: Balancer, three: list[Backend]) -> None:
    """Nothing: no name, no address; and no script can read it."""
    field = balancer.get("/").get("set-cookie") or ""

    assert re.fullmatch(r"l7lb=[A-Za-z0-9_-]{22}; Path=/; HttpOnly; SameSite=Lax", field)
    assert not any(str(backend.port) in field for backend in three)


def test_its_attributes_are_settings(balancer: Balancer) -> None:
    field = balancer.get("/said").get("set-cookie") or ""

    assert re.fullmatch(r"sid=[\w-]{22}; Path=/said; HttpOnly; SameSite=Strict; Max-Age=3600; Secure", field)


def test_over_tls_it_is_for_tls_only(certificate: Certificate) -> None:
    with Backend() as backend:
        settings = {"LB_ROUTES": "/=main", **pool("main", backend, **STICKY)}
        with Balancer(settings, *certificate.flags, certificate=certificate) as balancer:
            assert (balancer.get("/").get("set-cookie") or "").endswith("; SameSite=Lax; Secure")


def test_a_client_is_kept(balancer: Balancer) -> None:
    """Each at its own, however many others there are, and is not given the same cookie again."""
    clients = {name: kept_at(balancer, name) for name in (b"a", b"b", b"c")}
    assert len(set(clients.values())) == 3

    for name, field in clients.items():
        for _ in range(5):
            response = balancer.get("/", field)
            assert (response.body, response.all("set-cookie")) == (name, [])
            balancer.get("/")


def test_it_is_found_among_others(balancer: Balancer) -> None:
    """In whichever field, behind whatever else; a browser that knows two of the name sends both."""
    mine = kept_at(balancer, b"b").removeprefix("Cookie: ")
    for fields in (
        [f"Cookie: a=1; {mine}; b=2"],
        ["Cookie: a=1", f"Cookie: {mine}"],
        [f"Cookie: l7lb={'x' * 22}; {mine}"],
        [f"Cookie: xl7lb=1; l7lb=; {mine}"],
    ):
        assert {balancer.get("/", *fields).body for _ in range(4)} == {b"b"}


@pytest.mark.parametrize("forged", ["x" * 22, "a", "127.0.0.1", "../..", '"quoted"', "%00", "x" * 8000, ""])
def test_a_forged_one_is_no_cookie(balancer: Balancer, forged: str) -> None:
    """Nobody is led by it anywhere, and a good one is given."""
    bodies = set()
    for _ in range(9):
        response = balancer.get("/", f"Cookie: l7lb={forged}")
        assert response.status == 200
        assert cookie(response)
        bodies.add(response.body)

    assert bodies == {b"a", b"b", b"c"}


def test_it_is_for_one_pool(balancer: Balancer) -> None:
    """The same backend has another name in another pool."""
    assert balancer.get("/other", kept_at(balancer, b"a")).all("set-cookie")
    assert kept_at(balancer, b"a") != kept_at(balancer, b"a", "/other")


def test_keys_are_changed_while_clients_stay(three: list[Backend], balancer: Balancer) -> None:
    """A new one in front signs, the old ones are accepted, and replaced by the way. What no key has signed is not."""
    field = kept_at(balancer, b"b", "/new")
    settings = pool("new", backends=urls(three), sticky__enabled="true", sticky__keys=f"{'n' * 20},{OLD}")
    with Balancer({"LB_ROUTES": "/=new", **settings}) as renewed:
        response = renewed.get("/", field)
        assert response.body == b"b"
        after = cookie(response)
        assert after != field
        for _ in range(3):
            response = renewed.get("/", after)
            assert (response.body, response.all("set-cookie")) == (b"b", [])
        assert {renewed.get("/", field).body for _ in range(4)} == {b"b"}


@pytest.mark.parametrize("how", ["failing", "stopped"])
def test_a_backend_that_is_gone_is_left(balancer: Balancer, three: list[Backend], leaving: Backend, how: str) -> None:
    """
    Traefik 1299: nobody is stuck to a dead one. The same request is served by another, and its cookie says so.

    Traefik 3975: with the answer of the retry comes the cookie of who gave it.
    """
    path = f"/{how}"
    leaving.answer(b"leaving")
    field, other = kept_at(balancer, b"leaving", path), kept_at(balancer, b"b", path)
    if how == "stopped":
        leaving.stop()
    else:
        leaving.play(answers(reply(b"", status="503 No")))

    for _ in range(13):  # until it is ejected, and after that
        response = balancer.get(path, field)
        assert (response.status, response.body, cookie(response)) == (200, b"b", other)

    assert f"pool {how}: backend a is ejected" in balancer.stderr
    assert balancer.get(path, other).all("set-cookie") == []


def test_a_draining_backend_keeps_its_clients_until_it_is_taken_out(balancer: Balancer) -> None:
    """It gets nobody new. Then they are led elsewhere, and told."""
    field = kept_at(balancer, b"a", "/drained")
    control.change(balancer, "a", "drained", draining=True)

    assert {balancer.get("/drained", field).body for _ in range(5)} == {b"a"}
    assert {balancer.get("/drained").body for _ in range(6)} == {b"b", b"c"}

    control.remove(balancer, "a", "drained")
    response = balancer.get("/drained", field)
    assert response.body in (b"b", b"c")
    assert cookie(response) != field
    assert {balancer.get("/drained", cookie(response)).body for _ in range(4)} == {response.body}


def test_where_the_settings_say_so_it_does_not(balancer: Balancer) -> None:
    field = kept_at(balancer, b"a", "/strict")
    control.change(balancer, "a", "strict", draining=True)

    assert {balancer.get("/strict", field).body for _ in range(4)} <= {b"b", b"c"}


def test_those_who_are_kept_are_charged_to_the_weights(balancer: Balancer) -> None:
    """nginx's rule: a busy client at one backend makes newcomers go to the others more often."""
    field = kept_at(balancer, b"a", "/other")
    newcomers = []
    for _ in range(12):
        balancer.get("/other", field)
        newcomers.append(balancer.get("/other").body)

    assert newcomers.count(b"a") < 4
    assert {b"b", b"c"} <= set(newcomers)
