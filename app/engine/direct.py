"""The second driver: an ordinary exchange carried by callbacks, without a task and without ASGI messages.

The same decisions in the same order as on the general path, by the same functions; only who calls them is different.

    request head --Direct--> layers, route, pick --Passage--> backend's connection --progress()--> answer

What is not ordinary goes on along the general path from the point where it is, and is not begun again: a group that
does not forward or sends PROXY headers, no kept connection at hand, a response that is not whole when its head is
there, an error to answer.
A request with a body, and the control plane, take the general path from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from app.domain.exchange import Exchange
from app.engine.asgi import Waits
from app.engine.forward import Forwarder
from app.engine.passage import Edge, Passage, raising

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Receive, Scope, Send

Enter = Callable[[Exchange, "Fields"], None]
"""What a layer does on the way in. Raises ProxyError, or Waits when it has to wait for something this time."""
_ESCAPED: Final = 0x25  # "%" by its number, see app/edge/protocol.py
Find = Callable[[str, bytes, str, "Fields", bytes, str], str]
"""Host, raw path, method, fields, query, client: the name of the group. Raises ProxyError."""


Answer = tuple[int, bytes, "Fields", bytes]
"""Status, the lines of the fields that are made already, further fields, body."""


class Answering(Protocol):
    """What may have the whole answer at hand: a cache."""

    def visit(self, exchange: Exchange, headers: Fields, target: bytes) -> Any:
        """Look a request up."""

    def at_hand(self, visit: Any, *, lines: bool) -> Answer | None:
        """The answer, noted on the exchange; None where `go_on` has to be awaited. With *lines*, some are made."""

    async def go_on(self, visit: Any, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest of the way, as an ASGI app."""


class Lane(NamedTuple):
    """A group that forwards, or may have answers at hand: one of both.

    Attributes:
        layers: its own.
    """

    layers: Sequence[Enter]
    forwarder: Forwarder | None
    answering: Answering | None


def way_in(app: ASGIApp) -> tuple[Sequence[Enter], ASGIApp]:
    """What the layers around an app do on the way in, outermost first; and the app that they are around."""
    layers: list[Enter] = []
    while (enter := getattr(app, "enter", None)) is not None:
        layers.append(enter)
        app = app.app  # type: ignore[attr-defined]  # every layer has one
    return tuple(layers), app


def _lane(layers: Sequence[Enter], end: ASGIApp) -> Lane | None:
    if isinstance(end, Forwarder):
        return None if end.introduces else Lane(layers, end, None)
    return Lane(layers, None, cast(Answering, end)) if hasattr(end, "at_hand") else None


def _answer(passage: Passage, lane: Lane, target: bytes) -> None:
    """Answer from what is at hand, or go on."""
    answering = lane.answering
    assert answering is not None
    visit = answering.visit(passage.exchange, passage.headers, target)
    answer = answering.at_hand(visit, lines=True)
    if answer is None:
        passage.resume(partial(answering.go_on, visit))
    else:
        passage.answer(*answer)


class Direct:
    """The driver.

    Args:
        prefix: of the paths of the control plane.

        find: routes.

        around: what stands around everything on the general path: rescue, and the closing of the record.

        close: hands on the record of a finished exchange.
    """

    def __init__(
        self,
        *,
        prefix: bytes,
        find: Find,
        around: Callable[[ASGIApp], ASGIApp],
        close: Callable[[Exchange], None],
    ) -> None:
        self._prefix = prefix
        self._below = prefix + b"/"
        self._layers: tuple[Enter, ...] | None = None
        self._find = find
        self._apps: Mapping[str, ASGIApp] = {}
        self._lanes: dict[str, Lane] = {}
        self._around = around
        self._close = close

    def follow(self, layers: Sequence[Enter] | None, apps: Mapping[str, ASGIApp]) -> None:
        """Go by these from the next request on.

        Args:
            layers: what stands before routing, outermost first; None, when one of them has to wait for something, so
                that nothing can be carried here.

            apps: all groups.
        """
        self._apps = apps
        ways = {name: way_in(app) for name, app in apps.items()}
        self._lanes = {name: lane for name, way in ways.items() if (lane := _lane(*way)) is not None}
        self._layers = tuple(layers) if layers is not None else None

    def __call__(
        self, edge: Edge, method: bytes, target: bytes, headers: Fields, http11: bool, keep_alive: bool
    ) -> bool:
        """Carry one request without a body. False, and nothing has happened, when it is not for us."""
        path, _, query = target.partition(b"?")
        layers = self._layers
        if path.startswith(self._below) or path == self._prefix or _ESCAPED in path or layers is None:
            return False  # escapes: for those who decode them
        host = ""
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1")
                break
        peer = edge.client[0] if edge.client is not None else "unix"
        exchange = Exchange(monotonic(), peer, edge.scheme, method.decode("ascii"), host, path.decode("latin-1"))
        passage = Passage(edge, self._around, self._close, exchange, target, headers, http11, keep_alive)
        edge.begin(passage)
        try:
            for enter in layers:
                enter(exchange, headers)
            exchange.group = group = self._find(host, path, exchange.method, headers, query, exchange.client)
            lane = self._lanes.get(group)
            if lane is None:
                passage.resume(self._apps[group])
                return True
            for enter in lane.layers:
                enter(exchange, headers)
            forwarder = lane.forwarder
            if forwarder is not None:
                passage.start(forwarder, forwarder.prepare(exchange, headers, target))
            else:
                _answer(passage, lane, target)
        except Waits as waits:
            passage.resume(waits.layer)
        except Exception as error:  # whatever it is, rescue knows what to make of it
            passage.resume(raising(error))
        return True
