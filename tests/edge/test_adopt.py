"""What the lifespan start-up makes of the uvicorn that runs it, and how that uvicorn then stops."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.config import Config as HypercornConfig
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.edge.adopt import Adopted, adopt
from app.edge.certificates import Front
from app.edge.descriptors import room
from app.edge.link import Link
from app.edge.protocol import EdgeProtocol
from app.edge.tls import identify
from settings.edge import EdgeSettings
from settings.problems import SettingsError
from settings.root import DrainSettings
from settings.tls import ClientCertificateSettings, TlsSettings
from tests.support.tls import Certificate, client, handshake


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not called")


def started(config: uvicorn.Config) -> LifespanOn:
    """What uvicorn has when it calls our lifespan."""
    config.load()
    return LifespanOn(config)


def config(**flags: Any) -> uvicorn.Config:
    return uvicorn.Config(app, log_config=None, **flags)


def adopted(given: uvicorn.Config, link: Link | None = None) -> Adopted | None:
    settings: dict[str, Any] = {"drain": DrainSettings(grace=7.2), "tls": TlsSettings()}
    return adopt(started(given).receive, link=link or Link(), **settings)


async def test_the_plain_command_becomes_the_safe_one() -> None:
    given = config()
    assert adopted(given) is not None
    assert given.http_protocol_class is EdgeProtocol
    assert given.timeout_graceful_shutdown == 8
    assert given.loaded_app is app  # no ProxyHeadersMiddleware around it
    assert given.date_header is False
    assert given.proxy_headers is False
    assert given.encoded_headers == []


async def test_flags_are_left_alone() -> None:
    given = config(http=H11Protocol, timeout_graceful_shutdown=3, headers=[("x-a", "1"), ("server", "me")])
    link = Link()
    adopted(given, link)
    assert given.http_protocol_class is H11Protocol
    assert given.timeout_graceful_shutdown == 3
    assert given.encoded_headers == [(b"x-a", b"1"), (b"server", b"me")]
    assert link.settings == EdgeSettings()


async def test_keep_alive_by_flag() -> None:
    link = Link(EdgeSettings(keep_alive=9.0))
    adopted(config(timeout_keep_alive=17), link)
    assert link.settings.keep_alive == 17.0
    assert link.settings.max_headers == 100


async def test_another_protocol_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l7lb")
    adopted(config(http="h11"))
    adopted(config(http=H11Protocol))
    assert caplog.messages == [
        f"--http {name}: limits and deadlines of the client's side (LB_EDGE__*) are not in force, trailers are added "
        "to the request's fields, and what is refused below the app is not logged"
        for name in ("h11", "H11Protocol")
    ]
    caplog.clear()
    adopted(config(http="app.edge.protocol:EdgeProtocol"))
    assert caplog.messages == []


async def test_another_server_is_told_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l7lb")

    async def receive() -> Any: ...

    assert adopt(receive, link=Link(), drain=DrainSettings(), tls=TlsSettings()) is None
    (said,) = caplog.messages
    assert said == (
        "this server is not uvicorn: it has to limit by itself how long request heads and bodies take and connections "
        "are idle, to restrict TLS, and to finish what is on its way when it stops"
    )


async def test_hypercorn_adds_no_date_and_server_of_its_own() -> None:
    """Beside the backend's."""
    theirs = HypercornConfig()
    lifespan = Lifespan(app, theirs, asyncio.get_running_loop(), {})
    assert adopt(lifespan.asgi_receive, link=Link(), drain=DrainSettings(), tls=TlsSettings()) is None
    assert (theirs.include_date_header, theirs.include_server_header) == (False, False)


async def test_who_stops_it_is_its_own_server() -> None:
    """Not one that serves something else in this process."""
    given, other = config(), config()
    server = uvicorn.Server(given)
    with server.capture_signals():
        link = Link()
        theirs, ours = adopted(other), adopted(given, link)
        assert theirs is not None
        assert theirs.drain is None
        theirs.release()
        assert ours is not None
        assert ours.config is given
        assert ours.drain is not None
        ours.drain.signalled()
        assert link.draining
        await asyncio.sleep(0)
        assert not server.should_exit  # before `drain.delay`
        ours.release()
        server._captured_signals.clear()


async def test_as_many_connections_as_there_are_descriptors_for() -> None:
    link = Link()
    adopted(config(), link)
    assert link.crowd.most == room() > 0


async def test_nobody_says_who_the_client_is_where_nobody_is_asked() -> None:
    link = Link()
    adopted(config(), link)
    assert link.identify is None


async def test_behind_uvicorns_trace_logging() -> None:
    """It wraps `receive`; adoption must not depend on the log level."""
    lifespan = started(config())
    theirs = lifespan.receive

    async def receive() -> Any:
        return await theirs()

    assert adopt(receive, link=Link(), drain=DrainSettings(), tls=TlsSettings()) is not None


