"""Who may come to a group: by password, key, token, or by what another server says."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import bcrypt
import jwt
import pytest

from tests.support.backend import Backend, answers, read_all, reply, send, stall
from tests.support.raw import request
from tests.support.server import Balancer, pool
from tests.support.tokens import ISSUER, SECRET, Issuer
from tests.support.until import until

APR1 = "$apr1$4tCqzBMI$zuEcKgvRqhFhTdhCQQ2Cm0"
KEY = "a key that is long enough"
OTHER_KEY = "another key that is long enough"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Whose tokens are good."""
    return Issuer()


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> Iterator[Backend]:
    """Where its keys are."""
    with Backend(answers(reply(issuer.jwks()))) as backend:
        yield backend


@pytest.fixture(scope="module")
def login() -> Iterator[Backend]:
    """The server that is asked about each request."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of users, whose passwords are their names."""
    path = tmp_path_factory.mktemp("users") / "htpasswd"
    path.write_text(f"# users\ncarol:{bcrypt.hashpw(b'carol', bcrypt.gensalt(4)).decode()}\n")
    return path


@pytest.fixture(scope="module")
def settings(htpasswd: Path, keys: Backend, login: Backend, issuer: Issuer) -> dict[str, str]:
    """A group for each."""
    pem = htpasswd.with_name("issuer.pem")
    pem.write_bytes(issuer.pem())
    said = {
        "basic": {
            "basic_auth__users": json.dumps({"alice": bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()}),
            "basic_auth__users_file": str(htpasswd),
            "basic_auth__realm": "The Shop",
            "basic_auth__failures": "1000/h",
        },
        "slow": {
            "basic_auth__users": json.dumps({"bob": bcrypt.hashpw(b"builder", bcrypt.gensalt(4)).decode()}),
            "basic_auth__failures": "3/h",
        },
        "raw": {"basic_auth__users": json.dumps({"bob": APR1}), "basic_auth__pass_on": "true"},
        "key": {"api_key__keys": f"alice=sha256:{sha256(KEY.encode()).hexdigest()},bob={OTHER_KEY}", "limit": "few"},
        "query": {"api_key__keys": f"alice={KEY}", "api_key__query": "key"},
        "jwt": {
            "jwt__algorithms": "RS256,ES256,EdDSA",
            "jwt__keys_url": f"{keys.url}/jwks.json",
            "jwt__issuer": ISSUER,
            "jwt__audience": "api,web",
            "jwt__leeway": "10s",
            "jwt__cookie": "token",
            "jwt__claims": "sub=X-Auth-User,realm.roles=X-Roles",
            "jwt__cooldown": "1ms",
        },
        "hs": {"jwt__algorithms": "HS256", "jwt__secret": SECRET, "jwt__expires": "false"},
        "pem": {"jwt__algorithms": "RS256", "jwt__keys_file": str(pem), "jwt__pass_on": "true"},
        "nokeys": {"jwt__algorithms": "RS256", "jwt__keys_url": "http://127.0.0.1:1/", "jwt__timeout": "1s"},
        "ask": {
            "forward_auth__pool": "login",
            "forward_auth__path": "/verify?app=shop",
            "forward_auth__backend_fields": "Remote-User,Remote-Groups",
            "forward_auth__user": "Remote-User",
            "forward_auth__client_fields": "Set-Cookie",
        },
        "few": {"forward_auth__pool": "login", "forward_auth__request_fields": "cookie"},
        "away": {"forward_auth__pool": "nobody"},
        "open": {
            "forward_auth__pool": "nobody",
            "forward_auth__away": "allow",
            "forward_auth__backend_fields": "Remote-User",
        },
    }
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", "pool": "main", **keys}.items()
    }
    pools = pool("login", login, retry__attempts="1", timeouts__response="2s") | pool("nobody")
    limits = {"LB_LIMITS__FEW__RATE": "5/h", "LB_LIMITS__FEW__KEY": "header:x-auth-user"}
    return {"LB_ROUTES": "", "LB_INITIAL_GRACE": "0", **limits, **pools, **groups}


