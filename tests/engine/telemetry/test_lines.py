"""Log lines: as in tests/golden/log, and nothing that is sent to us can forge one."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.bucket import TokenBucket
from app.domain.errors import BadRequest, ConnectFailed, ProxyError, RateLimited, ResponseTimeout
from app.domain.exchange import Exchange
from app.engine.telemetry.lines import LINES, LONGEST, Line
from settings.pools import BackendSettings
from settings.resilience import HealthSettings
from settings.units import Rate

GOLDEN = Path(__file__).parents[2] / "golden" / "log"
WALL = 1_767_225_500.25
"""Monotonic 99.75 is 2026-01-01T00:00:00Z."""

every_line = pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
hostile = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    st.sampled_from('"\\\r\n\t [],:{}\x00\x1b\x7f\x85\xa0\xff'), max_size=30
)


def exchange(client: str = "192.0.2.7", method: str = "GET", host: str = "example.org", path: str = "/a") -> Exchange:
    made = Exchange(99.751, client, "https", method, host, path)
    made.ended = 99.7635
    made.request_id = "req-1"
    return made


def backend(number: int) -> Backend:
    return Backend("api", BackendSettings(url="http://10.0.0.1", id=f"b{number}"), HealthSettings())


def attempt(number: int, connected: float, first_byte: float, error: ProxyError | None = None) -> Attempt:
    made = Attempt(backend(number), 99.752)
    made.connected, made.first_byte, made.error = connected, first_byte, error
    made.status = 0 if error else 200
    return made


def fine() -> Exchange:
    made = exchange(path="/api/caf%C3%A9")
    made.group, made.pool, made.status, made.bytes_in, made.bytes_out = "web", "api", 200, 12, 3456
    made.queued = 0.0005
    made.attempts = [attempt(1, 99.7525, 99.762)]
    return made


def let_in() -> Exchange:
    made = fine()
    made.user = 'Alice "the\r\nQueen" \u0416'
    return made


def retried() -> Exchange:
    made = exchange(method="PUT")
    made.group, made.pool, made.status = "web", "api", 504
    made.error = ResponseTimeout("b2 was silent for 15 s")
    made.attempts = [attempt(1, 0.0, 0.0, ConnectFailed("refused")), attempt(2, 99.752, 0.0, made.error)]
    return made


def unreachable() -> Exchange:
    made = exchange()
    made.group, made.pool, made.status, made.error = "web", "api", 502, ConnectFailed("b1 refused the connection")
    made.attempts = [attempt(1, 0.0, 0.0, made.error)]
    return made


def refused_by_the_edge() -> Exchange:
    made = exchange(method="", host="", path="")
    made.request_id = ""
    made.status, made.error = 400, BadRequest('a "quoted"\r\nfield name')
    return made


def limited(*, dry_run: bool) -> Exchange:
    made = exchange(client="2001:db8::7")
    rule = TokenBucket("default", Rate(1, 60.0), 1, dry_run=dry_run)
    made.limit = rule.take(rule.take(0, 99.0)[0], 99.5)[1]
    made.status = 200 if dry_run else 429
    made.error = None if dry_run else RateLimited("limiter default")
    return made


def forged() -> Exchange:
    made = exchange(
        client='10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1\n10.0.0.2',
        method='G"\\',
        host='x","status":200,"y":"\u2028',
        path='/\r\n{"time":"2026"}\x1b[31m\xe9\x00',
    )
    made.status = 404
    return made


CASES = {
    "fine": fine,
    "let_in": let_in,
    "retried": retried,
    "unreachable": unreachable,
    "edge": refused_by_the_edge,
    "limited": lambda: limited(dry_run=False),
    "dry_run": lambda: limited(dry_run=True),
    "forged": forged,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("kind", "suffix"), [("json", "json"), ("common", "txt")])
def test_lines_are_as_written_down(case: str, kind: str, suffix: str) -> None:
    """A changed line is a change for whoever reads the log, and shows as one."""
    assert LINES[kind](CASES[case](), WALL) == (GOLDEN / f"{case}.{suffix}").read_text("ascii")


def test_every_golden_line_belongs_to_a_case() -> None:
    """Nothing is left over."""
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@given(hostile, hostile, hostile, hostile, hostile, hostile, hostile)
def test_json_holds_whatever_is_sent(
    client: str, method: str, host: str, path: str, request_id: str, detail: str, user: str
) -> None:
    """One line, ASCII, one object, and every value comes back as it was."""
    made = exchange(client, method, host, path)
    made.request_id, made.error, made.user = request_id, BadRequest(detail), user

    text = LINES["json"](made, WALL)

    assert re.fullmatch(r"[ -~]*\n", text)
    found = json.loads(text, object_pairs_hook=lambda pairs: (len(pairs), dict(pairs)))
    assert found[0] == len(found[1])
    names = ("client", "method", "host", "path", "request_id", "detail")
    assert [found[1][name] for name in names] == [client, method, host, path, request_id, detail]
    assert found[1].get("user", "") == user


@given(hostile, hostile, hostile, hostile)
def test_no_part_of_a_common_line_can_be_forged(client: str, method: str, path: str, user: str) -> None:
    """One line, ASCII, and spaces, quotes and brackets only where the format has them."""
    made = exchange(client, method or "GET", "h", path)
    made.user = user
    text = LINES["common"](made, WALL)

    word = r"(?:[!#-\[\]-~]|\\x[0-9a-f]{2})*"
    assert re.fullmatch(rf'{word} - {word} \[01/Jan/2026:00:00:00 \+0000\] "{word} {word} HTTP/1\.1" - -\n', text)


@every_line
@pytest.mark.parametrize("text", ["a", '"', "\n", "\xff", "\U0001f600"])
def test_no_line_is_longer_than_a_pipe_takes_at_once(line: Line, text: str) -> None:
    """Long fields are shortened, and say so; the line stays whole."""
    text *= 60_000
    made = exchange(text, text, text, text)
    made.request_id, made.error, made.group = text, BadRequest(text), text
    made.pool = text

    found = line(made, WALL)

    assert found.endswith("\n")
    assert len(found.encode("ascii")) <= LONGEST
    assert "..." in found


def test_a_long_field_alone_leaves_the_rest() -> None:
    """As much of it as fits, by halves."""
    found = json.loads(LINES["json"](exchange(path="/" + "x" * 5000), WALL))

    assert found["path"] == "/" + "x" * 1023 + "..."
    assert found["host"] == "example.org"