async def test_uvicorn_is_still_the_one_we_know() -> None:
    """Fails loudly when uvicorn changes what `adopt` reaches into."""
    assert uvicorn.__version__.startswith("0.54.")
    given = config()
    lifespan = started(given)
    assert lifespan.receive.__self__.config is given
    for name in ("http_protocol_class", "loaded_app", "ssl", "encoded_headers", "date_header", "http", "http2",
                 "timeout_graceful_shutdown", "timeout_keep_alive", "limit_concurrency", "root_path"):  # fmt: skip
        assert hasattr(given, name)
    server = uvicorn.Server(given)
    assert (server.should_exit, server.server_state.connections, server.server_state.tasks) == (False, set(), set())


def served(listener: ssl.SSLContext, name: str) -> bytes | None:
    """The certificate for who asks for *name*. Raises SSLError."""
    return handshake(listener, client(check_hostname=False), name)[0].getpeercert(binary_form=True)


def suites(given: uvicorn.Config) -> list[str]:
    """Those of new connections of the listener."""
    assert isinstance(given.ssl, Front)
    assert given.ssl.now.minimum_version == ssl.TLSVersion.TLSv1_2
    return [suite["name"] for suite in given.ssl.now.get_ciphers()]


async def test_tls_gets_the_policy_and_is_looked_after(tmp_path: Path) -> None:
    files = Certificate(tmp_path)
    given = config(ssl_certfile=files.cert, ssl_keyfile=files.key)
    result = adopted(given)
    assert result is not None
    assert result.names is not None
    assert [renewal.name for renewal in result.names.renewals] == [str(files.cert)]
    assert all("GCM" in name or "CHACHA20" in name for name in suites(given))


async def test_tls_suites_by_flag(tmp_path: Path) -> None:
    files = Certificate(tmp_path)
    given = config(ssl_certfile=files.cert, ssl_keyfile=files.key, ssl_ciphers="ECDHE+AESGCM")
    adopted(given)
    assert not [name for name in suites(given) if name.startswith("ECDHE-") and "GCM" not in name]


async def test_authorities_by_flag(tmp_path: Path) -> None:
    """Those of uvicorn's own flags are asked for, too."""
    files = Certificate(tmp_path)
    given = config(
        ssl_certfile=files.cert, ssl_keyfile=files.key, ssl_ca_certs=str(files.ca), ssl_cert_reqs=ssl.CERT_REQUIRED
    )
    adopted(given)
    assert isinstance(given.ssl, Front)
    assert given.ssl.now.verify_mode is ssl.CERT_REQUIRED
    assert len(given.ssl.now.get_ca_certs()) == 1


@pytest.mark.parametrize("http", ["h11", None])
async def test_clients_certificates_need_our_edge(tmp_path: Path, http: str | None) -> None:
    """Under another, anybody could write the fields that say who one is."""

    async def receive() -> Any: ...

    wanted = TlsSettings(client=ClientCertificateSettings(ca=Certificate(tmp_path).ca))
    theirs = receive if http is None else started(config(http=http)).receive
    with pytest.raises(SettingsError) as refused:
        adopt(theirs, link=Link(), drain=DrainSettings(), tls=wanted)
    by = "another server than uvicorn" if http is None else "--http"
    (problem,) = refused.value.problems
    assert (problem.path, problem.where) == ("tls.client.ca", "LB_TLS__CLIENT__CA")
    assert (problem.message, problem.fix) == (f"{by} is not able to say who the client is", "leave that out, or this")


@pytest.mark.parametrize("chain", [False, True])
async def test_clients_are_asked_who_they_are(tmp_path: Path, chain: bool) -> None:
    files, link = Certificate(tmp_path), Link()
    wanted = TlsSettings(client=ClientCertificateSettings(ca=files.ca, chain=chain))
    given = config(ssl_certfile=files.cert, ssl_keyfile=files.key)
    adopt(started(given).receive, link=link, drain=DrainSettings(), tls=wanted)
    assert isinstance(given.ssl, Front)
    assert given.ssl.now.verify_mode is ssl.CERT_REQUIRED
    assert isinstance(link.identify, partial)
    assert (link.identify.func, link.identify.keywords) == (identify, {"chain": chain})


@pytest.mark.parametrize("sni", ["default", "strict"])
async def test_more_certificates_are_served_by_name(tmp_path: Path, sni: str) -> None:
    """The first of the settings is the one that uvicorn has."""
    first, second = Certificate(tmp_path / "a", "a.test"), Certificate(tmp_path / "b", "b.test")
    wanted = TlsSettings.model_validate(
        {"sni": sni, "certificates": [{"cert": str(each.cert), "key": str(each.key)} for each in (first, second)]}
    )
    given = config(ssl_certfile=str(first.cert), ssl_keyfile=str(first.key))
    result = adopt(started(given).receive, link=Link(), drain=DrainSettings(), tls=wanted)
    assert result is not None
    assert result.names is not None
    assert [renewal.name for renewal in result.names.renewals] == [str(first.cert), str(second.cert)]
    assert isinstance(given.ssl, Front)
    assert served(given.ssl, "b.test") == second.der
    assert served(given.ssl, "a.test") == first.der
    if sni == "strict":
        with pytest.raises(ssl.SSLError):
            served(given.ssl, "c.test")
    else:
        assert served(given.ssl, "c.test") == first.der
