"""The bench: its arithmetic, its tables, what it tells the proxies and the load. No proxy runs, nothing is loaded."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import __main__ as command_line
from scripts.bench import backends, plot, pythons, report, talk
from scripts.bench.bulk import BLOCK, Backend, download, upload
from scripts.bench.figures import Sample, quartiles, ratios, summary
from scripts.bench.load import Load, command, reading
from scripts.bench.peers import PEERS, fronts, ours
from scripts.bench.processes import cpu_ns, free_ports, tree, wait_for_port
from scripts.bench.scenarios import SCENARIOS
from scripts.bench.scenarios.rate import open_loop
from scripts.bench.site import BODY, ROOT, TARGET, Interpreter, Missing, Peer, Site, first_line
from scripts.bench.stage import Asked, Stage, Unplayable

memory = importlib.import_module("scripts.bench.scenarios.memory")

HERE = Interpreter("/python", "3.11.7", pgo=False)
PGO = Interpreter("/pgo/python", "3.11.2", pgo=True)
SAID = """
finished in 200.00ms, 10.00 req/s, 3.20MB/s
requests: 2 total, 2 started, 2 done, {good} succeeded, 0 failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 3.30KB (3456) total, 500B (500) headers (space savings 0.00%), 2.00KB ({data}) data
"""


def one(cpu_us: float, wrong: int = 0, **more: float) -> Sample:
    return {"cpu_us": cpu_us, "rps": 1000.0, **more, "wrong": wrong}


def peer(name: str = "nginx", **more: Any) -> Peer:
    return Peer(name, ["false"], 1, "1.0", **more)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, (8081, 8082, 8083), tls=False, python=HERE)


@pytest.fixture
def told() -> dict[str, Any]:
    """What a run of two scenarios writes."""
    rounds = {"nginx": [one(10), one(10), one(20)], "l7lb": [one(20), one(25), one(60)], "naive": [one(3000)] * 3}
    of = {"about": "small GET <&>", "own_rows": False, "compared": ("cpu_us",), "figures": summary(rounds, ("cpu_us",))}
    return {
        "machine": {"cpu": "A & B", "cores": 2},
        "pythons": {"Python 3.11.7 without PGO": ""},
        "conditions": {"rounds": 3},
        "scenarios": {"get": of, "groups": of | {"own_rows": True}},
    }


def test_the_ratio_is_taken_in_each_round_and_then_the_median() -> None:
    """A noisy round is noisy for both, so it must not show: medians of the two apart would give 60 / 20 = 3."""
    rounds = {"nginx": [one(10), one(40), one(20)], "l7lb": [one(20), one(80), one(60)]}
    figures = summary(rounds, ("cpu_us",))
    assert figures["l7lb"]["ratio"]["cpu_us"]["median"] == 2.0
    assert figures["l7lb"]["cpu_us"]["median"] == 60
    assert ratios(rounds, "l7lb", "cpu_us") == {"nginx": 2.0}
    assert figures["nginx"]["ratio"]["cpu_us"] == {"q1": 1.0, "median": 1.0, "q3": 1.0}


def test_there_is_no_ratio_to_nothing() -> None:
    """nginx grows by no page for an idle connection."""
    rounds = {"nginx": [{"idle_kib": 0.0, "wrong": 0}], "l7lb": [{"idle_kib": 9.0, "wrong": 0}]}
    figures = summary(rounds, ("idle_kib",))
    assert figures["l7lb"]["ratio"] == ratios(rounds, "l7lb", "idle_kib") == {}
    assert report.table(figures, ("idle_kib",)).splitlines()[-1].split() == ["l7lb", "9.0", "-", "0"]


def test_quartiles_of_one_round_are_that_round() -> None:
    assert quartiles([3.0]) == {"q1": 3.0, "median": 3.0, "q3": 3.0}


def test_wrong_answers_show_in_the_table() -> None:
    text = report.table(summary({"nginx": [one(10)], "l7lb": [one(20, wrong=7)]}, ("cpu_us",)), ("cpu_us",))
    head, _, _, last = text.splitlines()
    assert head.split()[-1] == "wrong"
    assert last.split() == ["l7lb", "20.0", "2.00", "1000", "7"]


def test_the_table_has_quartiles_where_there_were_several_rounds() -> None:
    figures = summary({"nginx": [one(10)] * 3, "l7lb": [one(20), one(30), one(40)]}, ("cpu_us",))
    assert "30.0 (25.0-35.0)  3.00 (2.50-3.50)" in report.table(figures, ("cpu_us",))


@pytest.mark.parametrize(("good", "data", "wrong"), [(2, 2048, 0), (1, 2048, 1), (2, 2047, 1), (0, 0, 2)])
def test_a_slice_counts_what_was_not_answered_right(good: int, data: int, wrong: int) -> None:
    said = SAID.format(good=good, bad=2 - good, data=data)
    sample = reading(said, "1\t200\t1000\n2\t200\t3000\n", 10_000_000, 2)
    assert sample == {"cpu_us": 5000.0, "rps": 10.0, "p50_ms": 3.0, "p99_ms": 3.0, "wrong": wrong}


def test_a_load_generator_that_says_something_else_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="h2load said nothing of"):
        reading("could not connect", "", 1, 1)


def test_what_the_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench.load.load_generator", lambda: "h2load")

    def words(**more: Any) -> list[str]:
        return command(peer(target="/g"), Load(100, 4, **more), tmp_path)

    assert words()[:8] == ["h2load", "--h1", "-t", "1", "-c", "4", "-n", "100"]
    assert (words()[-1], words(tls=True)[-1]) == ("http://127.0.0.1:1/g", "https://127.0.0.1:1/g")
    assert words(close=True)[-3:-1] == ["-H", "Connection: close"]
    assert "--rps=2.5000" in words(rps=10)
    assert f"--data={tmp_path / 'body'}" in words(body=10)
    assert (tmp_path / "body").stat().st_size == 10


def test_streams_are_as_many_requests_at_a_time_on_fewer_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.bench.load.load_generator", lambda: "h2load")
    for asked, connections in ((64, "16"), (1, "1")):
        words = command(peer(streams=4), Load(100, asked), tmp_path)
        assert words[:9] == ["h2load", "-m", "4", "-t", "1", "-c", connections, "-n", "100"]


def test_the_open_loop_is_at_60_percent_in_whole_rounds_of_its_connections() -> None:
    load = open_loop(10_000, seconds=2.0)
    assert load.rps == 6000
    assert (load.connections, load.requests % load.connections) == (120, 0)
    assert load.rps / load.connections <= 50


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_can_be_asked_for_and_has_l7lb(name: str) -> None:
    asked = command_line.arguments(["--scenario", name, "--quick"])
    assert asked.scenario == [name]
    assert any(row.startswith("l7lb") for row in SCENARIOS[name].rows)
    if not SCENARIOS[name].own_rows:
        assert set(SCENARIOS[name].rows) <= set(PEERS)


def test_all_are_all_and_an_unknown_peer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.arguments(["--all"]).scenario == list(SCENARIOS)
    assert command_line.arguments([]).scenario == ["get"]
    with pytest.raises(SystemExit):
        command_line.arguments(["--peers", "nginx,apache"])
    assert "no such peer: apache" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in PEERS if not name.startswith(("l7lb", "naive", "aiohttp"))])
@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_forwards_from_loopback_only(
    name: str, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its program is here or not: its configuration names the backend, the certificate, no other address."""
    module = importlib.import_module(PEERS[name].__module__)
    for finds in ("program", "binary"):
        if hasattr(module, finds):
            monkeypatch.setattr(module, finds, lambda *_: "/program")
    monkeypatch.setattr(backends, "program", lambda *_: "/program")
    monkeypatch.setattr(module, "first_line", lambda _: "1.0")
    monkeypatch.setattr(module, "built", lambda *_: "/program", raising=False)
    for pair in ("cert.pem", "key.pem"):
        (tmp_path / pair).write_text("")
    built = PEERS[name](Site(tmp_path, (8081,), tls, HERE))
    files = [path.read_text() for path in tmp_path.iterdir()]
    words = "\n".join([*built.command, *files])
    assert "8081" in words
    assert str(built.port) in words
    assert ("cert.pem" in words or "both.pem" in words) == tls
    assert "0.0.0.0" not in words


