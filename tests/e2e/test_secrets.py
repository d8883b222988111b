"""No secret comes out again: one of every kind is sent through, and nothing that l7lb writes anywhere has it.

Each is a text of its own, so that what is found says what it was. The control plane is unreachable but with its token,
whichever way a request takes; the client's secrets go to the backends, as they came, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.support.backend import Backend, answers, close, read_all, reply
from tests.support.raw import request
from tests.support.redis_server import RedisServer
from tests.support.server import ROOT, Balancer, pool
from tests.support.until import until

TOKEN = "canary-admin-token-1c9f"
SECRETS = {
    name: f"canary-{name}-of-over-thirty-two-characters"
    for name in ("apikey", "jwtsecret", "stickykey", "backendfield", "urlpass", "bearer", "cookie", "setcookie",
                 "query", "password", "wrongpassword", "wrongtoken", "mirrored", "body", "claim",
                 "forwarded", "referer")
}  # fmt: skip
HASH = "$apr1$4tCqzBMI$zuEcKgvRqhFhTdhCQQ2Cm0"


def basic(user: str, password: str) -> str:
    return f"Authorization: Basic {encoded(user, password)}"


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def signed() -> str:
    claims = {"sub": "alice", "secret": SECRETS["claim"], "exp": int(time.time()) + 600}
    return jwt.encode(claims, SECRETS["jwtsecret"], algorithm="HS256")


def settings(
    tmp_path: Path, state: str, well: Backend, broken: Backend, copies: Backend, login: Backend
) -> dict[str, str]:
    """Everything that is there, on."""
    said = {
        "plain": {"mirror__pool": "copies", "cache__store": "disk", "request_headers__set": json.dumps(
            {"X-Backend-Key": SECRETS["backendfield"]})},
        "broken": {"pool": "broken"},
        "none": {"pool": "none"},
        "basic": {"basic_auth__users": json.dumps({"alice": HASH}), "basic_auth__failures": "3/h"},
        "key": {"api_key__keys": f"alice={SECRETS['apikey']}", "api_key__query": "key"},
        "jwt": {"jwt__algorithms": "HS256", "jwt__secret": SECRETS["jwtsecret"], "jwt__cookie": "session"},
        "ask": {"forward_auth__pool": "login", "forward_auth__user": "Remote-User"},
        "few": {"limit": "few"},
    }  # fmt: skip
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", "pool": "main", **keys}.items()
    }
    sticky = {"sticky__enabled": "1", "sticky__keys": SECRETS["stickykey"]}
    pools = (
        pool("main", well, **sticky)
        | pool("broken", broken, well, strategy="first", retry__attempts="2", breaker__consecutive="1")
        | pool("none") | pool("copies", copies) | pool("login", login)
    )  # fmt: skip
    limits = {"LB_LIMITS__FEW__RATE": "1/h", "LB_LIMITS__FEW__KEY": "header:authorization"}
    disk = {"LB_CACHES__DISK__KIND": "disk", "LB_CACHES__DISK__DIRECTORY": str(tmp_path / "cache")}
    return {
        "LB_ADMIN__TOKEN": TOKEN, "LB_ADMIN__ALLOW_BACKENDS": "127.0.0.0/8", "LB_STATE": state,
        "LB_ROUTES": "", "LB_INITIAL_GRACE": "0", **limits, **disk, **pools, **groups,
    }  # fmt: skip


@pytest.fixture(params=["lmdb", "redis"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A store, and where it keeps all that it is told: Redis every command, in its AOF."""
    directory = tmp_path / "state"
    directory.mkdir()
    if request.param == "lmdb":
        yield f"lmdb:{directory}", directory
        return
    with RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always") as redis:
        yield redis.url, directory