def basic(user: str, password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


# Passwords...


@pytest.mark.parametrize(("user", "password"), [("alice", "wonderland"), ("carol", "carol")])
def test_a_password_lets_in(balancer: Balancer, backend: Backend, user: str, password: str) -> None:
    """The backend and the log get the name, and not the password; nor what the client says it is."""
    for _ in range(2):  # hashed, and remembered
        assert balancer.get("/basic", basic(user, password), "X-Auth-User: root", "X_Auth_User: root").status == 200

    for asked in backend.requests:
        assert (asked.all("x-auth-user"), asked.all("x_auth_user")) == ([user.encode()], [])
        assert asked.get("authorization") is None
    assert balancer.record(lambda record: record["path"] == "/basic" and record.get("user") == user)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [basic("alice", "wrong")],
        [basic("mallory", "wonderland")],
        [basic("", "")],
        [basic("alice", "wonderland\0")],
        [basic("alice", "wonderland"), basic("alice", "wonderland")],
        [basic("alice", "x" * 3000)],
        ["Authorization: Basic"],
        ["Authorization: Basic !!!"],
        ["Authorization: Basic YWxpY2U="],
        [b"Authorization: Basic \xff\xfe"],
        ["Authorization: Basic /////w=="],
        ["Authorization: Bearer YWxpY2U6d29uZGVybGFuZA=="],
        ["Authorization: Digest username=alice"],
        ["X-Auth-User: alice"],
    ],
)
def test_nobody_else_is_let_in(balancer: Balancer, backend: Backend, fields: list[str]) -> None:
    """Nothing of it is a 500, and no backend sees it."""
    response = balancer.get("/basic", *fields)

    assert response.status == 401
    assert response.get("www-authenticate") == 'Basic realm="The Shop", charset="UTF-8"'
    assert backend.requests == []


def test_who_guesses_is_slowed_down(balancer: Balancer, backend: Backend) -> None:
    """Who is right meanwhile, from elsewhere, is not; and what is remembered goes on."""
    assert balancer.get("/slow", basic("bob", "builder")).status == 200

    statuses = [balancer.get("/slow", basic("bob", f"guess {n}")).status for n in range(5)]

    assert statuses == [401, 401, 401, 429, 429]
    assert balancer.get("/slow", basic("bob", "builder")).status == 200
    with balancer.client(source="127.0.0.3") as client:
        assert client.ask(request("/slow", basic("bob", "another"))).status == 401
    assert int(balancer.get("/slow", basic("bob", "guess")).get("retry-after") or 0) > 3000


def test_many_requests_of_one_browser_are_one_try(balancer: Balancer, backend: Backend, driver: str) -> None:
    """Six connections at once, each with the same password, as a page is loaded."""
    clients = [balancer.client(source="127.0.0.4") for _ in range(6)]
    for client in clients:
        client.send(request("/slow", basic("bob", "wrong")))
    statuses = [client.response().status for client in clients]
    for client in clients:
        client.socket.close()

    assert set(statuses) <= {401, 429}
    assert statuses.count(401) >= 3


def test_the_password_goes_on_where_it_is_wanted(balancer: Balancer, backend: Backend) -> None:
    assert balancer.get("/raw", basic("bob", "wrong")).status == 401
    assert balancer.get("/raw", basic("bob", "myPassword")).status == 200
    assert backend.requests[-1].get("authorization") == basic("bob", "myPassword").partition(": ")[2]


def test_a_file_of_users_is_read_again(balancer: Balancer, backend: Backend, htpasswd: Path) -> None:
    """Who is gone is out, though the password was remembered."""
    assert balancer.get("/basic", basic("carol", "carol")).status == 200

    before = htpasswd.read_text()
    htpasswd.write_text(f"dave:{bcrypt.hashpw(b'dave', bcrypt.gensalt(4)).decode()}\n")
    try:
        until(lambda: balancer.get("/basic", basic("carol", "carol")).status == 401, "carol to be out")
        assert balancer.get("/basic", basic("dave", "dave")).status == 200
        htpasswd.write_text("no hash at all")
        until(lambda: "cannot be read, and is as it was before" in balancer_errors(balancer), "the log")
        assert balancer.get("/basic", basic("dave", "dave")).status == 200
    finally:
        htpasswd.write_text(before)
    until(lambda: balancer.get("/basic", basic("carol", "carol")).status == 200, "carol to be back")


def balancer_errors(balancer: Balancer) -> str:
    balancer.get("/basic", basic("dave", "dave"))
    return balancer.stderr


# Keys...


def test_a_key_lets_in(balancer: Balancer, backend: Backend) -> None:
    """The owner's name goes to the backend, the log and the limiter, and the key to nobody."""
    by_alice = [balancer.get("/key", f"X-API-Key: {KEY}", "X-Auth-User: root").status for _ in range(7)]

    assert by_alice == [200] * 5 + [429] * 2
    assert balancer.get("/key", f"X-API-Key: {OTHER_KEY}").status == 200
    assert [asked.get("x-auth-user") for asked in backend.requests] == ["alice"] * 5 + ["bob"]
    assert [asked.get("x-api-key") for asked in backend.requests] == [None] * 6
    assert balancer.record(lambda record: record["path"] == "/key" and record.get("user") == "bob")


