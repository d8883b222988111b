"""What only the parts that use a setting can say of it: routes that match nothing, kinds that are not there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from app.domain.affinity import affinity_of
from app.domain.fields import field_name
from app.domain.registry import Registry
from app.domain.routing import RouteTable
from app.domain.strategies import STRATEGIES
from app.edge.certificates import certificate
from app.edge.tls import Guard
from app.engine.caches import CACHES
from app.engine.discovery import SOURCES
from app.engine.transport import trust
from app.groups.group import problems
from app.renewal import authorities
from settings.explain import meaning
from settings.models import Choice
from settings.problems import Problem, SettingsError, Wrong
from settings.root import Settings
from settings.shape import variable
from settings.tls import CertificateSettings, ClientCertificateSettings

_AUTHORITIES = "write the path of a PEM file with the certificates of the authorities"
_CERTIFICATE = "write the path of a PEM file with the certificate chain, and that of its key, without a password"


def plan(settings: Settings) -> RouteTable:
    """The route table of *settings*. Raises SettingsError with everything that could not be built."""
    found = list(_problems(settings))
    if found:
        raise SettingsError(found)
    return RouteTable.build(settings.groups)


def _problems(settings: Settings) -> Iterator[Problem]:
    for path, wrong in problems(settings.groups):
        yield _problem(settings, path, wrong.message, wrong.fix)
    for name, group in settings.groups.items():
        if group.split is not None:
            yield from _key(settings, ("groups", name, "split", "key"), group.split.key)
        if group.cache is not None:
            yield from _key(settings, ("groups", name, "cache", "key"), group.cache.key)
    for name, choice in settings.caches.items():
        yield from _choice(settings, ("caches", name), CACHES, choice)
    for name, pool in settings.pools.items():
        yield from _choice(settings, ("pools", name, "strategy"), STRATEGIES, pool.strategy)
        if pool.source is not None:
            yield from _choice(settings, ("pools", name, "source"), SOURCES, pool.source)
        yield from _key(settings, ("pools", name, "affinity"), pool.affinity)
        if pool.timeouts.header is not None:
            try:
                field_name(pool.timeouts.header)
            except Wrong as wrong:
                yield _problem(settings, ("pools", name, "timeouts", "header"), wrong.message, "write another name")
        if pool.tls.ca is not None:
            yield from _usable(
                settings,
                ("pools", name, "tls", "ca"),
                _AUTHORITIES,
                trust.context,
                pool.tls.model_copy(update={"cert": None, "key": None}),
            )
        if pool.tls.cert is not None:
            yield from _usable(settings, ("pools", name, "tls", "cert"), _CERTIFICATE, trust.context, pool.tls)
    for files in settings.tls.certificates:
        yield from _usable(settings, ("tls", "certificates"), _CERTIFICATE, _load, files)
    if settings.tls.client.ca is not None:
        yield from _usable(settings, ("tls", "client", "ca"), _AUTHORITIES, _guard, settings.tls.client)
    acme = settings.tls.acme
    if acme.domains and any(find_spec(module) is None for module in ("acme", "josepy")):
        yield _problem(settings, ("tls", "acme", "domains"), "acme is not installed", "pip install l7lb[acme]")
    if acme.ca is not None:
        yield from _usable(settings, ("tls", "acme", "ca"), _AUTHORITIES, authorities, acme.ca)


def _load(files: CertificateSettings) -> None:
    certificate(_server, files.cert, files.key)


def _guard(client: ClientCertificateSettings) -> None:
    Guard(client).stand(_server())


def _server() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def _usable(
    settings: Settings, path: tuple[str, ...], fix: str, make: Callable[..., Any], *given: Any
) -> Iterator[Problem]:
    """What keeps *make* from using the files of *given*, said at *path*."""
    try:
        make(*given)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        named = [file for what in given[:1] if (file := getattr(what, "cert", None)) and path[-1] != "ca"]
        reason = getattr(error, "strerror", None) or str(error)
        what = f"{named[0]} cannot be used" if named else "it cannot be used"
        yield _problem(settings, path, f"{what} ({reason})", fix)


def _choice(settings: Settings, path: tuple[str, ...], registry: Registry[Any], choice: Choice) -> Iterator[Problem]:
    """What keeps *registry* from making *choice*, said at *path*."""
    try:
        registry.options(choice)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            place = (*path, *map(str, detail["loc"]))
            wrong = detail.get("ctx", {}).get("error")
            if isinstance(wrong, Wrong):
                yield _problem(settings, (*place, *wrong.at), wrong.message, wrong.fix)
            else:
                yield _problem(settings, place, *meaning(place, detail))
    except ValueError as error:
        message, _, hint = " ".join(str(error).split()).partition("; ")
        yield _problem(settings, path, message, hint or f"write one of {', '.join(registry)}")


def _key(settings: Settings, path: tuple[str, ...], parts: Sequence[str]) -> Iterator[Problem]:
    """What keeps *parts*, said at *path*, from being an affinity key."""
    try:
        affinity_of(parts)
    except ValueError as error:
        fix = "write module:function of what can be imported here, or client, path, header:<name> and the like"
        yield _problem(settings, path, str(error), fix)


def _problem(settings: Settings, path: tuple[str, ...], message: str, fix: str) -> Problem:
    text = ".".join(path)
    near = (origin for known, origin in settings.origins.items() if f"{known}.".startswith(f"{text}."))
    return Problem(text, settings.origins.get(text) or next(near, variable(path)), message, fix)
