"""One exchange as one line of text, in JSON or in the Common Log Format. Nothing that was sent to us can forge one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii  # written in C
from typing import Final

from app.domain.exchange import Exchange

LONGEST: Final = 4096
"""Bytes of a line with its end: what the kernel writes to a pipe in one piece (PIPE_BUF)."""

Line = Callable[[Exchange, float], str]
"""Makes the line of an exchange, with its end, all ASCII; the second argument makes wall-clock time of monotonic."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in any locale
_UNSAFE: Final = re.compile(r"[^!#-\[\]-~]")

_THOUSANDTHS: Final = tuple(f".{number:03}" for number in range(1000))
_PLAIN: Final[dict[str, str]] = {}
_REMEMBERED: Final = 4096


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
    second, millisecond = divmod(int((exchange.started + wall) * 1000), 1000)
    backend, connect, ttfb = '""', "null", "null"
    attempts = exchange.attempts
    if attempts:
        last = attempts[-1]
        backend = _quoted(last.backend.id, longest)
        if last.connected:
            connect = _ms(last.connected - last.started)
        if last.first_byte:
            ttfb = _ms(last.first_byte - last.started)
    reason = detail = '""'
    if (error := exchange.error) is not None:
        reason, detail = _quoted(error.error_type, longest), _quoted(error.detail, longest)
    limit, limited = exchange.limit, ""
    if limit is not None and not limit.allowed:
        limited = f',"limited":{_quoted(limit.limiter, longest)},"dry_run":{"true" if limit.rule.dry_run else "false"}'
    cache = f',"cache":"{exchange.cache}"' if exchange.cache else ""
    if exchange.user:
        limited += f',"user":{_quoted(exchange.user, longest)}'
    return "".join(
        (
            '{"time":"', _rfc3339.text(second), _THOUSANDTHS[millisecond],
            'Z","client":', _quoted(exchange.client, longest),
            ',"method":', _quoted(exchange.method, longest),
            ',"scheme":', _quoted(exchange.scheme, longest),
            ',"host":', _quoted(exchange.host, longest),
            ',"path":', _quoted(exchange.path, longest),
            ',"status":', str(exchange.status),
            ',"bytes_in":', str(exchange.bytes_in),
            ',"bytes_out":', str(exchange.bytes_out),
            ',"group":', _quoted(exchange.group, longest),
            ',"pool":', _quoted(exchange.pool, longest),
            ',"backend":', backend,
            ',"attempts":', str(len(attempts)),
            ',"total_ms":', _ms(exchange.ended - exchange.started),
            ',"queue_ms":', _ms(exchange.queued),
            ',"connect_ms":', connect,
            ',"ttfb_ms":', ttfb,
            ',"reason":', reason,
            ',"detail":', detail,
            ',"request_id":', encode_basestring_ascii(_cut(exchange.request_id, longest)), cache, limited, "}\n",
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
        _UNSAFE.sub(_hex, _cut(text, longest))
        for text in (exchange.client, exchange.user or "-", exchange.method, exchange.path)
    )
    at = _clf.text(int(exchange.started + wall))
    request = f"{method} {path} HTTP/1.1" if method else "-"  # the edge refused what it could not read
    return f'{client} - {user} [{at}] "{request}" {exchange.status or "-"} {exchange.bytes_out or "-"}\n'


def _hex(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("latin-1", "replace"))


def _quoted(text: str, longest: int | None) -> str:
    """As JSON; what comes again and again is made once. Longer than *longest*, it is cut."""
    if longest is not None:
        return encode_basestring_ascii(_cut(text, longest))
    found = _PLAIN.get(text)
    if found is None:
        if len(_PLAIN) >= _REMEMBERED:
            _PLAIN.clear()
        found = _PLAIN[text] = encode_basestring_ascii(text)
    return found


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None or len(text) <= longest else text[:longest] + "..."


LINES: Final[dict[str, Line]] = {
    "json": json_line,
    "common": common_line,
}