@pytest.mark.parametrize("named", ["x-auth-user", "close, X-Auth-User", "X_Auth_User, x-auth-user"])
def test_connection_takes_no_name_away(balancer: Balancer, backend: Backend, issuer: Issuer, named: str) -> None:
    """A request without a name would be nobody's, or a trusted one, to a backend that believes us."""
    for field, path in ((bearer(issuer.token()), "/jwt"), (basic("alice", "wonderland"), "/basic")):
        assert balancer.get(path, field, f"Connection: {named}", "X-Auth-User: root").status == 200
        assert backend.requests[-1].all("x-auth-user") == [b"alice"]


@pytest.mark.parametrize(
    "fields",
    [[], ["X-API-Key:"], ["X-API-Key: wrong"], [f"X-API-Key: {KEY}", f"X-API-Key: {KEY}"], [b"X-API-Key: \xff"],
     [f"X-API-Key: {sha256(KEY.encode()).hexdigest()}"], [f"Authorization: Bearer {KEY}"]],
)  # fmt: skip
def test_no_other_key_does(balancer: Balancer, backend: Backend, fields: list[str]) -> None:
    assert balancer.get("/key", *fields).status == 401
    assert backend.requests == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"/query?a=b&key={KEY.replace(' ', '+')}", 200),
        (f"/query?key={KEY.replace(' ', '%20')}", 200),
        (f"/query?key={KEY.replace(' ', '+')}&key=x", 401),
        ("/query?key=%ff%fe", 401),
        ("/query?" + "a&" * 2000, 401),
        ("/query", 401),
    ],
)
def test_a_key_may_stand_in_the_query(balancer: Balancer, backend: Backend, target: str, status: int) -> None:
    assert balancer.get(target).status == status
    assert len(backend.requests) == (status == 200)
    assert balancer.get("/query", f"X-API-Key: {KEY}").status == 200


# Tokens...


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("where", ["header", "cookie"])
def test_a_token_lets_in(balancer: Balancer, backend: Backend, issuer: Issuer, algorithm: str, where: str) -> None:
    """What it claims goes to the backend, and not what the client says it would."""
    token = issuer.token(algorithm, realm={"roles": ["a", "b"]})
    field = bearer(token) if where == "header" else f"Cookie: a=b; token={token}"

    for _ in range(2):
        response = balancer.get("/jwt", field, "X-Auth-User: root", "X-Roles: root")
        assert response.status == 200, response

    for asked in backend.requests:
        assert (asked.all("x-auth-user"), asked.all("x-roles")) == ([b"alice"], [b"a,b"])
        assert asked.get("authorization") is None
    assert balancer.record(lambda record: record["path"] == "/jwt" and record.get("user") == "alice")


def forged(issuer: Issuer) -> dict[str, str]:
    now = int(time.time())
    stranger = Issuer()
    good = issuer.token()
    head, payload, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    as_secret = jwt.encode(
        {"iss": ISSUER, "aud": "api", "exp": now + 60}, SECRET, algorithm="HS256", headers={"kid": "RS256"}
    )
    return {
        "expired": issuer.token(exp=now - 60),
        "endless": issuer.token(exp=None),
        "of tomorrow": issuer.token(nbf=now + 600),
        "another issuer's": issuer.token(iss="https://evil.example.org/"),
        "for others": issuer.token(aud="other"),
        "for nobody": issuer.token(aud=None),
        "a stranger's": stranger.token(),
        "of another kind": stranger.token("ES256", head={"kid": "RS256"}),
        "unsigned": f"{none}.{payload}.",
        "none with a signature": f"{none}.{payload}.{signature}",
        "cut": good[:-10],
        "changed": f"{head}.{payload[:-4]}AAAA.{signature}",
        "a secret for a key": as_secret,
        "deep": f"{deep}.{deep}.{deep}",
        "a deep payload": f"{head}.{deep}.{signature}",
        "no token": "a.b.c",
        "dots": "...",
        "one word": "x",
        "odd claims": issuer.token(exp="soon"),
        "a kid that is none": issuer.token(head={"kid": "../../etc/passwd"}),
        "critical": issuer.token(head={"crit": ["x"], "x": 1}),
        "long": good + "A" * 7000,
    }


