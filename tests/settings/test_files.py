"""The settings file: its lines, and everything that can be wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from settings import Settings
from settings.files import file
from settings.load import load
from settings.problems import SettingsError


def loaded(path: Path, content: str | bytes) -> Settings:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load({}, env_file=path.parent / "none", config=path)


def refused(path: Path, content: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(path, content)
    return str(caught.value).replace(f"{path}:", "")


TOML = """\
# A comment.
routes = "/x=a"

[pools.a]
backends = [
  "http://h:1",   # the first
  "http://h:2",
]
strategy = { kind = "first" }
tls.verify = true
[pools . "a" . health]
body = '''
interval = nothing
'''
interval = "7s"

[[pools.b.backends]]
url = "http://h:3"
[[pools.b.backends]]
weight = 2
url = "http://h:4"
[edge]
max_headers = 7
"""


def test_every_key_of_a_toml_file_has_its_line(tmp_path: Path) -> None:
    """A key inside a text of several lines is none."""
    path = tmp_path / "lb.toml"
    settings = loaded(path, TOML.replace("\n", "\r\n"))

    lines = {".".join(map(str, place)): int(where.rsplit(":", 1)[1]) for place, where in file(path).origins.items()}

    assert lines == {
        "routes": 2, "pools.a": 4, "pools.a.backends": 5, "pools.a.backends.0": 5, "pools.a.backends.1": 5,
        "pools.a.strategy": 9, "pools.a.strategy.kind": 9, "pools.a.tls": 10, "pools.a.tls.verify": 10,
        "pools.a.health": 11, "pools.a.health.body": 12, "pools.a.health.interval": 15, "pools.b.backends.0": 17,
        "pools.b.backends.0.url": 18, "pools.b.backends.1": 19, "pools.b.backends.1.weight": 20,
        "pools.b.backends.1.url": 21, "edge": 22, "edge.max_headers": 23,
    }  # fmt: skip
    assert [backend.weight for backend in settings.pools["b"].backends] == [1, 2]
    assert settings.origins["pools.a.health.interval"] == f"{path}:15"


def test_every_key_of_a_yaml_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lb.yml"
    text = """\
