"""`l7lb check | config | routes`: what they print, where to, and how they exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from app import __version__
from app.cli import main

ROOT = Path(__file__).parents[2]
GOOD = {
    "LB_ROUTES": "/apiA=a; /apiB=b",
    "LB_POOLS__A__BACKENDS": "http://h:1",
    "LB_POOLS__B__BACKENDS": "http://h:2,http://h:3",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable and no .env of whoever runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith("LB_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_check_of_right_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(monkeypatch, GOOD)

    assert main(["check"]) == 0
    assert capsys.readouterr() == ("ok: 2 groups, 2 pools, 3 backends\n", "")


def test_check_of_nothing_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr().out == "ok: 0 groups, 0 pools, 0 backends\n"


def test_check_prints_every_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(monkeypatch, {**GOOD, "LB_EDGE__MAX_HEADERS": "0", "LB_INITIAL_GRACE": "10"})

    assert main(["check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("; ")[0] for line in err.splitlines()] == [
        'error: LB_EDGE__MAX_HEADERS: edge.max_headers: too small: "0"',
        'error: LB_INITIAL_GRACE: initial_grace: not a duration: "10"',
    ]


def test_check_warns_of_unknown_variables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(monkeypatch, {"LB_STAET": "memory"})

    assert main(["check"]) == 0
    assert capsys.readouterr().err == "warning: LB_STAET: nothing reads this variable; write LB_STATE\n"


# What only the parts that use a setting know.
UNBUILDABLE = [
    ({"LB_POOLS__A__AFFINITY": "no_such:key"}, "LB_POOLS__A__AFFINITY: pools.a.affinity: 'no_such:key'", "module:"),
    (
        {"LB_GROUPS__S__SPLIT__POOLS": "a=1,b=2", "LB_GROUPS__S__SPLIT__KEY": "no_such:key"},
        "LB_GROUPS__S__SPLIT__KEY: groups.s.split.key: 'no_such:key'", "module:",
    ),
    (
        {"LB_POOLS__A__TIMEOUTS__HEADER": "Content-Length"},
        "LB_POOLS__A__TIMEOUTS__HEADER: pools.a.timeouts.header: Content-Length belongs to", "another name",
    ),
    ({"LB_POOLS__A__STRATEGY": "round_robbin"}, "LB_POOLS__A__STRATEGY: pools.a.strategy: unknown kind", "round_robin"),
    (
        {"LB_POOLS__A__STRATEGY__KIND": "first", "LB_POOLS__A__STRATEGY__X": "3"},
        "LB_POOLS__A__STRATEGY__X: pools.a.strategy.x: ", "remove it",
    ),
    (
        {"LB_GROUPS__APIA__REWRITE": '{"pattern": "a", "to": "/\\\\7"}'},
        "LB_GROUPS__APIA__REWRITE: groups.apia.rewrite.to: ", "pattern",
    ),
    (
        {"LB_GROUPS__APIA__REQUEST_HEADERS__SET": "content-length=1"},
        "LB_GROUPS__APIA__REQUEST_HEADERS__SET: groups.apia.request_headers", "leave it out",
    ),
    ({"LB_GROUPS__R__REDIRECT__TO": "{nope}"}, "LB_GROUPS__R__REDIRECT__TO: groups.r.redirect.to: ", "nope"),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "begin", "has"), UNBUILDABLE)
@pytest.mark.parametrize("command", ["check", "routes"])
def test_what_cannot_be_built_is_a_problem_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    variables: dict[str, str],
    begin: str,
    has: str,
) -> None:
    say(monkeypatch, {**GOOD, **variables})

    assert main([command]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert begin in errors[0]
    assert has in errors[0]


def test_an_authority_that_is_none_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    say(monkeypatch, {**GOOD, "LB_POOLS__A__TLS__CA": str(file)})

    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith("error: LB_POOLS__A__TLS__CA: pools.a.tls.ca: it cannot be used")


def test_check_warns_of_groups_that_are_never_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, {**GOOD, "LB_GROUPS__LATE__PATH": "/apiA", "LB_GROUPS__LATE__POOL": "b"})

    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("warning: group ")
    assert "never reached" in err
    assert out.startswith("ok: 3 groups")


def test_config_prints_every_value_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[drain]\ngrace = "1m"\n')
    say(monkeypatch, {**GOOD, "LB_ADMIN__TOKEN": "hunter2", "LB_CONFIG": str(file)})

    assert main(["config"]) == 0
    out = capsys.readouterr().out
    lines = {line.split(" = ")[0]: line for line in out.splitlines()}
    assert "hunter2" not in out
    assert lines["admin.token"].split() == ["admin.token", "=", '"**********"', "#", "LB_ADMIN__TOKEN"]
    assert lines["drain.grace"].split() == ["drain.grace", "=", '"1m"', "#", f"{file}:2"]
    assert lines["drain.delay"].split() == ["drain.delay", "=", '"2s"', "#", "default"]
    assert lines["groups.apia.pool"].split() == ["groups.apia.pool", "=", '"a"', "#", "LB_ROUTES"]


def test_config_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    say(monkeypatch, GOOD)

    assert main(["config", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["groups.apib.path"] == {"value": "/apiB", "origin": "LB_ROUTES"}
    assert found["edge.max_headers"] == {"value": 100, "origin": "default"}


def test_routes_are_printed_in_order_of_precedence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lb.yaml"
    file.write_text(
        """\