def test_no_other_token_does(balancer: Balancer, backend: Backend, issuer: Issuer) -> None:
    """Each is a 401 that says so, and none a 500."""
    for what, token in forged(issuer).items():
        response = balancer.get("/jwt", bearer(token))
        assert response.status == 401, what
        assert response.get("www-authenticate") == 'Bearer error="invalid_token"', what
    for fields in ([], ["Authorization: Bearer"], [bearer("x"), bearer("x")], ["Cookie: token="], [basic("a", "b")]):
        response = balancer.get("/jwt", *fields)
        assert (response.status, response.get("www-authenticate")) == (401, "Bearer"), fields
    assert backend.requests == []


def test_noise_is_no_token(balancer: Balancer, issuer: Issuer) -> None:
    """A good token with a byte changed, a hundred times; only what base64 does not care about is as good."""
    rng, good = random.Random(5), issuer.token()
    with balancer.client() as client:
        for _ in range(100):
            place = rng.randrange(len(good) - 2)
            token = good[:place] + chr(rng.randrange(33, 127)) + good[place + 1 :]
            status = client.ask(request("/jwt", bearer(token))).status
            assert status == (200 if token == good else 401), token


def test_a_token_without_a_kid_is_tried_with_each_key(balancer: Balancer, backend: Backend, issuer: Issuer) -> None:
    assert balancer.get("/jwt", bearer(issuer.token("ES256", head={"kid": None}))).status == 200


def test_new_keys_are_fetched_and_old_ones_forgotten(
    balancer: Balancer, backend: Backend, keys: Backend, issuer: Issuer
) -> None:
    """When a token names a key that is not there. While the keys cannot be had, the last ones are good."""
    old, successor = issuer.token(), Issuer(" of next year")
    assert balancer.get("/jwt", bearer(old)).status == 200

    keys.answer(b"oh", status="500 Oh")
    assert balancer.get("/jwt", bearer(successor.token())).status == 401
    assert balancer.get("/jwt", bearer(old)).status == 200

    keys.answer(b"[" * 10_000)
    assert balancer.get("/jwt", bearer(successor.token())).status == 401
    keys.answer(successor.jwks())
    assert balancer.get("/jwt", bearer(successor.token())).status == 200
    assert balancer.get("/jwt", bearer(old)).status == 401
    keys.answer(issuer.jwks())
    assert balancer.get("/jwt", bearer(old)).status == 200
    until(lambda: "cannot be had (status 500)" in balancer.stderr, "the log")


def test_secrets_and_files_of_keys(balancer: Balancer, backend: Backend, issuer: Issuer) -> None:
    """A public key is no secret: a token signed with it as if it were is none."""
    claims = {"sub": "alice"}
    assert balancer.get("/hs", bearer(jwt.encode(claims, SECRET, algorithm="HS256"))).status == 200
    assert balancer.get("/hs", bearer(jwt.encode(claims, SECRET * 2, algorithm="HS256"))).status == 401
    assert balancer.get("/pem", bearer(issuer.token())).status == 200
    assert backend.requests[-1].get("authorization")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 60}).encode()).rstrip(b"=")
    import hmac

    mac = base64.urlsafe_b64encode(hmac.digest(issuer.pem(), head + b"." + body, "sha256")).rstrip(b"=")
    assert balancer.get("/pem", bearer((head + b"." + body + b"." + mac).decode())).status == 401


def test_without_any_keys_nobody_is_let_in(balancer: Balancer, backend: Backend, issuer: Issuer) -> None:
    for _ in range(2):  # it was tried, and it was tried a moment ago
        response = balancer.get("/nokeys", bearer(issuer.token()))
        assert (response.status, response.get("retry-after")) == (503, "1")

    assert balancer.get("/nokeys").status == 401
    assert backend.requests == []


# Another server...


def test_another_server_lets_in(balancer: Balancer, backend: Backend, login: Backend) -> None:
    """It gets the request without its body; the backend gets what it says, and not what the client does."""
    login.answer(b"ignored", "Remote-User: alice", "X-Other: 1", "Set-Cookie: a=b", "Set-Cookie: c=d")

    response = balancer.get(
        "/ask/me?x=%20y", "Cookie: s=1", "Remote-User: root", "Remote_Groups: root", "X-Forwarded-Method: DELETE",
        "X-Forwarded-Uri: /public", "If-None-Match: \"x\"", method="POST", body=b"body",
    )  # fmt: skip

    assert (response.status, response.body, response.all("set-cookie")) == (200, b"hello", [b"a=b", b"c=d"])
    (question,), (asked,) = login.requests, backend.requests
    assert (question.method, question.target) == ("GET", b"/verify?app=shop")
    assert question.get("x-forwarded-method") == "POST"
    assert question.get("x-forwarded-uri") == "/ask/me?x=%20y"
    assert (question.get("x-forwarded-host"), question.get("host")) == ("lb.test", "lb.test")
    assert (question.get("x-forwarded-for"), question.get("cookie")) == ("127.0.0.1", "s=1")
    assert (question.get("content-length"), question.get("if-none-match")) == (None, None)
    assert (asked.all("remote-user"), asked.all("remote_groups"), asked.get("x-other")) == ([b"alice"], [], None)
    assert backend.bodies == [b"body"]
    assert balancer.record(lambda record: record["path"] == "/ask/me" and record.get("user") == "alice")


