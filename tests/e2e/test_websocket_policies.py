"""Who may open a WebSocket: the layers of a group ask its handshake as they ask any request, before a backend hears."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator

import bcrypt
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from tests.support import server
from tests.support.backend import Backend, Request, answers, reply
from tests.support.server import Balancer, pool
from tests.support.talker import Talker, talking
from tests.support.tokens import ISSUER, Issuer

KEY = "a key that is long enough"
APP = "https://app.example.org"
SERVERS = {
    "tunnel": {"command": (sys.executable, "-m", "app", "serve"), "flags": ("--bind", "http://127.0.0.1:0")},
    "h11": {"flags": ("--http", "h11", "--ws", "websockets-sansio")},
    "httptools": {"flags": ("--http", "httptools", "--ws", "websockets")},
}


@pytest.fixture(scope="module", params=["direct"], autouse=True)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """An upgrade is not for the other driver to carry."""
    before, server.driver = server.driver, request.param
    yield server.driver
    server.driver = before


@pytest.fixture(scope="module")
def shared_talker() -> Iterator[Talker]:
    with Talker() as talker:
        yield talker


@pytest.fixture
def talker(shared_talker: Talker) -> Talker:
    return shared_talker.play()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def login(asked: Request) -> bytes:
    """Lets alice come, and nobody whom it cannot tell from a request."""
    assert asked.get("upgrade") is None
    if asked.get("cookie") == "who=alice":
        return reply(b"", "Remote-User: alice", "Set-Cookie: seen=1")
    return reply(b"who are you?\n", "WWW-Authenticate: Cookie", status="401 Unauthorized")


@pytest.fixture(scope="module", params=SERVERS)
def balancer(
    request: pytest.FixtureRequest, driver: str, shared_talker: Talker, issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Balancer]:  # fmt: skip
    """A group for each, and a server of each kind."""
    pem = tmp_path_factory.mktemp("keys") / "issuer.pem"
    pem.write_bytes(issuer.pem())
    said = {
        "basic": {
            "basic_auth__users": json.dumps({"alice": bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()}),
            "basic_auth__header": "X-Auth-User",
        },
        "key": {"api_key__keys": f"alice={KEY}", "api_key__query": "key", "api_key__owner_header": "X-Auth-User"},
        "jwt": {
            "jwt__algorithms": "RS256", "jwt__keys_file": str(pem), "jwt__issuer": ISSUER, "jwt__audience": "api",
            "jwt__cookie": "token", "jwt__claims": "sub=X-Auth-User",
        },
        "ask": {
            "forward_auth__pool": "login", "forward_auth__backend_fields": "Remote-User",
            "forward_auth__user": "Remote-User", "forward_auth__client_fields": "Set-Cookie",
        },
        "away": {"forward_auth__pool": "nobody"},
        "net": {"access__deny": "127.0.0.2"},
        "few": {"limit": "few"},
        "cors": {"cors__origins": APP, "cors__credentials": "true"},
    }  # fmt: skip
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", "pool": "main", **keys}.items()
    }
    limits = {"LB_LIMITS__FEW__RATE": "2/h", "LB_LIMITS__FEW__BURST": "2"}
    serving = SERVERS[request.param]
    with Backend(answers(login)) as asked:
        pools = pool("main", shared_talker) | pool("login", asked) | pool("nobody")
        settings = {"LB_ROUTES": "", "LB_INITIAL_GRACE": "0", **limits, **pools, **groups}
        with Balancer(settings, *serving["flags"], command=serving.get("command", server.UVICORN)) as running:
            yield running
            complaint = "ASGI callable returned without completing handshake"  # uvicorn's, after each denial
            running.errors[:] = [line for line in running.errors if complaint not in line]


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()}


def denied(balancer: Balancer, target: str, **options: object) -> tuple[int, Headers, bytes]:
    """Status, fields and body, with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused, talking(balancer, target, **options):
        pass
    response = refused.value.response
    return response.status_code, response.headers, bytes(response.body)


