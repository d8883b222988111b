"""Groups that answer by themselves: a redirect, a fixed response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.location import Location
from app.engine.relay import respond

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.fields import FieldRules
    from app.domain.headers import Fields
    from app.domain.rewrite import Target
    from app.engine.asgi import Receive, Scope, Send
    from settings.groups import RedirectSettings, ResponseSettings


class Redirect:
    """Sends the client elsewhere.

    Args:
        target: rewrites the path that the template gets; None where it is the request's own.

        fields: changes to the response's fields.

    Raises:
        Wrong: when the template is none.
    """

    def __init__(self, settings: RedirectSettings, target: Target | None, fields: FieldRules | None) -> None:
        self._location = Location.of(settings)
        self._status = settings.status
        self._target = target
        self._fields = fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises BadRequest when its path or its Host cannot be led on."""
        exchange: Exchange = scope["lb.exchange"]
        path = exchange.path.encode("latin-1")
        if self._target is not None:
            path = self._target.apply(path)
        location = self._location.render(exchange.scheme, exchange.host, path, scope["query_string"])
        fields: Fields = [(b"location", location)]
        if self._fields is not None:
            fields = self._fields.apply(fields)
        await respond(scope, send, self._status, fields, b"")


class FixedResponse:
    """Answers every request with the same, made once.

    Args:
        fields: changes to the response's fields.
    """

    def __init__(self, settings: ResponseSettings, fields: FieldRules | None) -> None:
        self._status = settings.status
        self._body = settings.body.encode()
        own: Fields = [(b"content-type", settings.content_type.encode("latin-1"))] if self._body else []
        self._headers = fields.apply(own) if fields is not None else own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await respond(scope, send, self._status, self._headers, self._body)
