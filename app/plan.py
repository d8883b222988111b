"""What only the parts that use a setting can say of it: routes that match nothing, kinds that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from app.domain.affinity import affinity_of
from app.domain.routing import RouteTable
from app.domain.strategies import STRATEGIES
from app.engine.transport import trust
from app.groups.group import problems
from settings.explain import meaning
from settings.problems import Problem, SettingsError
from settings.root import Settings
from settings.shape import variable


def plan(settings: Settings) -> RouteTable:
    """The route table of *settings*. Raises SettingsError with everything that could not be built."""
    found = list(_problems(settings))
    if found:
        raise SettingsError(found)
    return RouteTable.build(settings.groups)


def _problems(settings: Settings) -> Iterator[Problem]:
    for path, wrong in problems(settings.groups):
        yield _problem(settings, path, wrong.message, wrong.fix)
    for name, pool in settings.pools.items():
        try:
            STRATEGIES.options(pool.strategy)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = ("pools", name, "strategy", *map(str, detail["loc"]))
                yield _problem(settings, path, *meaning(path, detail))
        except ValueError as error:
            message, _, hint = " ".join(str(error).split()).partition("; ")
            fix = hint or f"write one of {', '.join(STRATEGIES)}"
            yield _problem(settings, ("pools", name, "strategy"), message, fix)
        try:
            affinity_of(pool.affinity)
        except ValueError as error:
            fix = "write module:function of what can be imported here, or client, path, header:<name> and the like"
            yield _problem(settings, ("pools", name, "affinity"), str(error), fix)
        if pool.tls.ca is not None:
            try:
                trust.context(pool.tls)
            except OSError as error:  # ssl.SSLError is one
                fix = "write the path of a PEM file with the certificates of the authorities"
                yield _problem(settings, ("pools", name, "tls", "ca"), f"it cannot be used ({error.strerror})", fix)


def _problem(settings: Settings, path: tuple[str, ...], message: str, fix: str) -> Problem:
    text = ".".join(path)
    near = (origin for known, origin in settings.origins.items() if f"{known}.".startswith(f"{text}."))
    return Problem(text, settings.origins.get(text) or next(near, variable(path)), message, fix)