def admitted(balancer: Balancer, talker: Talker, target: str, **options: object) -> tuple[Headers, Headers]:
    """The fields that the backend was asked with, and those of the answer; a message passes."""
    talker.play()
    with talking(balancer, target, **options) as ws:
        ws.send("hello")
        assert ws.recv(timeout=15) == "hello"
        asked, answered = talker.first().request, ws.response
    assert asked is not None
    assert answered is not None
    return asked.headers, answered.headers


def user(balancer: Balancer, path: str) -> object:
    """Who was let in, by the log."""
    return balancer.record(lambda record: record["path"] == path and record["status"] == 101)["user"]


def test_a_password(balancer: Balancer, talker: Talker) -> None:
    for fields in ({}, basic("wrong")):
        status, headers, _ = denied(balancer, "/basic", additional_headers=fields)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="l7lb", charset="UTF-8"')
    assert talker.sockets == []

    asked, _ = admitted(balancer, talker, "/basic", additional_headers=basic("wonderland"))
    assert (asked["X-Auth-User"], asked.get("Authorization")) == ("alice", None)
    assert user(balancer, "/basic") == "alice"


def test_a_key(balancer: Balancer, talker: Talker) -> None:
    """In the query, too, for a browser cannot send a field with a WebSocket."""
    assert denied(balancer, "/key?key=wrong")[0] == 401
    assert talker.sockets == []

    for target, fields in (("/key", {"X-Api-Key": KEY}), (f"/key?a=1&key={KEY.replace(' ', '%20')}", {})):
        asked, _ = admitted(balancer, talker, target, additional_headers={**fields, "X-Auth-User": "mallory"})
        assert asked.get_all("X-Auth-User") == ["alice"]


def test_a_token(balancer: Balancer, talker: Talker, issuer: Issuer) -> None:
    """Or in a cookie, which a browser does send."""
    assert denied(balancer, "/jwt", additional_headers={"Authorization": f"Bearer {issuer.token(exp=1)}"})[0] == 401
    assert denied(balancer, "/jwt")[1]["WWW-Authenticate"].startswith("Bearer")
    assert talker.sockets == []

    for fields in ({"Authorization": f"Bearer {issuer.token()}"}, {"Cookie": f"token={issuer.token()}"}):
        asked, _ = admitted(balancer, talker, "/jwt", additional_headers=fields)
        assert asked.get_all("X-Auth-User") == ["alice"]
    assert user(balancer, "/jwt") == "alice"


def test_a_server_that_is_asked(balancer: Balancer, talker: Talker) -> None:
    """It is asked by an ordinary request; its refusal is the client's, with its body."""
    status, headers, body = denied(balancer, "/ask")
    assert (status, headers["WWW-Authenticate"], body) == (401, "Cookie", b"who are you?\n")
    assert denied(balancer, "/away")[0] == 503
    assert talker.sockets == []

    asked, answered = admitted(balancer, talker, "/ask", additional_headers={"Cookie": "who=alice"})
    assert asked["Remote-User"] == "alice"
    assert answered["Set-Cookie"] == "seen=1"
    assert user(balancer, "/ask") == "alice"


def test_a_network(balancer: Balancer, talker: Talker) -> None:
    assert denied(balancer, "/net", source_address=("127.0.0.2", 0))[0] == 403
    assert talker.sockets == []
    admitted(balancer, talker, "/net")


def test_a_rate(balancer: Balancer, talker: Talker) -> None:
    for _ in range(2):
        admitted(balancer, talker, "/few")
    talker.play()
    status, headers, _ = denied(balancer, "/few")
    assert status == 429
    assert int(headers["Retry-After"]) > 0
    assert talker.sockets == []


def test_scripts_of_other_origins(balancer: Balancer, talker: Talker) -> None:
    """A browser asks nobody before it opens a WebSocket: it is told the same as of any response, and that is all."""
    _, answered = admitted(balancer, talker, "/cors", origin=APP)
    assert answered["Access-Control-Allow-Origin"] == APP
    _, answered = admitted(balancer, talker, "/cors", origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in answered
