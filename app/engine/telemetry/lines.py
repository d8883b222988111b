"""One exchange as one line of text, in JSON or in the Common Log Format. Nothing that was sent to us can forge one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii  # written in C

from app.domain.exchange import Exchange

LONGEST = 4096
"""Bytes of a line with its end: what the kernel writes to a pipe in one piece (PIPE_BUF)."""

Line = Callable[[Exchange, float], str]
"""Makes the line of an exchange, with its end, all ASCII; the second argument makes wall-clock time of monotonic."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in any locale
_UNSAFE = re.compile(r"[^!#-\[\]-~]")

_THOUSANDTHS = tuple(f".{number:03}" for number in range(1000))
_PLAIN: dict[str, str] = {}
_REMEMBERED = 4096


class _Stamps:
    """Wall-clock seconds as text, the whole seconds made once."""

    def __init__(self, pattern: Callable[[time.struct_time], str]) -> None:
        self._pattern = pattern
        self._second = -1
        self._text = ""

    def text(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = self._pattern(time.gmtime(second))
        return self._text


_rfc3339 = _Stamps(lambda at: time.strftime("%Y-%m-%dT%H:%M:%S", at))
_clf = _Stamps(lambda at: f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S', at)} +0000")


def json_line(exchange: Exchange, wall: float) -> str:
    """A JSON object.

    `time` is when the request came, in UTC. `backend`, `connect_ms` and `ttfb_ms` are of the last attempt, null
    for what did not happen; `reason` is an error type of RFC 9209. `limited` is there when a limiter had no token,
    `user` when somebody was let in by name, `cache` when a cache was asked.
    """
    text = _json_text(exchange, wall, None)
    longest = 1024
    while len(text) > LONGEST:
        text = _json_text(exchange, wall, longest)
        longest //= 2
    return text


def _json_text(exchange: Exchange, wall: float, longest: int | None) -> str:
    quote: Callable[[str], str] = _quoted if longest is None else _quote_within(longest)
    second, millisecond = divmod(int((exchange.started + wall) * 1000), 1000)
    backend, connect, ttfb = '""', "null", "null"
    attempts = exchange.attempts
    if attempts:
        last = attempts[-1]
        backend = quote(last.backend.id)
        if last.connected:
            connect = _ms(last.connected - last.started)
        if last.first_byte:
            ttfb = _ms(last.first_byte - last.started)
    reason = detail = '""'
    if (error := exchange.error) is not None:
        reason, detail = quote(error.error_type), quote(error.detail)
    limit, limited = exchange.limit, ""
    if limit is not None and not limit.allowed:
        limited = f',"limited":{quote(limit.limiter)},"dry_run":{"true" if limit.rule.dry_run else "false"}'
    cache = f',"cache":"{exchange.cache}"' if exchange.cache else ""
    if exchange.user:
        limited += f',"user":{quote(exchange.user)}'
    return "".join(
        (
            '{"time":"', _rfc3339.text(second), _THOUSANDTHS[millisecond],
            'Z","client":', quote(exchange.client),
            ',"method":', quote(exchange.method),
            ',"scheme":', quote(exchange.scheme),
            ',"host":', quote(exchange.host),
            ',"path":', quote(exchange.path),
            ',"status":', str(exchange.status),
            ',"bytes_in":', str(exchange.bytes_in),
            ',"bytes_out":', str(exchange.bytes_out),
            ',"group":', quote(exchange.group),
            ',"pool":', quote(exchange.pool),
            ',"backend":', backend,
            ',"attempts":', str(len(attempts)),
            ',"total_ms":', _ms(exchange.ended - exchange.started),
            ',"queue_ms":', _ms(exchange.queued),
            ',"connect_ms":', connect,
            ',"ttfb_ms":', ttfb,
            ',"reason":', reason,
            ',"detail":', detail,
            ',"request_id":', quote(exchange.request_id), cache, limited, "}\n",
        )
    )  # fmt: skip


def _ms(seconds: float) -> str:
    """Milliseconds with three decimals."""
    if seconds < 0:
        return f"{seconds * 1000:.3f}"
    us = int(seconds * 1_000_000 + 0.5)
    return str(us // 1000) + _THOUSANDTHS[us % 1000]


def common_line(exchange: Exchange, wall: float) -> str:
    r"""The Common Log Format of NCSA httpd.

    An exchange does not know the client's HTTP version, nor is its query kept: the request line has HTTP/1.1 and
    the path. Whatever could end a part of the line is written as `\xhh`.
    """
    text = _common_text(exchange, wall, None)
    longest = 1024
    while len(text) > LONGEST:
        text = _common_text(exchange, wall, longest)
        longest //= 2
    return text


def _common_text(exchange: Exchange, wall: float, longest: int | None) -> str:
    client, user, method, path = (
        _UNSAFE.sub(_hex, text if longest is None else _cut(text, longest))
        for text in (exchange.client, exchange.user or "-", exchange.method, exchange.path)
    )
    at = _clf.text(int(exchange.started + wall))
    request = f"{method} {path} HTTP/1.1" if method else "-"  # the edge refused what it could not read
    return f'{client} - {user} [{at}] "{request}" {exchange.status or "-"} {exchange.bytes_out or "-"}\n'


def _hex(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("latin-1", "replace"))


def _quoted(text: str) -> str:
    """As JSON; what comes again and again is made once."""
    found = _PLAIN.get(text)
    if found is None:
        if len(_PLAIN) >= _REMEMBERED:
            _PLAIN.clear()
        found = _PLAIN[text] = encode_basestring_ascii(text)
    return found


def _quote_within(longest: int) -> Callable[[str], str]:
    return lambda text: encode_basestring_ascii(_cut(text, longest))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "..."


LINES: dict[str, Line] = {
    "json": json_line,
    "common": common_line,
}
