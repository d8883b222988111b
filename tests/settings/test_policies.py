"""What an operator reads when a policy of a group is wrong: where, what, and what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.plan import plan
from settings.load import load
from settings.problems import SettingsError

NOWHERE = Path("/nonexistent/.env")
KEY = "a key of over sixteen characters"
URL = "https://login.example.org/keys"

# A table of the group, what it says, the place in it, and what is said of that.
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("access", {}, "", "it refuses nobody; write allow, deny, or both"),
    ("access", {"allow": ["lan"]}, "allow.0", 'not a network: "lan"; write an address'),
    ("cors", {"origins": ["example.org"]}, "origins.0", 'not an origin: "example.org"; write scheme and host'),
    ("cors", {"origins": ["https://a.org/"]}, "origins.0", "not an origin"),
    ("cors", {"origins": ["https://*.*.org"]}, "origins.0", "not an origin"),
    ("cors", {"origins": []}, "origins", "no origin may do anything; write some origins"),
    ("cors", {"origins": ["*"], "credentials": True}, "origins", "credentials for everybody"),
    ("cors", {"origins": ["null"], "credentials": True}, "origins", "credentials for everybody"),
    (
        "cors",
        {"origins": ["https://a.org"], "credentials": True, "headers": ["*"]},
        "headers",
        'with credentials, browsers take "*" for',
    ),
    ("cors", {"origins": ["*"], "methods": ["GET PUT"]}, "methods.0", 'not a token of HTTP: "GET PUT"'),
    ("basic_auth", {}, "users", "nobody could come in; write some users, or a users_file"),
    ("basic_auth", {"users": {"a:b": "x"}}, "users.a:b", "not a user's name"),
    ("basic_auth", {"users": {"a": "secret"}}, "users.a", "not a hash of a password that we know; write what"),
    ("basic_auth", {"users": {"a": "{SHA}x"}}, "users.a", "such a hash is as good as the password itself"),
    ("basic_auth", {"users_file": "/nonexistent"}, "users_file", "it cannot be used (No such file or directory)"),
    ("basic_auth", {"users_file": "pyproject.toml"}, "users_file", "it cannot be used (line 1: not of the form"),
    ("basic_auth", {"users": {"a": "x"}, "realm": '"'}, "realm", "there is a quote or a backslash in it"),
    ("basic_auth", {"users": {"a": "x"}, "failures": "10"}, "failures", 'not a rate: "10"; write one such as'),
    ("api_key", {"keys": {}}, "keys", "nobody could come in; write some keys"),
    ("api_key", {"keys": {"alice": "short"}}, "keys.alice", "a key of under 16 characters, which can be guessed"),
    ("api_key", {"keys": {"alice": "sha256:abc"}}, "keys.alice", 'not a SHA-256; write "sha256:" and 64 hex'),
    ("api_key", {"keys": {"Alice": KEY}}, "keys.Alice", "not a name"),
    ("api_key", {"keys": {"alice": KEY}, "query": "a&b"}, "query", 'not the name of a parameter: "a&b"'),
    ("api_key", {"keys": {"alice": KEY}, "owner_header": "Content-Length"}, "owner_header", "belongs to one"),
    ("jwt", {"keys_url": URL}, "algorithms", "it is missing; write algorithms"),
    ("jwt", {"algorithms": ["none"], "keys_url": URL}, "algorithms.0", 'not known: "none"; write'),
    ("jwt", {"algorithms": [], "keys_url": URL}, "algorithms", "no way of signing is accepted"),
    ("jwt", {"algorithms": ["RS256"]}, "keys_url", "there is nothing to verify with; write keys_url"),
    ("jwt", {"algorithms": ["RS256"], "keys_url": URL, "keys_file": "x"}, "keys_file", "keys_url and keys_file at"),
    ("jwt", {"algorithms": ["RS256"], "secret": KEY}, "algorithms", "a secret is no public key; write HS256"),
    ("jwt", {"algorithms": ["HS256", "RS256"], "keys_url": URL}, "algorithms", "HS256 signs with a secret, and"),
    ("jwt", {"algorithms": ["HS256"], "secret": "x" * 31}, "secret", "a secret of under 32 characters"),
    ("jwt", {"algorithms": ["RS256"], "keys_url": "login"}, "keys_url", 'not a URL: "login"; write one such as'),
    ("jwt", {"algorithms": ["RS256"], "keys_url": "http://u:p@h"}, "keys_url", "a user name or a fragment in it"),
    ("jwt", {"algorithms": ["RS256"], "keys_file": "/nonexistent"}, "keys_file", "it cannot be used (No such file"),
    ("jwt", {"algorithms": ["RS256"], "keys_file": "Makefile"}, "keys_file", "it cannot be used (there is no pub"),
    ("jwt", {"algorithms": ["RS256"], "keys_url": URL, "header": "Host "}, "header", "not a token of HTTP"),
    ("forward_auth", {"pool": "b"}, "pool", 'there is no pool "b"; write one that is there (a)'),
    ("forward_auth", {"pool": "a", "path": "verify"}, "path", 'not a path: "verify"; write one that starts with "/"'),
    ("forward_auth", {"pool": "a", "backend_fields": ["TE"]}, "backend_fields", "TE belongs to one connection"),
    ("errors", {"backend": True}, "", "there is no page; write some files, or texts"),
    ("errors", {"texts": {"200": "x"}}, "texts.200", "not a status of an error"),
    ("errors", {"texts": {"404": "x"}, "files": {"404": "x"}}, "texts", "404 has a file and a text; keep one"),
    ("errors", {"files": {"5xx": "README.md"}}, "files.5xx", "its name does not say what it is; give it a name"),
    ("errors", {"files": {"5xx": "/nonexistent.html"}}, "files.5xx", "it cannot be used (No such file or dir"),
    ("compression", {"codings": ["deflate"]}, "codings.0", 'not known: "deflate"; write'),
    ("compression", {"codings": []}, "codings", 'there is no way to compress; write some, such as "gzip"'),
    ("compression", {"level": 10}, "level", "too large: 10; write at most 9"),
    ("compression", {"types": ["html"]}, "types.0", 'not a media type: "html"; write one such as'),
]


@pytest.mark.parametrize(("table", "values", "at", "said"), WRONG, ids=lambda part: str(part)[:40])
def test_a_wrong_policy_is_answered_with_its_place_and_the_fix(
    table: str, values: dict[str, Any], at: str, said: str
) -> None:
    """And no secret is in the answer."""
    name = f"LB_GROUPS__G__{table}".upper()
    environ = {"LB_POOLS__A__BACKENDS": "http://h", "LB_GROUPS__G__POOL": "a", name: json.dumps(values)}
    with pytest.raises(SettingsError) as caught:
        plan(load(environ, env_file=NOWHERE))

    text = str(caught.value)
    assert f"groups.g.{table}{f'.{at}' if at else ''}: " in text
    assert said in text
    assert KEY not in text
    assert text.startswith("LB_GROUPS__G__")


def test_one_layer_can_ask_for_authorization() -> None:
    """Two of them could never both be content."""
    jwt = {"algorithms": ["RS256"], "keys_url": URL}
    environ = {
        "LB_POOLS__A__BACKENDS": "http://h",
        "LB_GROUPS__G__POOL": "a",
        "LB_GROUPS__G__BASIC_AUTH": '{"users": {"a": "x"}}',
        "LB_GROUPS__G__JWT": json.dumps(jwt),
    }
    with pytest.raises(SettingsError, match="basic_auth and jwt both want the Authorization field; keep one of them"):
        load(environ, env_file=NOWHERE)
    with pytest.raises(SettingsError, match="not a hash"):
        plan(load({**environ, "LB_GROUPS__G__JWT": json.dumps({**jwt, "header": "x-token"})}, env_file=NOWHERE))


@pytest.mark.parametrize(("package", "table", "values"), [
    ("jwt", "jwt", {"algorithms": ["RS256"], "keys_url": URL}),
    ("bcrypt", "basic_auth", {"users": {"a": "$2b$10$" + "a" * 53}}),
    ("brotli", "compression", {"codings": ["gzip", "br"]}),
])  # fmt: skip
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, table: str, values: dict[str, Any]
) -> None:
    """Only where it is needed, and with what to install."""
    monkeypatch.setitem(__import__("sys").modules, package, None)
    environ = {"LB_POOLS__A__BACKENDS": "http://h", "LB_GROUPS__G__POOL": "a"}
    environ[f"LB_GROUPS__G__{table}".upper()] = json.dumps(values)

    with pytest.raises(SettingsError, match=r"is not installed; pip install l7lb\[(auth|jwt|compression)\]"):
        plan(load(environ, env_file=NOWHERE))


def test_what_is_hardly_meant_is_warned_of() -> None:
    environ = {
        "LB_POOLS__A__BACKENDS": "http://h",
        "LB_GROUPS__G__POOL": "a",
        "LB_GROUPS__G__FORWARD_AUTH": '{"pool": "a", "away": "allow"}',
        "LB_GROUPS__G__API_KEY": json.dumps({"keys": {"a": KEY}, "query": "key"}),
    }
    warnings = "\n".join(load(environ, env_file=NOWHERE).warnings)

    assert "groups.g.forward_auth.away: while the pool cannot be asked, everybody is let in" in warnings
    assert "groups.g.api_key.query: a key in a URL is in logs and histories" in warnings


def test_keys_are_not_shown() -> None:
    """Neither in an error nor by `l7lb config`, in one variable or several."""
    from settings.redaction import redacted, shown
    from settings.view import tree

    for said in ({"LB_GROUPS__G__API_KEY__KEYS": f"alice={KEY}"}, {"LB_GROUPS__G__API_KEY__KEYS__ALICE": KEY}):
        settings = load({"LB_GROUPS__G__RESPOND__STATUS": "204", **said}, env_file=NOWHERE)
        assert KEY not in json.dumps(tree(settings))
    path = ("groups", "g", "api_key", "keys")
    assert KEY not in json.dumps(redacted(path, {"alice": KEY}))
    assert shown(path, f"alice={KEY}") == shown((*path, "alice"), KEY) == ""


def test_the_examples_of_the_page_can_be_used(tmp_path: Path) -> None:
    """Each alone, and all together where that is allowed; with the files that they name."""
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text().replace("/etc/l7lb", str(tmp_path))
    (tmp_path / "htpasswd").write_text("")
    (tmp_path / "5xx.html").write_text("<h1>oh</h1>")
    examples = [part.partition("```")[0] for part in page.split("```toml\n")[1:]]
    pools = '[pools.web]\nbackends = "http://h"\n[pools.login]\nbackends = "http://h"\n'
    whole = next(text for text in examples if "[groups.shop]" in text)

    def load_all(*texts: str) -> None:
        path = tmp_path / "l7lb.toml"
        path.write_text("\n".join([*texts, pools]))
        plan(load({}, env_file=NOWHERE, config=path))

    assert len(examples) == 9
    for text in examples:
        load_all(whole, *([text] if text != whole else []))
    load_all(whole, *[text for text in examples if text != whole and "[groups.shop.jwt]" not in text])
