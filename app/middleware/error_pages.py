"""Has the errors of a group look as it says. Not in the stack of a group that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.domain.pages import Page, Pages
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from app.engine.kept_file import KeptFile
from settings.policies import ErrorSettings
from settings.problems import Wrong

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}


class ErrorPages:
    """Sets `exchange.pages`, for those who make an answer of what goes wrong."""

    def __init__(self, app: ASGIApp, *, pages: Pages) -> None:
        self.app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set them, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, _: Fields) -> None:
        """Set them."""
        exchange.pages = self._pages


def pages_of(settings: ErrorSettings) -> Pages:
    """The pages. Raises Wrong when a file is none."""
    found: dict[str, Callable[[], Page]] = {}
    for status, path in settings.files.items():
        found[status] = _file(status, path)
    for status, text in settings.texts.items():
        found[status] = partial(_same, (settings.content_type, text))
    return Pages(found, backend=settings.backend)


def _same(page: Page) -> Page:
    return page


def _file(status: str, path: Path) -> Callable[[], Page]:
    content_type = TYPES.get(path.suffix.lower())
    if content_type is None:
        fix = "give it a name that ends in .html, .txt or .json"
        raise Wrong("its name does not say what it is", fix, at=("files", status))
    try:
        return KeptFile(path, lambda text: (content_type, text)).get
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        fix = "write the path of a readable text file"
        raise Wrong(f"it cannot be used ({reason})", fix, at=("files", status)) from None
