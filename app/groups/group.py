"""One group: what answers its requests, with the layers that it asked for around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from app.domain.fields import FieldRules
from app.domain.location import Location
from app.domain.rewrite import Target
from app.domain.routing import Rule
from app.groups.answers import FixedResponse, Redirect
from app.middleware.rate_limit import Limiter, RateLimit
from settings.problems import Wrong

if TYPE_CHECKING:
    from app.engine.asgi import ASGIApp
    from settings.groups import GroupSettings

ForwarderFactory = Callable[[str, "GroupSettings"], "ASGIApp"]


def build_group(
    name: str, settings: GroupSettings, *, forwarder_factory: ForwarderFactory, limiters: Mapping[str, Limiter]
) -> ASGIApp:
    """The app of one group.

    Args:
        name: of the group.

        settings: of the group.

        forwarder_factory: makes the app that forwards, for a group with a pool.

        limiters: by name; a limiter of kind none is not there, and costs nothing.

    Raises:
        Wrong: as `problems` says it.
    """
    app: ASGIApp
    if settings.redirect is not None:
        app = Redirect(settings.redirect, Target.of(settings), FieldRules.of(settings.response_headers))
    elif settings.respond is not None:
        app = FixedResponse(settings.respond, FieldRules.of(settings.response_headers))
    else:
        app = forwarder_factory(name, settings)
    if settings.limit is not None and settings.limit in limiters:
        app = RateLimit(app, limiter=limiters[settings.limit])  # inside the gateway: it may count by group
    return app


def problems(groups: Mapping[str, GroupSettings]) -> Iterable[tuple[tuple[str, ...], Wrong]]:
    """All that keeps *groups* from being built, each with its place in the settings."""
    for name, settings in groups.items():
        for place, build in _parts(name, settings):
            try:
                build()
            except Wrong as wrong:
                yield ("groups", name, *place, *wrong.at), wrong


def _parts(name: str, settings: GroupSettings) -> Iterable[tuple[tuple[str, ...], Callable[[], object]]]:
    yield (), lambda: Rule(name, settings, 0)
    yield (), lambda: Target.of(settings)
    yield ("request_headers",), lambda: FieldRules.of(settings.request_headers)
    yield ("response_headers",), lambda: FieldRules.of(settings.response_headers)
    if (redirect := settings.redirect) is not None:
        yield (), lambda: Location.of(redirect)
