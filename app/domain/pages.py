"""How the errors of a group look: a page for a status or for a class of them."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from http import HTTPStatus

Page = tuple[str, str]
"""Content-Type and text."""


class Pages:
    """The pages of one group.

    Args:
        pages: by status or class, as in `404` and `5xx`; each is asked for when it is wanted.

        backend: whether errors that a backend answers are shown so, too.
    """

    __slots__ = ("_backend", "_pages")

    def __init__(self, pages: Mapping[str, Callable[[], Page]], *, backend: bool = False) -> None:
        self._pages = dict(pages)
        self._backend = backend

    def replaces(self, status: int) -> bool:
        """Whether a backend's answer with *status* is shown by a page."""
        return self._backend and self._find(status) is not None

    def render(self, status: int, request_id: str) -> tuple[str, str] | None:
        """Content-Type and text of the page for *status*; None where there is none."""
        found = self._find(status)
        if found is None:
            return None
        content_type, text = found()
        values = {"{status}": str(status), "{title}": phrase(status), "{request_id}": request_id}
        for name, value in values.items():
            if name in text:
                text = text.replace(name, html.escape(value) if "html" in content_type else value)
        return content_type, text

    def _find(self, status: int) -> Callable[[], Page] | None:
        return self._pages.get(str(status)) or self._pages.get(f"{status // 100}xx")


def phrase(status: int) -> str:
    """What *status* is called; "Error" for one that has no name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