@pytest.mark.parametrize(
    ("status", "fields", "body"),
    [
        ("401 No", ["WWW-Authenticate: Basic", "Content-Type: text/html"], b"log in"),
        ("302 Found", ["Location: https://login.example.org/?rd=/ask", "Set-Cookie: csrf=1"], b""),
        ("403 No", [], b"no"),
        ("429 Slow", ["Retry-After: 3"], b""),
    ],
)
def test_its_other_answers_are_the_clients(
    balancer: Balancer, backend: Backend, login: Backend, status: str, fields: list[str], body: bytes
) -> None:
    """As they are; the backend is not asked."""
    login.answer(body, *fields, status=status)

    for method in ("GET", "HEAD", "POST"):
        response = balancer.get("/ask", method=method)
        assert (response.status, response.body) == (int(status[:3]), b"" if method == "HEAD" else body)
        for field in fields:
            name, _, value = field.partition(": ")
            assert response.get(name) == value
    assert backend.requests == []


def says_500(login: Backend) -> None:
    login.answer(b"oh", status="500 Oh")


def hangs(login: Backend) -> None:
    login.play(read_all, stall)


def breaks_off(login: Backend) -> None:
    login.play(read_all, send(b"HTTP/1.1 200 OK\r\nContent-Len"))


def talks_too_much(login: Backend) -> None:
    login.answer(b"x" * (2 << 20), status="403 No")


def lies(login: Backend) -> None:
    login.play(read_all, send(b"nonsense\r\n\r\n"))


@pytest.mark.parametrize("trouble", [says_500, hangs, breaks_off, talks_too_much, lies])
def test_nobody_is_let_in_while_it_is_in_trouble(
    balancer: Balancer, backend: Backend, login: Backend, trouble: Callable[[Backend], None]
) -> None:
    trouble(login)

    response = balancer.get("/ask")

    assert (response.status, response.get("retry-after")) == (503, "1")
    assert backend.requests == []


def test_when_nobody_can_be_asked(balancer: Balancer, backend: Backend) -> None:
    """503; or all are let in, as nobody in particular."""
    assert balancer.get("/away").status == 503
    assert balancer.get("/open", "Remote-User: root").status == 200
    assert [asked.get("remote-user") for asked in backend.requests] == [None]


def test_it_gets_no_more_than_what_is_named(balancer: Balancer, backend: Backend, login: Backend) -> None:
    login.answer()

    balancer.get("/few", "Cookie: s=1", "X-Secret: 1")

    assert (login.requests[0].get("cookie"), login.requests[0].get("x-secret")) == ("s=1", None)


def test_its_connections_are_kept(balancer: Balancer, backend: Backend, login: Backend) -> None:
    login.answer()
    for _ in range(20):
        assert balancer.get("/ask").status == 200

    assert len(login.connections) == 1
    assert len(login.requests) == 20


def test_a_client_that_goes_away_is_not_asked_about_any_more(
    balancer: Balancer, backend: Backend, login: Backend
) -> None:
    """The connection to the server is cut at once."""
    login.play(read_all, stall)
    with balancer.client() as client:
        client.send(request("/ask/gone"))
        until(lambda: login.requests, "the question")
        client.reset()

    until(lambda: all(connection.closed for connection in login.connections), "the question to be given up")
    assert balancer.record(lambda record: record["path"] == "/ask/gone")["status"] == 499
    assert backend.requests == []


UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==",
]


@pytest.mark.parametrize("path", ["/key", "/basic", "/jwt", "/ask"])
def test_an_upgrade_is_let_in_by_the_same_door(balancer: Balancer, backend: Backend, login: Backend, path: str) -> None:
    """Who may not come gets no tunnel; the server that is asked is not asked for one."""
    login.answer(b"no", status="403 No")

    assert balancer.get(path, *UPGRADE).status in (401, 403)

    assert backend.requests == []
    assert [asked.get("upgrade") for asked in login.requests] == ([None] if path == "/ask" else [])


@pytest.fixture(autouse=True)
def no_defect(balancer: Balancer) -> Iterator[None]:
    """Nothing of all this is a defect of ours."""
    yield
    assert not [record for record in balancer.records() if record["reason"] == "proxy_internal_error"]