def commands(env: dict[str, str]) -> bytes:
    """What the commands that read the settings say."""
    said = b""
    for command in (["config"], ["config", "--json"], ["check"], ["routes"]):
        done = subprocess.run(
            [sys.executable, "-m", "app", *command],
            env={**os.environ, **env},
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        assert b"Traceback" not in done.stderr
        said += done.stdout + done.stderr
    return said


def test_nothing_that_is_written_has_a_secret(
    start: Callable[..., Backend], tmp_path: Path, state: tuple[str, Path]
) -> None:
    """Logs at the level of debugging, errors, what commands and the control plane show, metrics, and shared state."""
    well, copies = start(), start()
    well.answer(b"hello", f"Set-Cookie: session={SECRETS['setcookie']}", "Cache-Control: max-age=60")
    broken = start(read_all, close)
    login = start(answers(reply(b"", "Remote-User: alice")))
    own = settings(tmp_path, state[0], well, broken, copies, login)
    shown: list[bytes] = []
    token = signed()
    everything = (
        f"Authorization: Bearer {SECRETS['bearer']}", f"Cookie: session={SECRETS['cookie']}",
        f"X-API-Key: {SECRETS['mirrored']}", f"Proxy-Authorization: Basic {SECRETS['forwarded']}",
        f"Referer: https://h/?t={SECRETS['referer']}",
    )  # fmt: skip
    with Balancer(own, "--log-level", "debug") as balancer:

        def ask(target: str, *fields: str, method: str = "GET", body: bytes | None = None) -> int:
            response = balancer.get(target, *fields, method=method, body=body)
            ours = [value for name, value in response.fields if name.lower() != b"set-cookie"]
            shown.extend([response.body, response.reason, *ours])
            return response.status

        query = f"?token={SECRETS['query']}"
        assert ask(f"/plain/1{query}", *everything) == 200
        assert ask(f"/plain/2{query}") == ask(f"/plain/2{query}") == 200
        assert ask(f"/plain/3{query}", *everything, method="POST", body=SECRETS["body"].encode()) == 200
        assert ask(f"/broken{query}", *everything) == 200  # at the second backend
        assert ask(f"/none{query}", *everything) == 503
        assert ask(f"/nowhere{query}", *everything) == 404
        assert ask(f"http://u:{SECRETS['urlpass']}@lb.test/plain{query}", *everything) == 400
        assert ask(f"/plain{query}", *everything, "Content-Length: 1", "Transfer-Encoding: chunked") == 400
        assert ask(f"/plain{query}", *everything, "Broken Field: 1") == 400
        assert ask(f"/plain{query}&{'x' * 100_000}", *everything) in (414, 431)
        assert ask(f"/plain{query}", *everything, f"X: {'x' * 100_000}") == 431
        assert ask("/basic", basic("alice", "wonderland")) in (200, 401)
        for _ in range(5):
            refused = ask("/basic", basic("alice", SECRETS["wrongpassword"]))
        assert refused == 429
        assert ask("/key", f"X-API-Key: {SECRETS['apikey']}") == 200
        assert ask(f"/key?key={SECRETS['apikey']}") == 200
        assert ask("/key", f"X-API-Key: {SECRETS['wrongtoken']}") == 401
        assert ask(f"/jwt{query}", f"Authorization: Bearer {token}") == 200
        assert ask("/jwt", f"Cookie: session={token}") == 200
        assert ask("/jwt", f"Authorization: Bearer {token}x") == 401
        assert ask("/jwt", f"Authorization: Bearer {SECRETS['wrongtoken']}") == 401
        assert ask(f"/ask{query}", *everything) == 200
        assert [ask(f"/few{query}", *everything) for _ in range(2)] == [200, 429]
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
        ask(f"/none{query}", *everything, *upgrade)

        operator = f"Authorization: Bearer {TOKEN}"
        for path in ("config", "pools", "routes", "metrics", "reload", f"nothing{query}"):
            ask(f"/-/{path}", operator)
            ask(f"/-/{path}", f"Authorization: Bearer {SECRETS['wrongtoken']}")
        backends = "/-/pools/main/backends"
        for said in (
            {"url": f"http://u:{SECRETS['urlpass']}@127.0.0.1:1"},
            {"url": f"http://127.0.0.1:1?{SECRETS['query']}", "token": SECRETS["wrongtoken"]},
        ):
            assert ask(backends, operator, method="POST", body=json.dumps(said).encode()) == 422
        assert ask("/-/reload", operator, method="POST") == 422  # there is no file
        purge = json.dumps({"url": "http://lb.test/plain/2"}).encode()
        assert ask("/-/cache/purge", operator, method="POST", body=purge) == 200
        until(lambda: any(record["path"] == "/few" for record in balancer.records()), "the log")
        names = [str(Path(where, name)) for where, *found in os.walk(tmp_path) for name in (*found[0], *found[1])]
        states = [path.read_bytes() for path in state[1].rglob("*") if path.is_file()]
        balancer.stop()
        written = "".join([*balancer.lines, *balancer.errors]).encode()

    places = {
        "log": written,
        "answers": b"\n".join(shown),
        "commands": commands(own),
        "names": "\n".join(names).encode(),
        "state": b"".join(states),
    }
    secrets = {"token": TOKEN, "signed": token, "hash": HASH, **SECRETS}
    secrets |= {"basic": encoded("alice", SECRETS["wrongpassword"]), "right": encoded("alice", "wonderland")}
    secrets["signature"] = token.rpartition(".")[2]
    found = {
        (place, name) for place, text in places.items() for name, value in secrets.items() if value.encode() in text
    }
    assert found == set()
    assert b"canary" not in places["log"] + places["answers"] + places["commands"] + places["names"]
    assert b"l7lb" in places["state"] or state[0].startswith("lmdb")
    assert any(SECRETS["bearer"] in (asked.get("authorization") or "") for asked in well.requests)  # they were sent
    assert any(SECRETS["query"].encode() in asked.target for asked in copies.requests)


TRICKS = [
    "/-/config", "/%2d/config", "/-/%63onfig", "/-/./config", "/-//config", "//-/config", "/x/../-/config",
    "/x/..%2f-/config", "/-%2fconfig", "/-/config/", "/-/config;x", "/-/config%00", "/\\-/config", "/-/CONFIG",
    "http://lb.test/-/config", "http://127.0.0.1/-/config", "http://other/%2d/config", "/inside",
]  # fmt: skip
FIELDS = [
    "X-Forwarded-Prefix: /-", "X-Original-URL: /-/config", "X-Rewrite-URL: /-/config", "X-Forwarded-For: 127.0.0.1",
    "X-HTTP-Method-Override: GET", "Forwarded: for=127.0.0.1;host=localhost", "X-Forwarded-Host: localhost",
]  # fmt: skip


def test_no_way_leads_into_the_control_plane_but_the_token() -> None:
    """Paths, hosts, fields that rewrite, upgrades, and a backend that is the balancer itself: no answer of it."""
    with Backend() as well:
        well.answer(b"theirs")
        first = {"LB_ROUTES": "/=main", **pool("main", well), "LB_ADMIN__TOKEN": TOKEN}
        with Balancer(first) as inner:
            inside = pool("inside", _At(f"http://127.0.0.1:{inner.port}"))
            loop = {"LB_GROUPS__INSIDE__PATH": "/inside", "LB_GROUPS__INSIDE__POOL": "inside",
                    "LB_GROUPS__INSIDE__REWRITE__STRIP_PREFIX": "/inside"}  # fmt: skip
            with Balancer({**first, **inside, **loop}) as balancer:
                for target in [*TRICKS, "/inside/-/config", "/inside/-/pools", "/inside/%2d/config"]:
                    for host, fields in (("lb.test", []), ("evil.example", FIELDS)):
                        response = balancer.get(target, *fields, host=host)
                        assert b'"settings"' not in response.body
                        assert response.body == b"theirs" or response.status in (400, 401, 404, 429), target
                upgrade = "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"
                key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
                operator = f"Authorization: Bearer {TOKEN}"
                assert balancer.get("/-/config", *upgrade, key).status in (400, 401, 403)
                assert balancer.get("/-/config", *upgrade, key, operator).status in (400, 403, 200)

                assert balancer.get("/-/config", operator).status == 200
                for page in ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
                    refused = balancer.get("/-/config", operator, page)
                    assert refused.status == 403
                    assert not [name for name, _ in refused.fields if name.lower().startswith(b"access-control")]
                ask = "Access-Control-Request-Method: DELETE"
                assert balancer.get("/-/config", "Origin: https://evil.example", ask, method="OPTIONS").status == 405

                for _ in range(12):  # who guesses is slowed down, and the operator at the same address goes on
                    slowed = balancer.get("/-/pools", "Authorization: Bearer wrong")
                assert (slowed.status, slowed.get("retry-after") is not None) == (429, True)
                assert balancer.get("/-/pools", operator).status == 200
                with balancer.client(source="127.0.0.2") as other:
                    assert other.ask(request("/-/pools", operator)).status == 200
        assert [asked for asked in well.requests if TOKEN in (asked.get("authorization") or "")] == []


class _At:
    """A backend that another has started."""

    def __init__(self, url: str) -> None:
        self.url = url
