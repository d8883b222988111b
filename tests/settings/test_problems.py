"""What an operator reads when something is wrong: where, what, and what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings import Settings
from settings.load import load as load_settings
from settings.problems import SettingsError
from settings.redaction import redacted, secret, shown

NOWHERE = Path("/nonexistent/.env")
POOL = {"LB_POOLS__A__BACKENDS": "http://h"}
GROUP = {**POOL, "LB_GROUPS__G__POOL": "a"}


def refused(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, env_file=NOWHERE)
    for problem in caught.value.problems:
        assert problem.where
        assert problem.message
        assert problem.fix
    return str(caught.value)


# The value of one variable, beside a group and a pool that are right; the variable, and what is said of it.
VALUES = [
    ("LB_STATE", "redis", 'state.place: not a place: "redis"; write "auto", "memory", "lmdb:'),
    ("LB_LOG__FORMAT", "jsn", 'log.format: not known: "jsn"; write "json" (\'json\', \'common\' or \'off\')'),
    ("LB_EDGE__MAX_HEADERS", "0", 'edge.max_headers: too small: "0"; write at least 1'),
    ("LB_EDGE__MAX_HEADERS", "many", 'edge.max_headers: not a whole number: "many"; write one such as 3'),
    ("LB_EDGE__MAX_HEADER_BYTES", "1KiBB", "not a size"),
    ("LB_EDGE__HEADER_TIMEOUT", "10", 'edge.header_timeout: not a duration: "10"; write one with its unit'),
    ("LB_EDGE__HALF_CLOSE", "maybe", 'edge.half_close: neither true nor false: "maybe"; write true or false'),
    ("LB_RATE_LIMIT__RATE", "100", 'rate_limit.rate: not a rate: "100"; write one such as "100/s"'),
    ("LB_RATE_LIMIT__BURST", "0", "rate_limit.burst: too small"),
    ("LB_RATE_LIMIT__KEY", "ip", 'rate_limit.key.0: not a part of a key: "ip"; write "client"'),
    ("LB_RATE_LIMIT__KEY", "client,client", "rate_limit.key: a key is one or more different parts"),
    ("LB_RATE_LIMIT__IPV6_PREFIX", "129", 'rate_limit.ipv6_prefix: too large: "129"; write at most 128'),
    ("LB_TRUSTED_PROXIES", "10.0.0.5/8", 'trusted_proxies.0: not a network: "10.0.0.5/8"; write "10.0.0.0/8"'),
    ("LB_TRUSTED_PROXIES", "everybody", "write an address or a network"),
    ("LB_TRUSTED_PROXIES", "[", "trusted_proxies: broken JSON: \"[\"; write \"a,b\" or [\"a\", \"b\"]"),
    ("LB_ADMIN__PREFIX", "/", "admin.prefix: not a prefix"),
    ("LB_ADMIN__PREFIX", "/a/../b", "admin.prefix: not a prefix"),
    ("LB_ADMIN__TOKEN", "hunter 2", "admin.token: not a token that a client could send; write printable ASCII"),
    ("LB_FORWARDED__VIA", "a b", 'forwarded.via: not a name for Via: "a b"'),
    ("LB_ROUTES", "/apiA", 'routes: "/apiA" is not a route; write "/path=pool"'),
    ("LB_ROUTES", "apiA=a", '"apiA=a" is not a route'),
    ("LB_ROUTES", "/x=a;/x=a", '"/x" is there twice; keep one of them'),
    ("LB_ROUTES", "/x=aa", 'groups.x.pool: there is no pool "aa"; write "a"'),
    ("LB_ROUTES", "/x?y=a", "groups.x_y.path: such a path never comes in"),
    ("LB_GROUPS__G__POOL", "b", 'groups.g.pool: there is no pool "b"; write one that is there (a)'),
    ("LB_GROUPS__G__POOL", "A", 'groups.g.pool: not a name: "A"; write lower-case letters'),
    ("LB_GROUPS__G__LIMIT", "slow", 'groups.g.limit: there is no limiter "slow"; add limits.slow'),
    ("LB_LIMITS__DEFAULT__RATE", "1/s", 'limits.default: "default" is the limiter for everybody'),
    ("LB_GROUPS__G__REDIRECT__TO", "/x", "groups.g.redirect: pool and redirect at once; keep one of pool, redirect"),
    ("LB_GROUPS__G__REDIRECT", '{"to": "/", "status": 300}', "redirect.status: not known: 300; write 301, 302"),
    ("LB_GROUPS__G__RESPOND", '{"status": 204, "body": "x"}', "a 204 has no body; leave body out"),
    ("LB_GROUPS__G__PATH", "api", "groups.g.path: such a path never comes in; write one that starts with"),
    ("LB_GROUPS__G__PATH", "/a/../b", "groups.g.path: such a path never comes in"),
    ("LB_GROUPS__G__PRIORITY", "99999999", "groups.g.priority: too large"),
    ("LB_GROUPS__G__HOST", "https://a.org/x", 'groups.g.host.0: not a host: "https://a.org/x"; write "a.org"'),
    ("LB_GROUPS__G__HOST", "a.*.org", "groups.g.host.0: not a host"),
    ("LB_GROUPS__G__HOST", "\u20ac" * 70, "groups.g.host.0: not a host; write its ASCII form"),
    ("LB_GROUPS__G__METHOD", "CONNECT", "groups.g.method.0: CONNECT and TRACE are never served"),
    ("LB_GROUPS__G__UPGRADE", "websocket,H2C", "groups.g.upgrade.1: an upgrade to HTTP itself is never forwarded"),
    ("LB_GROUPS__G__UPGRADE", "HTTP/2.0", "groups.g.upgrade.0: an upgrade to HTTP itself is never forwarded"),
    ("LB_GROUPS__G__UPGRADE", "a b", 'groups.g.upgrade.0: not a protocol: "a b"; write its name, such as "websocket"'),
    ("LB_GROUPS__G__REQUEST_TRAILERS", "x y", "groups.g.request_trailers.0: not a token of HTTP"),
    ("LB_POOLS__A__PROXY_HEADER__VERSION", "3", 'pools.a.proxy_header.version: too large: "3"; write at most 2'),
    ("LB_POOLS__A__PROXY_HEADER__TELL", "tls", "pools.a.proxy_header.tell: version 0 tells addresses only; write"),
    ("LB_POOLS__A__PROXY_HEADER__TELL", "alpn", 'pools.a.proxy_header.tell.0: not known: "alpn"; write'),
    ("LB_POOLS__A__TIMEOUTS__TUNNEL", "5", 'pools.a.timeouts.tunnel: not a duration: "5"; write one with its unit'),
    ("LB_GROUPS__G__METHOD", "G ET", "groups.g.method.0: not a token of HTTP"),
    ("LB_GROUPS__G__HEADER", "x-a=~(", "groups.g.header.x-a: not a regular expression (missing"),
    ("LB_GROUPS__G__HEADER", "x-a", 'groups.g.header: not a table: "x-a"; write "name=value,name=value"'),
    ("LB_GROUPS__G__QUERY", "a=~" + "x" * 1001, "groups.g.query.a: a regular expression over 1000 characters"),
    ("LB_GROUPS__G__CLIENT", "10.0.0.256", "groups.g.client.0: not a network"),
    ("LB_GROUPS__G__STRIP_PREFIX", "api", "groups.g.strip_prefix: neither a switch nor a prefix"),
    ("LB_GROUPS__G__ADD_PREFIX", "api", "groups.g.add_prefix: not a path"),
    ("LB_GROUPS__G__REWRITE", '{"pattern": "(", "to": "/"}', "groups.g.rewrite.pattern: not a regular expression"),
    ("LB_GROUPS__G__REQUEST_HEADERS__SET", "x-a=a\nb", "groups.g.request_headers.set.x-a: not a value of a header"),
    ("LB_POOLS__A__BACKENDS", "h:80", 'neither http://, https:// nor h2c://: "h:80"; write "http://h:80"'),
    ("LB_POOLS__A__BACKENDS", "ftp://h", "neither http://, https:// nor h2c://"),
    ("LB_POOLS__A__BACKENDS", "http://", "there is no host in it"),
    ("LB_POOLS__A__BACKENDS", "http://[::1", "not a URL"),
    ("LB_POOLS__A__BACKENDS", "http://h:99999", "not a URL"),
    ("LB_POOLS__A__BACKENDS", "http://h:0", "0 is no port"),
    ("LB_POOLS__A__BACKENDS", "http://u:hunter2@h", "a user name or a password in it"),
    ("LB_POOLS__A__BACKENDS", "http://h/api", "leave it out: set add_prefix of the group instead"),
    ("LB_POOLS__A__BACKENDS", "http://h|wieght=2", '"wieght" is not an option of a backend'),
    ("LB_POOLS__A__BACKENDS", "http://h|weight=-1", 'pools.a.backends.0.weight: too small: "-1"; write at least 0'),
    ("LB_POOLS__A__BACKENDS", "http://h|id=a b", 'pools.a.backends.0.id: not an id: "a b"'),
    ("LB_POOLS__A__BACKENDS", "http://h,http://h", 'two backends have the id "h:80"; give each an id'),
    ("LB_TLS__ACME__DOMAINS", "*.example.org", "tls.acme.domains.0: a wildcard cannot be proved by HTTP-01"),
    ("LB_TLS__ACME__DOMAINS", "localhost", "tls.acme.domains.0: not a DNS name"),
    ("LB_TLS__ACME__DOMAINS", "10.0.0.1", "tls.acme.domains.0: not a DNS name"),
    ("LB_TLS__ACME__DOMAINS", "../x.test", "tls.acme.domains.0: not a DNS name"),
    ("LB_TLS__ACME", '{"domains": ["a.test"]}', "tls.acme.storage: there is nowhere to keep certificates; write"),
    ("LB_TLS__ACME", '{"domains": ["a.test"], "storage": "/x"}', "tls.acme.agree: nobody has agreed to"),
    ("LB_TLS__ACME__DIRECTORY", "http://a.test/dir", "tls.acme.directory: not an https:// URL"),
    ("LB_TLS__ACME__EMAIL", "me", "tls.acme.email: not an address"),
    ("LB_TLS", '{"acme": {"domains": ["a.test"], "storage": "/x", "agree": true}, "reload_interval": "0"}',
     "tls.reload_interval: certificates by acme are renewed, and never looked at"),
    ("LB_POOLS__A__TLS__CA", "/nonexistent/ca.pem", "pools.a.tls.ca: there is no such file"),
    ("LB_POOLS__A__HEALTH", "http", 'not a JSON object; write LB_POOLS__A__HEALTH__KIND and so on'),
    ("LB_POOLS", "a", "pools: not a JSON object; write LB_POOLS__<NAME> and so on"),
    ("LB_POOLS__A__HEALTH__KIND", "https", "pools.a.health.kind: not known: \"https\"; write \"http\""),
    ("LB_POOLS__A__HEALTH__PATH", "health", "pools.a.health.path: not a path"),
    ("LB_POOLS__A__HEALTH__TIMEOUT", "6s", "timeout is longer than interval; write a timeout of at most 5s"),
    ("LB_POOLS__A__HEALTH__INTERVAL", "0", 'pools.a.health.interval: too small: 0.0; write more than 0'),
    ("LB_POOLS__A__HEALTH__STATUS", "2xx", 'pools.a.health.status.0: not a status, nor a range of them: "2xx"'),
    ("LB_POOLS__A__HEALTH__STATUS", "299-200", 'a range from high to low: "299-200"; write "200-299"'),
    ("LB_POOLS__A__HEALTH__BODY", "(", "pools.a.health.body: not a regular expression"),
    ("LB_POOLS__A__HEALTH__JITTER", "2", 'pools.a.health.jitter: not a share: "2"; write one from 0 to 1'),
    ("LB_POOLS__A__HEALTH__PORT", "0", "pools.a.health.port: too small"),
    ("LB_POOLS__A__AFFINITY", "ip", 'pools.a.affinity.0: not a part of a key: "ip"; write "client", "path"'),
    ("LB_POOLS__A__AFFINITY", "path,path", 'there twice: "path,path"; leave one out'),
    ("LB_POOLS__A__TIMEOUTS__HEADER", "a b", "pools.a.timeouts.header: not a token of HTTP"),
    ("LB_EDGE__MAX_LOOP_LAG", "100", 'edge.max_loop_lag: not a duration: "100"; write one with its unit'),
    ("LB_POOLS__A__BACKENDS", "http://h|level=128", 'pools.a.backends.0.level: too large: "128"; write at most 127'),
    ("LB_POOLS__A__BACKENDS", "http://h|levle=1", '"levle" is not an option of a backend'),
    ("LB_POOLS__A__BACKENDS", "http://h|max_in_flight=x", "backends.0.max_in_flight: not a whole number"),
    ("LB_POOLS__A__BREAKER__EJECTION", "10", 'pools.a.breaker.ejection: not a duration: "10"; write one with its unit'),
    ("LB_POOLS__A__BREAKER__MAX_EJECTION", "10s", "shorter than ejection; write a max_ejection of at least 30s"),
    ("LB_POOLS__A__BREAKER__WINDOW", "500ms", 'too short to count anything in: "500ms"; write "1s" or more'),
    ("LB_POOLS__A__BREAKER__STATUS", "404,503", 'breaker.status.0: that is no fault of the backend\'s: "404"; write'),
    ("LB_POOLS__A__BREAKER__OUTLIERS", "two", 'breaker.outliers: not a number: "two"; write one such as 1.5'),
    ("LB_POOLS__A__BREAKER__OUTLIERS", "nan", "breaker.outliers: not a number"),
    ("LB_POOLS__A__BREAKER__OUTLIERS", "11", "breaker.outliers: too large"),
    ("LB_POOLS__A__PANIC", "101%", 'pools.a.panic: not a share: "101%"'),
    ("LB_POOLS__A__RETRY__ATTEMPTS", "0", "pools.a.retry.attempts: too small: \"0\"; write at least 1"),
    ("LB_POOLS__A__RETRY__MAX_BACKOFF", "10ms", "shorter than backoff; write a max_backoff of at least 25ms"),
    ("LB_POOLS__A__RETRY__STATUS", "200-299", 'retry.status.0: that is no failure: "200-299"; write'),
    ("LB_POOLS__A__RETRY__METHODS", "GET,TRACE", "retry.methods.1: CONNECT and TRACE are never served"),
    ("LB_POOLS__A__HEDGE__QUANTILE", "1", "hedge.quantile: too large: 1.0; write less than 1"),
    ("LB_POOLS__A__QUEUE__ORDER", "filo", 'queue.order: not known: "filo"; write "fifo"'),
    ("LB_POOLS__A__ADAPTIVE__MAX_LIMIT", "2", "max_limit is under min_limit; write a max_limit of at least 3"),
    ("LB_POOLS__A__STICKY__KEYS", "hunter2", "sticky.keys.0: a key of under 16 characters, which can be guessed; "),
    ("LB_POOLS__A__STICKY__KEYS", '["hunter2"', "sticky.keys: broken JSON; write"),
    ("LB_POOLS__A__STICKY", '{"key": "hunter2"}', 'sticky.key: there is no such setting; did you mean "keys"?'),
    ("LB_POOLS__A__STICKY__COOKIE", "a b", 'sticky.cookie: not a token of HTTP: "a b"'),
    ("LB_POOLS__A__STICKY__PATH", "/;Domain=org", 'sticky.path: not a path of a cookie: "/;Domain=org"; leave out'),
    ("LB_GROUPS__G__SPLIT__POOLS", "a=1", "groups.g.split: pool and split at once; keep one of pool, split"),
    ("LB_GROUPS__G__SPLIT__POOLS", "a=-1", "groups.g.split.pools.a: too small"),
    ("LB_GROUPS__G__SPLIT__POOLS", "a=0", 'groups.g.split.pools: no pool has a weight; write some, such as "stable=95'),
    ("LB_GROUPS__G__SPLIT", '{"pools": {"a": 1}, "key": []}', 'groups.g.split.key: there is no key; write "client"'),
    ("LB_GROUPS__G__FALLBACK", "b", 'groups.g.fallback: there is no pool "b"; write one that is there (a)'),
    ("LB_GROUPS__G__FALLBACK", "a", "groups.g.fallback: a is the group's own pool; leave it out"),
    ("LB_GROUPS__G__FALLBACK", "b,b", "groups.g.fallback: a pool is there twice; leave one out"),
    ("LB_GROUPS__G__MIRROR__POOL", "aa", 'groups.g.mirror.pool: there is no pool "aa"; write "a"'),
    ("LB_GROUPS__G__MIRROR", "a", "not a JSON object; write LB_GROUPS__G__MIRROR__POOL and so on"),
    ("LB_GROUPS__G__FAULT__ABORT", "200", 'groups.g.fault.abort: too small: "200"; write at least 400'),
    ("LB_GROUPS__G__FAULT__HEADER", "x-a", "groups.g.fault: a fault that does nothing; write a delay, an abort"),
    ("LB_POOLS__A-B__STRATEGY", "first", "single \"_\" only, such as 'a_b'"),
    ("LB_EDGE__MAX_HEADERS", "\udcff", "edge.max_headers: "),
    ("LB_LIMITS__L__RATE_FILE", "/nonexistent", "limits.l.rate: the file cannot be read (no such file or directory)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "said"), VALUES, ids=lambda text: text[:40].encode("unicode_escape").decode()
)
def test_a_wrong_value_is_answered_with_its_variable_and_the_fix(name: str, value: str, said: str) -> None:
    text = refused({**GROUP, name: value})

    assert said in text
    assert text.startswith(f"{name}: ")
    assert "\n" not in text
    assert "hunter" not in text


def test_every_problem_is_told_at_once() -> None:
    text = refused({**GROUP, "LB_STATE": "x", "LB_EDGE__MAX_HEADERS": "x", "LB_POOLS__A__TIMEOUTS__IDLE": "x"})

    assert [line.split(":")[0] for line in text.split("\n")] == [
        "LB_STATE",
        "LB_POOLS__A__TIMEOUTS__IDLE",
        "LB_EDGE__MAX_HEADERS",
    ]


@pytest.mark.parametrize("name", ["ATTEMPT", "CONNECT", "RESPONSE", "IDLE", "WRITE"])
def test_an_attempt_that_may_take_longer_than_all_is_refused(name: str) -> None:
    """Only where it was said: a default is cut to the total, and nobody has to repeat it."""
    prefix = "LB_POOLS__A__TIMEOUTS__"

    text = refused({**GROUP, f"{prefix}TOTAL": "500ms", f"{prefix}{name}": "600ms"})

    assert text.startswith(f"{prefix}{name}: pools.a.timeouts.{name.lower()}: {name.lower()} is longer than total; ")
    assert "at most 500ms" in text
    assert load_settings({**GROUP, f"{prefix}TOTAL": "500ms"}, env_file=NOWHERE).pools["a"].timeouts.total == 0.5


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"LB_POOLS__A__BACKENDS": "h2c://127.0.0.1:9000"}, "LB_POOLS__A__PROXY_HEADER__VERSION"),
        ({"LB_POOLS__A__TLS__ALPN": "h2,http/1.1"}, "LB_POOLS__A__TLS__ALPN"),
    ],
)
def test_no_proxy_header_goes_before_connections_of_many_clients(said: dict[str, str], where: str) -> None:
    text = refused({**GROUP, "LB_POOLS__A__PROXY_HEADER__VERSION": "2", **said})
    assert text.startswith(f"{where}: ")
    assert "no PROXY header goes before HTTP/2" in text


def test_what_belongs_to_an_attempt_is_no_longer_than_one() -> None:
    prefix = "LB_POOLS__A__TIMEOUTS__"
    short = {**GROUP, f"{prefix}ATTEMPT": "500ms"}

    text = refused({**short, f"{prefix}CONNECT": "600ms"})

    assert text.startswith(f"{prefix}CONNECT: pools.a.timeouts.connect: connect is longer than attempt; ")
    assert "at most 500ms" in text
    timeouts = load_settings(short, env_file=NOWHERE).pools["a"].timeouts
    assert (timeouts.connect, timeouts.response, timeouts.idle) == (0.5, 0.5, 60.0)


def test_nobody_is_told_to_wait_in_the_queue_for_longer_than_the_whole_may_take() -> None:
    """Only where it was said, as with the other parts of the total."""
    short = {**GROUP, "LB_POOLS__A__TIMEOUTS__TOTAL": "500ms"}

    text = refused({**short, "LB_POOLS__A__QUEUE__TIMEOUT": "600ms"})

    assert text.startswith("LB_POOLS__A__QUEUE__TIMEOUT: pools.a.queue.timeout: the timeout of the queue is longer")
    assert load_settings(short, env_file=NOWHERE).pools["a"].queue.timeout == 1.0


def test_a_cookie_without_a_key_is_answered_with_the_variable_that_would_say_one() -> None:
    text = refused({**GROUP, "LB_POOLS__A__STICKY__ENABLED": "true"})

    assert text.startswith("LB_POOLS__A__STICKY__KEYS: pools.a.sticky.keys: the cookie has no key to sign with; write")


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ({"same_site": "none", "secure": "never"}, "secure"),
        ({"cookie": "__Secure-lb"}, "secure"),
        ({"cookie": "__host-lb", "secure": "always", "path": "/a"}, "path"),
        ({"cookie": "__Host-lb", "secure": "always"}, ""),
        ({"same_site": "none"}, ""),
    ],
)
def test_a_cookie_that_browsers_throw_away_is_refused(said: dict[str, str], at: str) -> None:
    environ = {**GROUP, "LB_POOLS__A__STICKY": json.dumps(said | {"keys": ["0123456789abcdef"], "enabled": True})}

    if at:
        assert f"pools.a.sticky.{at}: " in refused(environ)
    else:
        assert load_settings(environ, env_file=NOWHERE).warnings == ()


@pytest.mark.parametrize(
    ("name", "value"), [("FALLBACK", "a"), ("FALLBACK_RESPOND__STATUS", "200"), ("MIRROR__POOL", "a")]
)
def test_what_is_forwarded_needs_a_pool(name: str, value: str) -> None:
    text = refused({**POOL, "LB_GROUPS__G__RESPOND__BODY": "fine", f"LB_GROUPS__G__{name}": value})

    key = name.lower().partition("__")[0]
    assert text.startswith(f"LB_GROUPS__G__{name}: groups.g.{key}: the group forwards nothing; leave {key} out")


def test_the_pools_of_a_split_are_there() -> None:
    text = refused({**POOL, "LB_GROUPS__G__SPLIT__POOLS": "a=95,canary=5"})

    assert text == (
        'LB_GROUPS__G__SPLIT__POOLS: groups.g.split.pools.canary: there is no pool "canary"; '
        "write one that is there (a)"
    )


def test_what_is_missing_is_answered_with_the_variable_that_would_say_it() -> None:
    text = refused({"LB_GROUPS__G__REDIRECT__STATUS": "308"})

    assert text == "LB_GROUPS__G__REDIRECT__TO: groups.g.redirect.to: it is missing; write to"


def test_a_group_that_answers_nothing_is_refused() -> None:
    text = refused({**POOL, "LB_GROUPS__G__PATH": "/x"})

    said = "the group answers nothing; write one of pool, split, redirect or respond"
    assert text == f"LB_GROUPS__G__PATH: groups.g: {said}"


def test_a_pattern_is_no_prefix_to_strip() -> None:
    environ = {
        **GROUP,
        "LB_GROUPS__G__PATH_MATCH": "regex",
        "LB_GROUPS__G__PATH": "/a+",
        "LB_GROUPS__G__STRIP_PREFIX": "on",
    }

    assert refused(environ).startswith(
        "LB_GROUPS__G__STRIP_PREFIX: groups.g.strip_prefix: a regular expression is no prefix"
    )


def test_a_pattern_as_path_is_compiled() -> None:
    environ = {**GROUP, "LB_GROUPS__G__PATH_MATCH": "regex", "LB_GROUPS__G__PATH": "/("}

    assert refused(environ).startswith("LB_GROUPS__G__PATH: groups.g.path: not a regular expression")


@pytest.mark.parametrize("name", ["Web", "a__b", "a-b", "", "x" * 64])
def test_names_are_such_that_a_variable_can_say_them(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        Settings(limits={name: {"rate": "1/s"}})


def test_settings_made_in_python_are_checked_just_so() -> None:
    with pytest.raises(ValueError, match='there is no pool "b"'):
        Settings(groups={"g": {"pool": "b"}})


def test_a_broken_value_in_a_secret_file_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("two words")

    text = refused({"LB_ADMIN__TOKEN_FILE": str(file)})

    assert text.startswith("LB_ADMIN__TOKEN_FILE: admin.token: ")
    assert "two words" not in text


def test_no_secret_is_in_the_error_of_settings_made_in_python() -> None:
    with pytest.raises(ValueError, match="a key of under 16 characters") as caught:
        Settings(pools={"a": {"sticky": {"keys": ["hunter2"]}}})

    assert "hunter2" not in str(caught.value)


def test_what_has_no_type_is_secret_by_its_name() -> None:
    shown = redacted((), {"no": {"token": "x"}, "set": {"Authorization": "x", "x-a": "y"}, "url": "redis://u:p@h"})

    assert shown["set"]["x-a"] == "y"
    assert str(shown).count("**********") == 3
    assert "u:p" not in str(shown)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("admin.token", True),
        ("admin.tokn", True),
        ("admin.prefix", False),
        ("pools.a.sticky", True),
        ("pools.a.sticky.keys", True),
        ("pools.a.sticky.keys.0", True),
        ("pools.a.sticky.key", True),
        ("pools.a.sticky.cookie", False),
        ("pools.a.strategy.cookie", True),
        ("pools.a.strategy.table", False),
        ("pools.tokens.panic", False),
        ("groups.g.header.cookie", True),
        ("groups.g.header.x-a", False),
        ("groups.g.split.pools.secret", False),
        ("groups.g.api_key", True),
        ("pools", False),
    ],
)
def test_what_is_secret(path: str, hidden: bool) -> None:
    """A setting by its type, and what was probably meant to be it; a name of the operator's by how it sounds."""
    place = tuple(int(key) if key.isdecimal() else key for key in path.split("."))

    assert secret(place) is hidden
    assert (redacted(place, "x") == "**********") is hidden
    assert (shown(place, "x") == "") is hidden