pools: {a: {backends: "http://h"}}
groups:
  every: {pool: a}
  wild: {host: "*.example.org", redirect: "https://example.org{path}"}
  exact: {host: example.org, pool: a, method: get}
  post: {host: example.org, pool: a, path: /x, header: {x-v: "2"}}
  first: {path: /first, respond: {status: 404}, priority: 5}
  twin: {host: example.org, pool: a, method: get}
"""
    )

    assert main(["routes", "--config", str(file)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["GROUP", "PRIORITY", "HOST", "PATH", "MATCH", "CONDITIONS", "ANSWER", "LIMIT"]
    assert [row[0] for row in rows[1:7]] == ["first", "post", "exact", "twin", "wild", "every"]
    assert rows[2] == ["post", "0", "example.org", "/x", "prefix", "header=x-v:2", "pool", "a", "-"]
    assert rows[7][:3] == ["unreachable:", "group", "'twin'"]


def test_routes_as_json_and_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"groups": [], "overlaps": []}
    assert main(["routes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no groups: every path is answered 404"


def test_config_flag_goes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    say(monkeypatch, {"LB_CONFIG": "/nonexistent.toml"})
    (tmp_path / "mine.toml").write_text('log.format = "off"')

    assert main(["config", "--json", "--config", "mine.toml"]) == 0
    assert json.loads(capsys.readouterr().out)["log.format"] == {"value": "off", "origin": "mine.toml:1"}


@pytest.mark.parametrize("argv", [[], ["nothing"], ["check", "--nothing"]])
def test_wrong_arguments_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: l7lb" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"l7lb {__version__}\n")


@hypothesis(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["LB_POOLS__A__BACKENDS", "LB_ROUTES", "LB_GROUPS__G", "LB_GROUPS__G__HOST", "LB_POOLS", "LB_CONFIG"]
    ),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
    | st.text('{}[]":,=;|/apoolhtp*.~ ', max_size=40),
    command=st.sampled_from(["check", "config", "routes"]),
)
def test_no_value_is_answered_with_anything_but_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, command: str
) -> None:
    say(monkeypatch, {name: value})

    status = main([command])

    out, err = capsys.readouterr()
    monkeypatch.delenv(name)
    assert status in (0, 2)
    assert bool(status) == ("error: " in err)
    assert bool(out) == (status == 0)


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    path = os.environ["PATH"]
    command = [sys.executable, "-m", "app", *argv]
    return subprocess.run(command, cwd=ROOT, env={"PATH": path, **env}, capture_output=True, check=False)


@pytest.mark.parametrize("content", [b"\x80\xff", b"\0" * 100, b"pools: [", b"", "pools = '€".encode()])
@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_no_file_is_answered_with_a_traceback(tmp_path: Path, content: bytes, suffix: str) -> None:
    """As a process, for a terminal that knows ASCII only."""
    file = tmp_path / f"lb€{suffix}"
    file.write_bytes(content)

    found = run("check", "--config", str(file), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert found.returncode == (2 if content else 0)
    assert b"Traceback" not in found.stderr
    assert found.stderr.startswith(b"error: " if content else b"")


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`l7lb config | head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        found = subprocess.run(
            [sys.executable, "-m", "app", "config"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)

    assert (found.returncode, found.stderr) == (0, b"")