def test_a_missing_peer_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(pythons, "CACHE", pythons.ROOT / ".run" / "nowhere")
    stage = Stage(Asked(pythons=(("", HERE),)), tmp_path, (0, 1), backends.small)
    stage.ports = (8081,)
    names = ("caddy", "go", "traefik", "haproxy", "envoy", "aiohttp")
    assert stage.set_up({name: PEERS[name] for name in names}, tls=False) == []
    said = capsys.readouterr().out
    assert all(f"{name} is missing: " in said for name in names)
    assert all(how in said for how in ("apt-get install caddy", "apt-get install golang-go", "--install"))


def test_rows_of_ours_are_there_once_for_each_interpreter(tmp_path: Path) -> None:
    """The others are there once; a second build stands beside under its own name."""
    stage = Stage(Asked(pythons=(("", HERE), (f"@{PGO.label}", PGO))), tmp_path, (0, 1), backends.small)
    stage.ports = (8081,)
    seen = []

    def build(site: Site) -> Peer:
        seen.append(site.python)
        return peer()

    names = [one.name for one in stage.set_up({"nginx": build, "l7lb": build}, tls=False)]
    assert names == ["nginx", "l7lb", "l7lb@3.11.2-pgo"]
    assert seen == [HERE, HERE, PGO]


