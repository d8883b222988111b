"""What the lifespan start-up makes of the uvicorn that runs it, and how that uvicorn then stops."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.edge.adopt import Adopted, adopt
from app.edge.certificates import Front
from app.edge.link import Link
from app.edge.protocol import EdgeProtocol
from settings.edge import EdgeSettings
from settings.problems import SettingsError
from settings.root import DrainSettings
from settings.tls import ClientCertificateSettings, TlsSettings
from tests.support.tls import Certificate


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
    assert ["--http h11" in message for message in caplog.messages] == [True]
    adopted(config(http="app.edge.protocol:EdgeProtocol"))
    assert len(caplog.messages) == 1


async def test_another_server_is_told_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l7lb")

    async def receive() -> Any: ...

    assert adopt(receive, link=Link(), drain=DrainSettings(), tls=TlsSettings()) is None
    assert len(caplog.messages) == 1
    assert "not uvicorn" in caplog.messages[0]


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
    with pytest.raises(SettingsError, match="LB_TLS__CLIENT__CA"):
        adopt(theirs, link=Link(), drain=DrainSettings(), tls=wanted)