limits: {}
pools:
  a:
    health:
      interval: 9s
      rise: 5
    backends:
      - http://h
      - {url: http://i, weight: 3}
groups:
"""

    settings = loaded(path, text)

    assert settings.pools["a"].health.rise == 5
    assert settings.origins["pools.a.health.interval"] == f"{path}:5"
    assert settings.origins["pools.a.backends"] == f"{path}:7"


def test_yaml_may_say_things_once(tmp_path: Path) -> None:
    """Anchors, aliases and merges work, and what is merged has the line where it is written."""
    text = "pools:\n  a: &a\n    strategy: first\n    health: {rise: 4}\n  b:\n    <<: *a\n    strategy: random\n"

    settings = loaded(tmp_path / "lb.yaml", text)

    assert (settings.pools["b"].strategy.kind, settings.pools["b"].health.rise) == ("random", 4)
    assert settings.origins["pools.b.health.rise"].endswith(":4")
    assert settings.origins["pools.b.strategy.kind"].endswith(":7")


TOML_PROBLEMS = [
    ('state = 5', "1: state: not a table: 5; write its settings one by one"),
    ('[pool.a]\nx = 1', '1: pool: there is no such setting; did you mean "pools"?'),
    ('[pools.a]\nstratgy = "first"', '2: pools.a.stratgy: there is no such setting: "first"; did you mean "strategy"?'),
    ('[pools.a]\ninterval = "5s"', '2: pools.a.interval: there is no such setting: "5s"; it belongs in pools'),
    ('[pools.a]\nfoo = 1', "2: pools.a.foo: there is no such setting: 1; write one of backends, source, strategy"),
    ('[pools.a]\nbackends = [{url = "http://h", wait = 1}]', "2: pools.a.backends.0.wait: there is no such setting"),
    ('[pools.a]\nbackends = [{weight = 1}]', "2: pools.a.backends.0.url: it is missing; write url"),
    ('[pools.a]\nbackends = 5', '2: pools.a.backends: not a list: 5; write ["a", "b"], or "a,b"'),
    ('[pools.A]', "1: pools.A: not a name: \"A\"; write lower-case letters"),
    ('[drain]\ngrace = 5', '2: drain.grace: not a duration: 5; write one with its unit'),
    ('[drain]\ngrace = 5.5', '2: drain.grace: not a duration: "5.5"; write one with its unit'),
    ('drain = 5', "1: drain: not a table: 5; write its settings one by one"),
    ('pools = 5', "1: pools: not a table: 5; write names and values"),
    ('pools = 1979-05-27', "1: pools: not a table; write names and values"),
    ('routes = 5', "1: routes: not text: 5; write it in quotes"),
    ('config = "other.toml"', "1: config: a file cannot name another one; remove it"),
    ('[groups.g]\npool = "a"\n', '2: groups.g.pool: there is no pool "a"; add pools.a'),
    ('[groups.g]', "1: groups.g: the group answers nothing; write one of pool, split, redirect or respond"),
    ('state = "auto"\nx = ', "2: invalid value"),
    ('a = [', "1: invalid value"),
    ('a = 1\na = 2\n', "2: cannot overwrite a value"),
    ('x = ' + "9" * 5000, "1: not TOML; write TOML"),
    ('x = ' + "[" * 5000, "1: nested too deep; write it flatter"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), TOML_PROBLEMS)
def test_a_wrong_toml_file_is_answered_with_its_line_and_the_fix(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path / "lb.toml", text).startswith(said)


BOMB = "b: &b [1]\n" + "".join(f"b{i}: &b{i} [{','.join([f'*b{i - 1}' if i else '*b'] * 10)}]\n" for i in range(9))
YAML_PROBLEMS = [
    ("state: x", "1: state.place: not a place"),
    ("pools:\n  a:\n    stratgy: first", '3: pools.a.stratgy: there is no such setting: "first"; did you mean'),
    ("a: [", "1: expected the node content"),
    ("a: 'x", "1: found unexpected end of stream"),
    ("- a", "1: not a table of settings"),
    ("just words", "1: not a table of settings"),
    ("5: x", "1: a key that is not text, so put it in quotes"),
    ("state: auto\nstate: memory", '2: "state" is there twice'),
    ("pools: &a\n  x: *a", "1: an alias inside itself"),
    ("a: !!python/object:os.system {}", "1: could not determine a constructor"),
    ("a: 2024-99-99", "the file cannot be read (month must be in 1..12)"),
    ("--- {}\n--- {}", "2: but found another document"),
    ("a: *b", "1: found undefined alias"),
    ("a: \x01", "1: special characters are not allowed"),
    ("a: " + "[" * 3000, "1: nested too deep"),
    (BOMB, "an alias inside itself, or too many"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), YAML_PROBLEMS)
def test_a_wrong_yaml_file_is_answered_with_its_line_and_the_fix(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path / "lb.yaml", text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for name in ("lb.toml", "lb.yaml"):
        assert "the file cannot be read (not UTF-8 text)" in refused(tmp_path / name, b"\x80\xff\x00binary")


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert "the file cannot be read (over 4 MiB)" in refused(tmp_path / "lb.toml", b"#" * (4 * 1024 * 1024 + 1))


@pytest.mark.parametrize("name", ["lb.json", "lb", "lb.txt"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    assert "give it a name that ends in .toml or .yaml" in refused(tmp_path / name, "{}")


@pytest.mark.parametrize("name", [".", "none.toml", "a\0b.toml"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="the file cannot be read"):
        load({"LB_CONFIG": str(tmp_path / name)}, env_file=tmp_path / "none")


@pytest.mark.parametrize("name", ["lb.toml", "lb.yaml"])
def test_a_half_written_file_loads_or_is_refused_whatever_its_length(tmp_path: Path, name: str) -> None:
    """Whoever writes the file may be anywhere in it: never anything but settings or a SettingsError."""
    text = (
        TOML if name == "lb.toml" else "pools:\n  a:\n    backends: ['http://h']\n    health: {path: /x}\nroutes: /=a\n"
    )

    outcomes = set()
    for length in range(len(text)):
        try:
            outcomes.add(type(loaded(tmp_path / name, text[:length])))
        except SettingsError as error:
            outcomes.add(type(error))

    assert outcomes == {Settings, SettingsError}


@hypothesis(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.text("[]{}=\"'.,:-&*!#\n 5abpools", max_size=60).map(str.encode),
    toml=st.booleans(),
)
def test_no_content_is_answered_with_anything_but_problems(tmp_path: Path, content: bytes, toml: bool) -> None:
    try:
        loaded(tmp_path / ("lb.toml" if toml else "lb.yaml"), content)
    except SettingsError as error:
        outcome = bool(error.problems)
    else:
        outcome = True
    assert outcome
