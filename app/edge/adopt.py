"""Makes the plain `uvicorn app.main:app` the safe one: gives the edge to the uvicorn that runs us, before it listens.

The lifespan start-up is the place: `receive` is then a method of uvicorn's own lifespan object, which knows the
configuration, and the listeners open after it. What was said by flag is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, cast

from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.edge.certificates import ServerNames, certificate
from app.edge.descriptors import room, watch
from app.edge.drain import Drain, running_server
from app.edge.link import Link
from app.edge.protocol import EdgeProtocol
from app.edge.tls import SPOKEN, SUITES, Guard, identify, policy
from settings.problems import Problem, SettingsError
from settings.root import DrainSettings
from settings.tls import TlsSettings

log = logging.getLogger("l7lb")

UVICORN_KEEP_ALIVE = 5
"""What uvicorn's `--timeout-keep-alive` is when it is not given."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A uvicorn that is ours now.

    Attributes:
        config: its configuration.

        names: the certificates that it serves; None without TLS.
    """

    config: Config
    names: ServerNames | None
    drain: Drain | None

    def release(self) -> None:
        """Give back the signal."""
        if self.drain is not None:
            self.drain.release()


def adopt(receive: Callable[..., Any], *, link: Link, drain: DrainSettings, tls: TlsSettings) -> Adopted | None:
    """Set what was not set by flag, from inside the lifespan start-up whose *receive* this is.

    Raises SettingsError where clients' certificates are wanted and it is not our edge that reads the requests: their
    fields could be written by anybody.

    Returns None under another server, after one log line on what it has to do itself.
    """
    config = config_of(receive)
    asked = tls.client.ca is not None
    if config is None:
        if asked:
            raise _unasked("another server than uvicorn")
        _plain_hypercorn(receive)
        log.warning(
            "this server is not uvicorn: it has to limit by itself how long request heads and bodies take and "
            "connections are idle, to restrict TLS, and to finish what is on its way when it stops"
        )
        return None
    _headers(config)
    if config.timeout_graceful_shutdown is None:
        config.timeout_graceful_shutdown = ceil(drain.grace)
    names = _tls(config, tls) if config.ssl is not None else None
    server = running_server()
    stopping = Drain(server, link, drain.delay) if server is not None and server.config is config else None
    if config.http == "auto" and not config.http2:
        config.http_protocol_class = cast("type[asyncio.Protocol]", EdgeProtocol)
    elif not issubclass(config.http_protocol_class, EdgeProtocol):
        if asked:
            raise _unasked("--http")
        log.warning(
            "--http %s: limits and deadlines of the client's side (LB_EDGE__*) are not in force, trailers are added to "
            "the request's fields, and what is refused below the app is not logged",
            config.http if isinstance(config.http, str) else config.http_protocol_class.__name__,
        )
    link.crowd.most = room()
    watch(asyncio.get_running_loop())
    if config.timeout_keep_alive != UVICORN_KEEP_ALIVE:
        link.said["keep_alive"] = float(config.timeout_keep_alive)
        link.follow(link.settings)
    link.identify = partial(identify, chain=tls.client.chain) if asked else None
    return Adopted(config, names, stopping)


def config_of(receive: Callable[..., Any]) -> Config | None:
    """The configuration of the uvicorn whose lifespan *receive* this is, also behind its trace logging; else None."""
    candidates = [receive, *(cell.cell_contents for cell in getattr(receive, "__closure__", None) or ())]
    for candidate in candidates:
        owner = getattr(candidate, "__self__", None)
        if isinstance(owner, LifespanOn):
            return owner.config
    return None


def _plain_hypercorn(receive: Callable[..., Any]) -> None:
    """No Date and Server beside the backend's, where it is hypercorn."""
    owner: Any = getattr(receive, "__self__", None)
    if type(owner).__module__ == "hypercorn.asyncio.lifespan":
        config = owner.config
        config.include_date_header = config.include_server_header = False


def _headers(config: Config) -> None:
    """No word of a client is taken for its address, and no Date and Server beside the backend's."""
    config.proxy_headers = False
    app: Any = config.loaded_app
    if isinstance(app, ProxyHeadersMiddleware):
        config.loaded_app = app.app
    config.date_header = config.server_header = False
    config.encoded_headers = [field for field in config.encoded_headers if field != (b"server", b"uvicorn")]


def _unasked(by: str) -> SettingsError:
    message = f"{by} is not able to say who the client is"
    return SettingsError([Problem("tls.client.ca", "LB_TLS__CLIENT__CA", message, "leave that out, or this")])


def _tls(config: Config, tls: TlsSettings) -> ServerNames | None:
    guard = Guard(tls.client)
    protocols: Sequence[str] = getattr(config.http_protocol_class, "alpn_protocols", None) or SPOKEN  # another's

    def restrict(context: ssl.SSLContext) -> ssl.SSLContext:
        policy(context, suites=config.ssl_ciphers or SUITES, protocols=protocols)
        guard.stand(context)
        return context

    def made() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if config.ssl_ca_certs:
            context.load_verify_locations(config.ssl_ca_certs)
            context.verify_mode = ssl.VerifyMode(config.ssl_cert_reqs)
        return restrict(context)

    if config.ssl_certfile is None:  # a context from somebody's factory, which we know no files of
        assert config.ssl is not None
        restrict(config.ssl)
        return None
    first = certificate(made, config.ssl_certfile, config.ssl_keyfile, config.ssl_keyfile_password)
    known = str(config.ssl_certfile)  # a string by flag, a path by `l7lb serve`
    others = [certificate(made, each.cert, each.key) for each in tls.served if str(each.cert) != known]
    names = ServerNames([first, *others], guard, strict=tls.sni == "strict")
    config.ssl = names.front
    return names
