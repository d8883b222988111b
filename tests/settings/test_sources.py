"""Where settings are said, and which place wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import Settings
from settings.load import load as load_settings
from settings.problems import SettingsError
from settings.units import Rate
from settings.view import tree

NOWHERE = Path("/nonexistent/.env")


def load(environ: dict[str, str] | None = None, *, env_file: Path = NOWHERE, **given: object) -> Settings:
    return load_settings(environ or {}, env_file=env_file, **given)


def refused(environ: dict[str, str], **given: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, **given)
    return str(caught.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_nothing_said_is_a_balancer_that_starts() -> None:
    settings = load()

    assert settings.groups == {}
    assert settings.rate_limit.kind == "none"
    assert settings.warnings == ()


def test_each_place_wins_over_the_next(tmp_path: Path) -> None:
    """Five settings said in 1 to 5 of the places: each is as the first of its places says."""
    names = ["admin.prefix", "edge.max_headers", "drain.grace", "log.format", "forwarded.via"]
    file = write(
        tmp_path / "lb.toml",
        'admin.prefix = "/f"\nedge.max_headers = 5\ndrain.grace = "5s"\nlog.format = "off"\nforwarded.via = "file"\n',
    )
    secrets = {
        name: write(tmp_path / f"{i}", text + "\n")
        for i, (name, text) in enumerate([("A", "/s"), ("B", "3"), ("C", "3s")])
    }
    dotenv = write(
        tmp_path / ".env", "LB_ADMIN__PREFIX=/d\nLB_EDGE__MAX_HEADERS=4\nLB_DRAIN__GRACE=4s\nLB_LOG__FORMAT=common\n"
    )
    environ = {
        "LB_CONFIG": file,
        "LB_ADMIN__PREFIX": "/e",
        "LB_EDGE__MAX_HEADERS": "2",
        "LB_ADMIN__PREFIX_FILE": secrets["A"],
        "LB_EDGE__MAX_HEADERS_FILE": secrets["B"],
        "LB_DRAIN__GRACE_FILE": secrets["C"],
    }

    settings = load(environ, env_file=Path(dotenv), admin={"prefix": "/i"})

    found = (
        settings.admin.prefix,
        settings.edge.max_headers,
        settings.drain.grace,
        settings.log.format,
        settings.forwarded.via,
    )
    assert found == ("/i", 2, 3.0, "common", "file")
    assert [settings.origins[name] for name in names] == [
        "argument", "LB_EDGE__MAX_HEADERS", "LB_DRAIN__GRACE_FILE", f"{dotenv}:4", f"{file}:5",
    ]  # fmt: skip


def test_places_add_to_each_other_setting_by_setting(tmp_path: Path) -> None:
    """The file has the pool, a variable changes one of its settings and adds an option to its strategy."""
    file = write(
        tmp_path / "lb.yaml",
        "pools:\n  a:\n    backends: ['http://h:1']\n    strategy: p2c\n    timeouts: {connect: 3s, idle: 7s}\n",
    )

    settings = load({"LB_CONFIG": file, "LB_POOLS__A__TIMEOUTS__CONNECT": "9s", "LB_POOLS__A__STRATEGY__CHOICES": "3"})

    pool = settings.pools["a"]
    assert (pool.timeouts.connect, pool.timeouts.idle) == (9.0, 7.0)
    assert (pool.strategy.kind, pool.strategy.options) == ("p2c", {"choices": "3"})
    assert pool.backends[0].url == "http://h:1"


def test_settings_made_in_python_do_not_look_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LB_INITIAL_GRACE", "99s")

    assert Settings().initial_grace == 10.0


def test_variables_are_lower_cased() -> None:
    settings = load({"LB_POOLS__WEB_APP__BACKENDS": "http://h", "LB_GROUPS__All__POOL": "web_app"})

    assert (list(settings.pools), list(settings.groups)) == (["web_app"], ["all"])


@pytest.mark.parametrize("said", ["10.0.0.0/8, fd00::/8", '["10.0.0.0/8", "fd00::/8"]', "10.0.0.0/8,fd00::/8,"])
def test_a_list_in_one_variable_is_csv_or_json(said: str) -> None:
    assert [str(n) for n in load({"LB_TRUSTED_PROXIES": said}).trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


LISTS = {
    "LB_TRUSTED_PROXIES": "10.0.0.1,10.0.0.2",
    "LB_ADMIN__ALLOW_BACKENDS": "10.0.0.0/8,fd00::/8",
    "LB_POOLS__P__TLS__ALPN": "http/1.1",
    "LB_GROUPS__G__HOST": "a.org,*.b.org",
    "LB_GROUPS__G__METHOD": "GET,POST",
    "LB_GROUPS__G__UPGRADE": "websocket,foo/2",
    "LB_GROUPS__G__REQUEST_TRAILERS": "x-checksum,x-b",
    "LB_GROUPS__G__CLIENT": "10.0.0.0/8,::1",
    "LB_GROUPS__G__FALLBACK": "q,r",
    "LB_GROUPS__G__ACCESS__ALLOW": "10.0.0.0/8,::1",
    "LB_GROUPS__G__ACCESS__DENY": "10.0.0.0/8,::1",
    "LB_GROUPS__G__CORS__ORIGINS": "https://a.org,https://*.b.org",
    "LB_GROUPS__G__CORS__METHODS": "GET,PUT",
    "LB_GROUPS__G__CORS__HEADERS": "x-a,x-b",
    "LB_GROUPS__G__CORS__EXPOSE": "x-a,x-b",
    "LB_GROUPS__G__JWT__ALGORITHMS": "RS256,ES256",
    "LB_GROUPS__G__JWT__AUDIENCE": "a,b",
    "LB_GROUPS__G__FORWARD_AUTH__REQUEST_FIELDS": "x-a,x-b",
    "LB_GROUPS__G__FORWARD_AUTH__BACKEND_FIELDS": "x-a,x-b",
    "LB_GROUPS__G__FORWARD_AUTH__CLIENT_FIELDS": "x-a,x-b",
    "LB_GROUPS__G__COMPRESSION__CODINGS": "br,gzip",
    "LB_GROUPS__G__COMPRESSION__TYPES": "text/*,application/json",
    "LB_GROUPS__G__SPLIT__KEY": "cookie:session,client",
    "LB_GROUPS__G__CACHE__KEY": "header:x-tenant,cookie:country",
    "LB_GROUPS__G__CACHE__QUERY": "page,sort",
    "LB_GROUPS__G__CACHE__IGNORE_QUERY": "utm_*,fbclid",
    "LB_GROUPS__G__CACHE__UNKEYED_FIELDS": "x-a,x-b",
    "LB_GROUPS__G__CACHE__TARGETS": "x-a,x-b",
    "LB_GROUPS__G__REQUEST_HEADERS__REMOVE": "x-a,x-b",
    "LB_GROUPS__G__RESPONSE_HEADERS__REMOVE": "x-a,x-b",
    "LB_POOLS__P__BACKENDS": "http://a,http://b",
    "LB_POOLS__P__AFFINITY": "client,cookie:session",
    "LB_POOLS__P__HEALTH__STATUS": "200-299,404",
    "LB_POOLS__P__BREAKER__STATUS": "500,503",
    "LB_POOLS__P__RETRY__STATUS": "429,503",
    "LB_POOLS__P__RETRY__METHODS": "get,POST",
    "LB_POOLS__P__PROXY_HEADER__TELL": "authority,tls",
    "LB_POOLS__P__STICKY__KEYS": f"{'a' * 16},{'b' * 16}",
    "LB_TLS__CERTIFICATES": "a.pem|key=a.key,b.pem",
    "LB_TLS__ACME__DOMAINS": "a.test,b.test",
    "LB_RATE_LIMIT__KEY": "client,group",
    "LB_LIMITS__L__KEY": "client,header:x-user",
}


def listed(annotation: object) -> bool:
    return str(annotation).startswith(("tuple", "typing.Tuple"))


def test_every_list_takes_csv_from_the_environment() -> None:
    """The table above has every list there is."""
    from settings.shape import NAME, Shape, variable

    names = {"groups": "G", "pools": "P", "limits": "L"}
    root = Shape(Settings)
    leaves = [leaf for leaf in root.leaves() if listed(getattr(root.walk(leaf), "annotation", None))]
    known = {
        variable(tuple(names[leaf[i - 1]] if key == NAME else key for i, key in enumerate(leaf))) for leaf in leaves
    }

    pools = {f"LB_POOLS__{name}__BACKENDS": "http://h" for name in "QR"}
    beside = {"LB_GROUPS__G__SPLIT__POOLS": "p=1", "LB_GROUPS__G__JWT__KEYS_URL": "http://h/",
              "LB_GROUPS__G__FORWARD_AUTH__POOL": "p", "LB_POOLS__P__PROXY_HEADER__VERSION": "2",
              "LB_TLS__ACME__STORAGE": "/x", "LB_TLS__ACME__AGREE": "true"}  # fmt: skip
    settings = load({**LISTS, **pools, **beside})

    assert known == set(LISTS)
    assert settings.pools["p"].retry.methods == ("GET", "POST")
    assert len(settings.pools["p"].sticky.keys) == 2
    assert [
        len(v) for v in (settings.groups["g"].host, settings.groups["g"].client, settings.pools["p"].health.status)
    ] == [2, 2, 2]
    assert settings.limits["l"].key == ("client", "header:x-user")


@pytest.mark.parametrize("said", ["x-a=1,x-b=2", '{"x-a": "1", "x-b": "2"}'])
def test_a_table_of_text_in_one_variable_is_pairs_or_json(said: str) -> None:
    settings = load({"LB_POOLS__P__HEALTH__HEADERS": said})

    assert settings.pools["p"].health.headers == {"x-a": "1", "x-b": "2"}


def test_a_table_may_be_json_which_single_variables_refine() -> None:
    settings = load(
        {
            "LB_POOLS__P": '{"backends": ["http://a|weight=2"], "health": {"path": "/x", "rise": 5}}',
            "LB_POOLS__P__HEALTH__PATH": "/y",
        }
    )

    assert (
        settings.pools["p"].health.path,
        settings.pools["p"].health.rise,
        settings.pools["p"].backends[0].weight,
    ) == ("/y", 5, 2)


def test_backends_in_one_line() -> None:
    backends = (
        load({"LB_POOLS__P__BACKENDS": "http://h:8081, https://[::1]|id=a , http://h:8082|weight=2|id=b"})
        .pools["p"]
        .backends
    )

    assert [(b.url, b.id, b.weight) for b in backends] == [
        ("http://h:8081", "h:8081", 1),
        ("https://[::1]", "a", 1),
        ("http://h:8082", "b", 2),
    ]


def test_backends_in_one_line_with_all_their_options() -> None:
    line = "http://h:1|max_in_flight=3|level=1,http://h:2|max_in_flight=0,http://h:3"

    settings = load({"LB_POOLS__X__BACKENDS": line})

    backends = settings.pools["x"].backends
    assert [(b.max_in_flight, b.level) for b in backends] == [(3, 1), (0, 0), (None, 0)]


def test_the_breaker_from_the_environment() -> None:
    environ = {
        "LB_ROUTES": "/=x",
        "LB_POOLS__X__BACKENDS": "http://h:1|max_in_flight=3|level=1",
        "LB_POOLS__X__STRATEGY": "priority",
        "LB_POOLS__X__BREAKER__EJECTION": "10s",
    }

    settings = load(environ)

    assert settings.warnings == ()
    assert settings.pools["x"].breaker.ejection == 10.0
    assert settings.origins["pools.x.breaker.ejection"] == "LB_POOLS__X__BREAKER__EJECTION"


def test_a_default_that_depends_on_another_follows_it() -> None:
    pool = load(
        {
            "LB_POOLS__P__BREAKER__EJECTION": "10m",
            "LB_POOLS__P__RETRY__BACKOFF": "1s",
            "LB_POOLS__P__ADAPTIVE__MIN_LIMIT": "2000",
            "LB_POOLS__P__TIMEOUTS__IDLE": "7s",
        }
    ).pools["p"]

    assert (pool.breaker.max_ejection, pool.retry.max_backoff, pool.adaptive.max_limit) == (600.0, 1.0, 2000)
    assert pool.timeouts.write == 7.0


@pytest.mark.parametrize("text", ["{0}\n{1}\n", "{0}\r\n{1}", "{0},{1}\n", '["{0}", "{1}"]\n'])
def test_keys_from_a_file_are_one_a_line_or_as_in_a_variable(tmp_path: Path, text: str) -> None:
    said = ("new" * 6, "old" * 6)

    keys = load({"LB_POOLS__A__STICKY__KEYS_FILE": write(tmp_path / "keys", text.format(*said))}).pools["a"].sticky.keys

    assert tuple(key.get_secret_value() for key in keys) == said


def test_no_key_is_shown_anywhere() -> None:
    settings = load({"LB_POOLS__A__STICKY__KEYS": f"{'hunter' * 3},{'hunter' * 4}"})

    shown = tree(settings)
    assert shown["pools"]["a"]["sticky"]["keys"] == ["**********"] * 2
    assert shown["pools"]["a"]["sticky"]["cookie"] == "l7lb"
    assert "hunter" not in f"{shown}{settings!r}{settings}{settings.model_dump_json()}"


def test_routes_in_one_line_are_groups() -> None:
    settings = load(
        {
            "LB_ROUTES": "/apiA=a; /apiB = b; /=a; *.Example.org/x=b; example.org/x=b;",
            "LB_POOLS__A__BACKENDS": "http://h",
            "LB_POOLS__B__BACKENDS": "http://h",
        }
    )

    assert {name: (group.host, group.path, group.pool) for name, group in settings.groups.items()} == {
        "apia": ((), "/apiA", "a"),
        "apib": ((), "/apiB", "b"),
        "root": ((), "/", "a"),
        "example_org_x": (("*.example.org",), "/x", "b"),
        "example_org_x_2": (("example.org",), "/x", "b"),
    }
    assert settings.origins["groups.apia.pool"] == "LB_ROUTES"


def test_a_group_of_the_one_line_can_be_added_to() -> None:
    environ = {"LB_ROUTES": "/apiA=a", "LB_POOLS__A__BACKENDS": "http://h", "LB_GROUPS__APIA__STRIP_PREFIX": "true"}

    group = load(environ).groups["apia"]

    assert (group.path, group.pool, group.strip_prefix) == ("/apiA", "a", True)


def test_a_group_that_says_otherwise_than_the_one_line_is_refused() -> None:
    text = refused({"LB_ROUTES": "/apiA=a", "LB_POOLS__A__BACKENDS": "http://h", "LB_GROUPS__APIA__PATH": "/other"})

    assert text == (
        "LB_ROUTES: routes: groups.apia has another path than routes; "
        "say it in one of the two places, or name the group other than 'apia'"
    )


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, "none"),
        ({"RATE": "5/s"}, "token_bucket"),
        ({"RATE": "5/s", "KIND": "none"}, "none"),
        ({"KIND": "fixed_window"}, "fixed_window"),
    ],
)
def test_a_limiter_is_on_as_soon_as_it_is_given(said: dict[str, str], kind: str) -> None:
    settings = load({f"LB_RATE_LIMIT__{name}": value for name, value in said.items()})

    assert settings.rate_limit.kind == kind


def test_the_demo_s_limit() -> None:
    assert load({"LB_RATE_LIMIT__RATE": "100/m"}).rate_limit.rate == Rate(100, 60)


def test_an_empty_token_is_no_token() -> None:
    """`LB_ADMIN__TOKEN=${TOKEN:-}` in a compose file must not open the control plane to an empty one."""
    assert load({"LB_ADMIN__TOKEN": ""}).admin.token is None


def test_a_token_from_a_file_has_no_line_end(tmp_path: Path) -> None:
    token = load({"LB_ADMIN__TOKEN_FILE": write(tmp_path / "token", "s3cret\n")}).admin.token

    assert token is not None
    assert token.get_secret_value() == "s3cret"


def test_a_default_of_the_probes_shrinks_with_the_interval() -> None:
    health = load({"LB_POOLS__P__HEALTH__INTERVAL": "500ms"}).pools["p"].health

    assert (health.interval, health.down_interval, health.transition_interval, health.timeout) == (0.5, 0.5, 0.5, 0.5)


def test_dotenv_lines_that_are_none_are_warned_of(tmp_path: Path) -> None:
    file = write(
        tmp_path / ".env",
        "# a comment\n\nexport LB_INITIAL_GRACE='7s'\nthis is nothing = \x00 'x\nOTHER=1\nLB_NOPE=1\n",
    )

    settings = load({}, env_file=Path(file))

    assert settings.initial_grace == 7.0
    assert settings.origins["initial_grace"] == f"{file}:3"
    assert [warning.split(":")[1] for warning in settings.warnings] == ["4", "6"]


def test_a_directory_named_dotenv_is_left_alone(tmp_path: Path) -> None:
    assert load({}, env_file=tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LB_POOL__A__BACKENDS", "write LB_POOLS__A__BACKENDS"),
        ("LB_POOLS__A__STRATEGI", "write LB_POOLS__A__STRATEGY"),
        ("LB_RATE_LIMIT_RATE", "write LB_RATE_LIMIT__RATE"),
        ("LB_TRUSTED_PROXYS", "write LB_TRUSTED_PROXIES"),
        ("LB_POOLS__A__HEALTH__INTERVALL", "write LB_POOLS__A__HEALTH__INTERVAL"),
        ("LB_SERVICE_PORT_9000_TCP_ADDR", "remove it"),
        ("LB_", "remove it"),
        ("LB_POOLS__A____X", "remove it"),
    ],
)
def test_a_variable_that_nothing_reads_is_warned_of(name: str, hint: str) -> None:
    """With its name, never with its value, which may be a secret."""
    assert load({name: "hunter2"}).warnings == (f"{name}: nothing reads this variable; {hint}",)


def test_what_is_allowed_and_hardly_meant_is_warned_of() -> None:
    settings = load(
        {
            "LB_POOLS__A__STRATEGY": "first",
            "LB_POOLS__B__BACKENDS": "https://h|weight=0",
            "LB_POOLS__B__TLS__VERIFY": "no",
            "LB_ROUTES": "/=a",
        }
    )

    assert [warning.split("; ")[0] for warning in settings.warnings] == [
        "LB_POOLS__A__BACKENDS: pools.a.backends: a pool without backends answers 503",
        "LB_POOLS__B__BACKENDS: pools.b.backends: every backend has weight 0, so the pool answers 503",
        "LB_POOLS__B__BACKENDS: pools.b: no group uses this pool",
        "LB_POOLS__B__TLS__VERIFY: pools.b.tls.verify: certificates are not verified",
    ]


# What is said beside a group and a pool that are right; what is doubtful about it.
DOUBTFUL = [
    ({"LB_POOLS__A__STICKY__KEYS": "0123456789abcdef"}, "LB_POOLS__A__STICKY__KEYS: pools.a.sticky: it is off"),
    ({"LB_POOLS__A__HEDGE__MIN_DELAY": "1s"}, "LB_POOLS__A__HEDGE__MIN_DELAY: pools.a.hedge: it is off"),
    ({"LB_POOLS__A__ADAPTIVE__MAX_LIMIT": "9"}, "LB_POOLS__A__ADAPTIVE__MAX_LIMIT: pools.a.adaptive: it is off"),
    ({"LB_POOLS__A__HEDGE__ENABLED": "no", "LB_POOLS__A__HEDGE__MIN_DELAY": "1s"}, ""),
    ({"LB_POOLS__A__BREAKER__SLOW_RATIO": "20%"}, "LB_POOLS__A__BREAKER__SLOW_RATIO: pools.a.breaker.slow_ratio: no"),
    ({"LB_POOLS__A__BREAKER__SLOW_RATIO": "20%", "LB_POOLS__A__BREAKER__SLOW": "1s"}, ""),
    ({"LB_POOLS__A__QUEUE__SIZE": "5"}, "LB_POOLS__A__QUEUE__SIZE: pools.a.queue: nothing waits"),
    ({"LB_POOLS__A__QUEUE__SIZE": "5", "LB_POOLS__A__MAX_IN_FLIGHT": "5"}, ""),
    ({"LB_POOLS__A__QUEUE__SIZE": "5", "LB_POOLS__A__BACKENDS": "http://h|max_in_flight=1"}, ""),
    ({"LB_POOLS__A__QUEUE__SIZE": "5", "LB_POOLS__A__ADAPTIVE__ENABLED": "on"}, ""),
    ({"LB_POOLS__A__BACKENDS": "http://h|level=1"}, "LB_POOLS__A__BACKENDS: pools.a.backends: levels are for"),
    ({"LB_POOLS__A__RETRY__METHODS": "GET,post"}, "LB_POOLS__A__RETRY__METHODS: pools.a.retry.methods: a POST may be"),
    ({"LB_GROUPS__G__FAULT__DELAY": "1s"}, "LB_GROUPS__G__FAULT__DELAY: groups.g.fault: it hits everybody"),
    ({"LB_GROUPS__G__FAULT__DELAY": "1s", "LB_GROUPS__G__FAULT__HEADER": "x-fault"}, ""),
    ({"LB_GROUPS__G__MIRROR__POOL": "a"}, "LB_GROUPS__G__MIRROR__POOL: groups.g.mirror: the pool gets its own"),
    ({"LB_POOLS__B__BACKENDS": "http://i"}, "LB_POOLS__B__BACKENDS: pools.b: no group uses this pool"),
    ({"LB_POOLS__B__BACKENDS": "http://i", "LB_GROUPS__G__FALLBACK": "b"}, ""),
    ({"LB_POOLS__B__BACKENDS": "http://i", "LB_GROUPS__G__MIRROR__POOL": "b"}, ""),
    ({"LB_POOLS__B__BACKENDS": "http://i", "LB_GROUPS__H__SPLIT__POOLS": "a=1,b=0"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("said", "doubt"), DOUBTFUL, ids=lambda item: " ".join(item) if isinstance(item, dict) else "")
def test_what_does_nothing_or_harm_is_warned_of(said: dict[str, str], doubt: str) -> None:
    warnings = load({"LB_GROUPS__G__POOL": "a", "LB_POOLS__A__BACKENDS": "http://h", **said}).warnings

    assert len(warnings) == bool(doubt)
    assert all(warning.startswith(doubt) for warning in warnings)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"one": {"pool": "a"}, "two": {"path": "/b", "pool": "b"}}, ["pools.b.sticky"]),
        ({"one": {"pool": "a"}, "two": {"path": "/c", "pool": "c"}, "three": {"split": {"pools": {"b": 1}}}},
         ["pools.b.sticky"]),
        ({"one": {"split": {"pools": {"a": 1, "b": 1}}}}, []),
        ({"one": {"host": "a.org", "pool": "a"}, "two": {"host": "b.org", "pool": "b"}}, []),
        ({"one": {"pool": "a"}, "two": {"path": "/b", "pool": "a"}}, []),
        ({"one": {"pool": "a"}, "two": {"path": "/d", "pool": "d"}}, []),
        ({"one": {"pool": "a"}, "two": {"path": "/e", "pool": "e"}}, []),
    ],
)  # fmt: skip
def test_pools_that_take_each_other_s_cookie_away_are_warned_of(groups: dict[str, object], told: list[str]) -> None:
    """A client of both would lose its backend with each change between them."""
    sticky = {"enabled": True, "keys": ["0123456789abcdef"]}
    pools = {
        "a": {"sticky": sticky},
        "b": {"sticky": sticky},
        "c": {},
        "d": {"sticky": {**sticky, "cookie": "d"}},
        "e": {"sticky": {**sticky, "path": "/e"}},
    }

    warnings = load(groups=groups, pools=pools).warnings

    assert [warning.split(": ")[1] for warning in warnings if "the same cookie" in warning] == told