def test_rounds_go_to_and_fro_and_the_first_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(Asked(rounds=2), tmp_path, (0, 1), backends.small)
    visited: list[str] = []

    def visit(at: Peer, pid: int) -> Sample:
        visited.append(at.name)
        return one(len(visited))

    rounds = stage.rounds({"a": (peer("a"), 1), "b": (peer("b"), 2)}, visit)
    assert visited == ["b", "a", "a", "b", "b", "a"]
    assert [sample["cpu_us"] for sample in rounds["a"]] == [3, 6]
    assert "round 2 of 2" in capsys.readouterr().out


def test_without_the_first_proxy_there_is_nothing_to_compare_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(Asked(), tmp_path, (min(os.sched_getaffinity(0)),) * 2, backends.small)
    with contextlib.ExitStack() as ending, pytest.raises(Unplayable):
        stage.start_all([peer("nginx")], lambda _: None, ending)
    assert "nginx is left out: it has ended" in capsys.readouterr().out


def test_l7lb_is_set_up_for_each_scenario(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LB_LOG__FORMAT", "off")  # what the caller has must not change what is measured
    env = ours.l7lb(site).env
    assert env["LB_ROUTES"].count("=a") == 100
    assert "LB_LOG__FORMAT" not in env
    assert ours.l7lb(site).target == TARGET
    assert ours.with_groups(1000)(site).target == "/g500/item/1"
    assert ours.with_groups(1)(site).env["LB_ROUTES"] == "/g000=a"
    assert ours.with_backends(2)(site).env["LB_POOLS__A__BACKENDS"] == "http://127.0.0.1:8081,http://127.0.0.1:8082"
    assert ours.with_workers(2)(site).command[-2:] == ["--workers", "2"]


@pytest.mark.parametrize(
    ("status", "said"), [(2, "LB_EDGE__DRIVER: not a driver"), (0, "warning: LB_EDGE__DRIVER: nothing reads this")]
)
def test_the_second_driver_has_a_row_where_there_is_one(
    status: int, said: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(status: int, said: str) -> None:
        done = type("Done", (), {"returncode": status, "stdout": said, "stderr": ""})
        monkeypatch.setattr("subprocess.run", lambda *_, **__: done)

    ran(status, said)
    with pytest.raises(Missing, match="LB_EDGE__DRIVER=direct"):
        ours.l7lb_direct(site)
    ran(0, "ok: 100 groups")
    assert ours.l7lb_direct(site).env["LB_EDGE__DRIVER"] == "direct"


@pytest.mark.parametrize("server", fronts.FRONTS)
def test_l7lb_under_another_server_is_set_up_as_under_uvicorn(server: str, tmp_path: Path) -> None:
    site = Site(tmp_path, (8081,), tls=False, python=Interpreter(sys.executable, "3.11.7", pgo=False))
    built, plain = fronts.under(server)(site), ours.l7lb(site)
    assert (built.env, built.target, built.streams) == (plain.env, plain.target, 4)
    assert any(word.endswith(str(built.port)) for word in built.command)
    assert built.version.startswith(f"{server} ")
    assert "0.0.0.0" not in " ".join(built.command)


def test_a_server_that_is_not_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(fronts.FRONTS, "l7lb-none", fronts.FRONTS["granian"])
    here = Interpreter(sys.executable, "3.11.7", pgo=False)
    stage = Stage(Asked(pythons=(("", here),)), tmp_path, (0, 1), backends.small)
    stage.ports = (8081,)
    assert stage.set_up({"l7lb none": fronts.under("l7lb-none")}, tls=False) == []
    assert "l7lb none is missing: pip install l7lb-none" in capsys.readouterr().out


def test_one_haproxy_is_the_backend_of_both_versions_of_http(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "program", lambda *_: "haproxy")
    command, (first, second) = backends.both(tmp_path)
    config = Path(command[-1]).read_text()
    assert (f"bind 127.0.0.1:{first}\n" in config, f"bind 127.0.0.1:{second} proto h2\n" in config) == (True, True)
    by_row = {row: build(site).env for row, build in SCENARIOS["h2c"].rows.items()}
    assert {row: env["LB_POOLS__A__BACKENDS"] for row, env in by_row.items()} == {
        "l7lb asgi http": "http://127.0.0.1:8081",
        "l7lb asgi h2c": "h2c://127.0.0.1:8082",
        "l7lb direct http": "http://127.0.0.1:8081",
        "l7lb direct h2c": "h2c://127.0.0.1:8082",
    }
    assert {row: env["LB_EDGE__DRIVER"] for row, env in by_row.items()} == {row: row.split()[1] for row in by_row}


@pytest.fixture
def bulk_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_large_bodies_are_checked_byte_by_byte(bulk_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides compare; one byte that is another makes it wrong."""
    assert download(bulk_port, "/x", 2)[1]
    assert upload(bulk_port, "/x", 2)[1]
    changed = BLOCK[:-1] + bytes([BLOCK[-1] ^ 1])
    with contextlib.closing(HTTPConnection("127.0.0.1", bulk_port)) as client:
        client.request("POST", "/x", BLOCK + changed)
        assert client.getresponse().status == 400
    monkeypatch.setattr(Backend, "do_GET", lambda self: (self.start(200, len(changed)), self.wfile.write(changed)))
    assert not download(bulk_port, "/x", 1)[1]
    monkeypatch.setattr(Backend, "do_POST", lambda self: (self.rfile.read(len(BLOCK)), self.start(400, 0)))
    assert not upload(bulk_port, "/x", 1)[1]


def test_a_connection_that_was_closed_does_not_count_as_idle() -> None:
    ours_side, theirs = socket.socketpair()
    with ours_side, theirs:
        assert memory.still_open(ours_side)
        theirs.close()
        assert not memory.still_open(ours_side)


def test_the_picture_has_a_bar_for_each_proxy_and_cuts_the_long_ones(told: dict[str, Any]) -> None:
    """Rows of l7lb against itself are not drawn; names are escaped; nothing is outside the picture."""
    picture = ET.fromstring(plot.drawn(told))
    texts = ["".join(text.itertext()) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    bars = list(picture.iter("{http://www.w3.org/2000/svg}rect"))
    assert "get: small GET <&> (times nginx)" in texts
    assert not any(text.startswith("groups") for text in texts)
    assert [bar.get("class") for bar in bars] == ["bar", "ours", "bar"]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert widths[1] == pytest.approx(widths[0] * 2.5, rel=0.01)
    assert widths[2] == plot.WIDTH - plot.LEFT - plot.RIGHT
    assert any(text.endswith("(cut)") for text in texts)


def test_a_run_that_cannot_be_drawn_says_so(told: dict[str, Any]) -> None:
    told["scenarios"].pop("get")
    with pytest.raises(ValueError, match="no scenario that can be drawn"):
        plot.drawn(told)


def test_a_run_is_written_as_json_and_drawn_from_it(told: dict[str, Any], tmp_path: Path) -> None:
    path = report.write(tmp_path / "results", told)
    assert plot.drawn(json.loads(path.read_text())) == plot.drawn(told)


def test_an_interpreter_that_is_none_is_named() -> None:
    with pytest.raises(Missing, match="/no/python is not a Python that runs"):
        pythons.interpreter("/no/python")
    assert pythons.interpreter(pythons.HERE).path


def test_the_version_is_the_first_line_that_says_something() -> None:
    assert first_line(["printf", r"\n  a version \nmore\n"]) == "a version"


def test_ports_are_different() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50


def test_the_thousand_backends_are_one_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "program", lambda *_: "nginx")
    _, ports = backends.several(tmp_path, 20)
    config = (tmp_path / "backend.conf").read_text()
    assert all(f"listen 127.0.0.1:{port};" in config for port in ports)
    assert BODY.decode() in config


def test_cpu_time_grows_with_work() -> None:
    """The kernel brings the figure up to date when it looks at the process, which is not at once."""
    before = cpu_ns(os.getpid())
    for _ in range(1000):
        if cpu_ns(os.getpid()) > before:
            break
        sum(range(100_000))
    assert cpu_ns(os.getpid()) > before > 0
    assert tree(os.getpid())[0] == os.getpid()


@pytest.fixture
def talking_port(tmp_path: Path) -> Iterator[int]:
    """The backend of the WebSocket scenario, as a program."""
    command, (port,) = backends.talking(tmp_path)
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for_port(process, port)
    yield port
    process.terminate()
    process.wait()


def test_messages_are_answered_and_counted(talking_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, p50, wrong = talk.talk(talking_port, "/", 100, 4)
    assert (seconds > 0, p50 > 0, wrong) == (True, True, 0)

    monkeypatch.setattr(talk, "ANSWER", b"\x82\x7d" + b"b" * talk.SIZE)
    assert talk.talk(talking_port, "/", 100, 4)[2] == 100


def test_the_backend_of_messages_answers_probes(talking_port: int) -> None:
    connection = HTTPConnection("127.0.0.1", talking_port, timeout=10)
    for _ in range(2):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b""
    connection.close()
