"""Other settings while requests are on their way: none is lost, and a mistake changes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, Gate, hold, pause, read_head, reply, send
from tests.support.control import OPEN, ask, seen
from tests.support.raw import request
from tests.support.server import Balancer
from tests.support.steady import Steady
from tests.support.talker import Talker, talking
from tests.support.tokens import Issuer
from tests.support.until import until
from tests.support.workers import workers

Written = Callable[[str], None]

BY_CALL = {"LB_RELOAD__WATCH": "false"}


def toml(*urls: str, more: str = "", **pool: str) -> str:
    """Everything to a pool of *urls*."""
    extra = "".join(f"{key} = {value}\n" for key, value in pool.items())
    backends = json.dumps(urls)
    return f'{more}\n[groups.all]\npool = "main"\n[pools.main]\nbackends = {backends}\n{extra}health.kind = "none"\n'


@contextmanager
def running(path: Path, text: str, **settings: str) -> Iterator[tuple[Balancer, Written]]:
    """A balancer with *text* as its settings file, and what writes another."""

    def write(text: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(path)

    write(text)
    with Balancer({"LB_CONFIG": str(path), **OPEN, **settings}) as balancer:
        yield balancer, write


def reloaded(balancer: Balancer, path: str = "reload", status: int = 200) -> dict[str, Any]:
    response = ask(balancer, path, "POST")
    assert response.status == status, response.body
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l7lb.toml"


def test_a_call_puts_the_file_in_force(path: Path, start: Callable[..., Backend]) -> None:
    """Other backends, other groups, other limits; the answer says what became another, and where it holds."""
    one, two = start().answer(b"one"), start().answer(b"two")
    with running(path, toml(one.url), **BY_CALL) as (balancer, write):
        assert balancer.get("/").body == b"one"
        write(toml(two.url, more='[groups.gone]\npath = "/gone"\nrespond.status = 410\n[rate_limit]\nrate = "7/m"\n'))

        said = reloaded(balancer)

        assert balancer.get("/").body == b"two"
        assert balancer.get("/gone").status == 410
        assert balancer.get("/").get("ratelimit-policy") == '"default";q=7;w=60'
        assert {change["path"] for change in said["changed"]} == {
            "groups.gone", "pools.main.backends", "rate_limit.kind", "rate_limit.rate",
        }  # fmt: skip
        assert said["everywhere"] is True
        (worker,) = said["workers"]
        assert (worker["state"], worker["revision"], worker["pid"]) == (
            "applied",
            said["revision"],
            balancer.process.pid,
        )
        assert json.loads(ask(balancer, "config").body)["settings"]["rate_limit"]["rate"] == "7/m"
        assert [group["group"] for group in json.loads(ask(balancer, "routes").body)["groups"]] == ["gone", "all"]


def test_a_dry_run_changes_nothing(path: Path, start: Callable[..., Backend]) -> None:
    """It says what would become another."""
    one, two = start().answer(b"one"), start().answer(b"two")
    with running(path, toml(one.url), **BY_CALL) as (balancer, write):
        write(toml(two.url, panic="0.25"))

        said = reloaded(balancer, "reload?dry_run=true")

        assert said["dry_run"] is True
        assert {"path": "pools.main.panic", "before": "50%", "after": "25%"} in said["changed"]
        assert balancer.get("/").body == b"one"


@pytest.mark.parametrize(
    ("text", "path_", "said"),
    [
        ("[pools", "", "l7lb.toml:"),
        ('[groups.all]\npool = "nobody"\n', "groups.all.pool", "there is no pool"),
        ('[groups.all]\npool = "a"\n[pools.a]\nstrategy = "fastest"\n', "pools.a.strategy", "l7lb.toml:4"),
        ('[groups.all]\npool = "a"\nsplit.key = "x"\n', "groups.all", "l7lb.toml"),
        ('[log]\nformat = "off"\n', "log.format", "restart"),
        ('[edge]\ndriver = "direct"\n[admin]\nprefix = "/x"\n', "admin.prefix", "restart"),
    ],
)
def test_a_mistake_changes_nothing(path: Path, start: Callable[..., Backend], text: str, path_: str, said: str) -> None:
    """The answer and the log say which, where, and what to write instead; the next right file is taken."""
    one, two = start().answer(b"one"), start().answer(b"two")
    with running(path, toml(one.url), **BY_CALL) as (balancer, write):
        write(text)

        refused = reloaded(balancer, status=422)

        assert any(problem["path"].startswith(path_) for problem in refused["problems"]), refused
        assert said in json.dumps(refused["problems"])
        assert balancer.get("/").body == b"one"
        write(toml(two.url))
        reloaded(balancer)
        assert balancer.get("/").body == b"two"


def test_without_a_file_there_is_nothing_to_read_again(start: Callable[..., Backend]) -> None:
    with Balancer({"LB_ROUTES": "/=main", "LB_POOLS__MAIN__BACKENDS": start().url, **OPEN}) as balancer:
        assert "LB_CONFIG" in json.dumps(reloaded(balancer, status=422))
        assert json.loads(ask(balancer, "reload").body)["revisions"] == []


def test_the_file_is_watched(path: Path, start: Callable[..., Backend]) -> None:
    """One that is wrong is told in the log, once; one that is gone changes nothing."""
    one, two = start().answer(b"one"), start().answer(b"two")
    with running(path, toml(one.url), LB_RELOAD__INTERVAL="20ms") as (balancer, write):
        write(toml(two.url))
        until(lambda: balancer.get("/").body == b"two", "the new file")
        write("[pools")
        until(lambda: "reload refused" in balancer.stderr, "a refusal")
        path.unlink()
        write(toml(one.url))
        until(lambda: balancer.get("/").body == b"one", "the file after that")

        assert balancer.stderr.count("reload refused") == 1


def test_a_hang_up_reloads_a_process_that_is_alone(path: Path, start: Callable[..., Backend]) -> None:
    one, two = start().answer(b"one"), start().answer(b"two")
    with running(path, toml(one.url), **BY_CALL) as (balancer, write):
        write(toml(two.url))

        balancer.process.send_signal(signal.SIGHUP)

        until(lambda: balancer.get("/").body == b"two", "the new file")


def test_back_to_the_revision_before(path: Path, start: Callable[..., Backend]) -> None:
    """By one call, to the one before or to any that is kept, and until the file changes."""
    one, two, three = (start().answer(name) for name in (b"one", b"two", b"three"))
    with running(path, toml(one.url), LB_RELOAD__INTERVAL="20ms", LB_RELOAD__KEEP="3") as (balancer, write):
        first = json.loads(ask(balancer, "reload").body)["revision"]
        write(toml(two.url))
        until(lambda: balancer.get("/").body == b"two", "the second file")

        assert reloaded(balancer, "rollback")["revision"] == first
        assert balancer.get("/").body == b"one"
        reloaded(balancer, "rollback")
        assert balancer.get("/").body == b"two"
        write(toml(three.url))
        until(lambda: balancer.get("/").body == b"three", "the third file")
        assert reloaded(balancer, f"rollback?revision={first}")["revision"] == first
        assert balancer.get("/").body == b"one"
        assert reloaded(balancer, "rollback?revision=nonsense", 404)
        kept = json.loads(ask(balancer, "reload").body)
        assert [kept["revisions"][0]["digest"], kept["revision"], len(kept["revisions"])] == [first, first, 3]


def test_what_goes_on_is_kept(path: Path, start: Callable[..., Backend]) -> None:
    """Who stays has its counters and its requests; a response that began before comes to its end, whoever went."""
    gate = Gate()
    slow = start(read_head, send(reply(b"first!")[:-3]), pause(gate), send(b"st!"), hold)
    fine = start().answer(b"fine")
    with (
        running(path, toml(slow.url, fine.url, strategy='"first"'), **BY_CALL) as (balancer, write),
        balancer.client() as client,
    ):
        client.send(request("/"))
        until(lambda: slow.requests, "the request")
        write(toml(fine.url, slow.url, strategy='"first"', max_in_flight="2"))
        reloaded(balancer)
        pool = seen(balancer)
        assert pool["in_flight"] == 1
        assert pool["backends"][slow.url.removeprefix("http://")]["in_flight"] == 1
        write(toml(fine.url).replace("main", "other"))
        reloaded(balancer)
        assert balancer.get("/").body == b"fine"
        gate.open()
        assert client.response().body == b"first!"


def test_what_outlasts_several_reloads_is_over_when_it_ends(path: Path, start: Callable[..., Backend]) -> None:
    """It was counted in the pool of the second for ever, which then was full sooner."""
    gate = Gate()
    slow = start(read_head, pause(gate), send(reply(b"at last")), hold)
    with (
        running(path, toml(slow.url, max_in_flight="9"), **BY_CALL) as (balancer, write),
        balancer.client() as client,
    ):
        client.send(request("/"))
        until(lambda: slow.requests, "the request")
        for most in ("8", "7", "6"):
            write(toml(slow.url, max_in_flight=most))
            reloaded(balancer)
        assert seen(balancer)["in_flight"] == 1
        gate.open()
        assert client.response().body == b"at last"
        until(lambda: seen(balancer)["in_flight"] == 0, "nothing to be in flight")


def test_policies_come_and_go(path: Path, start: Callable[..., Backend]) -> None:
    """With the settings; and what was found out in a group that stays as it is, stays: keys of an issuer, passwords."""
    backend, issuer = start().answer(b"hello"), Issuer()
    keys = start().answer(issuer.jwks())
    jwt = f'[groups.jwt]\npath = "/jwt"\npool = "main"\njwt = {{ algorithms = "RS256", keys_url = "{keys.url}/" }}\n'
    token = f"Authorization: Bearer {issuer.token(aud=None)}"
    with running(path, toml(backend.url, more=jwt), **BY_CALL) as (balancer, write):
        assert balancer.get("/jwt", token).status == 200
        for allowed in ("127.0.0.0/8", "10.0.0.0/8"):
            write(
                toml(backend.url, more=f'{jwt}[groups.lan]\npath = "/lan"\npool = "main"\naccess.allow = "{allowed}"')
            )
            reloaded(balancer)
            assert balancer.get("/lan").status == (200 if allowed == "127.0.0.0/8" else 403)
            assert balancer.get("/jwt", token).status == 200
        write(toml(backend.url, more=jwt.replace("jwt = {", 'max_body = "1MiB"\njwt = {')))
        reloaded(balancer)
        assert balancer.get("/jwt", token).status == 200
        assert len(keys.requests) == 1
        write(toml(backend.url))
        reloaded(balancer)
        assert balancer.get("/jwt").status == balancer.get("/lan").status == 200


def test_none_of_ten_thousand_fails_over_twenty_reloads(path: Path) -> None:
    """Backends, weights, groups, limits, strategies and pools become others, under load."""
    with workers(3) as (a, b, c):
        files = [
            toml(a.url, b.url),
            toml(b.url, c.url, strategy='"least_connections"'),
            toml(a.url, b.url, c.url, more="[trusted]\n".replace("[trusted]\n", 'trusted_proxies = ["10.0.0.0/8"]\n')),
            toml(f"{a.url}|weight=5", c.url, more='[rate_limit]\nrate = "1000000/s"\n'),
            toml(a.url, more='[groups.other]\npath = "/other"\nrespond.body = "x"\n', max_in_flight="5000"),
            toml(c.url, b.url).replace("main", "another"),
        ]
        with running(path, files[0], **BY_CALL) as (balancer, write), Steady(balancer.port, rate=600) as steady:
            for number in range(1, 21):
                steady.pass_by(500)
                write(files[number % len(files)])
                reloaded(balancer)
            steady.pass_by(100)
        assert steady.counts.total() >= 10_000
        assert set(steady.counts) == {200}, steady.counts


def test_a_reload_does_not_cut_a_websocket(path: Path) -> None:
    """Neither one whose backend stays, nor one whose backend is named no more."""
    with (
        Talker() as kept,
        Talker() as left,
        running(path, toml(kept.url, left.url), **BY_CALL) as (balancer, write),
        talking(balancer) as one,
        talking(balancer) as two,
    ):
        until(lambda: kept.sockets and left.sockets, "one at each")
        write(toml(kept.url, strategy='"first"', more='[rate_limit]\nrate = "1000/s"\n'))
        reloaded(balancer)
        for ws in (one, two):
            ws.send("still here")
            assert ws.recv(timeout=15) == "still here"
        pool = seen(balancer)
        assert (pool["in_flight"], [backend["in_flight"] for backend in pool["leaving"]]) == (2, [1])
        two.close()
        one.close()
        until(lambda: seen(balancer)["in_flight"] == 0, "their places to be given back")
