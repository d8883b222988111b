"""`l7lb serve` in this process: every listener on a real socket, until a signal ends it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.edge import serve as serving
from app.edge.listeners import Listener
from app.edge.serve import serve
from tests.support import tls
from tests.support.raw import Client, Response, request
from tests.support.until import until

HTTP, HTTPS = "http://127.0.0.1:0", "https://127.0.0.1:0"
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"
CHALLENGE = "/.well-known/acme-challenge/x"


class App:
    """Says what it is told of each request, and keeps what becomes of it."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.stopped = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            said = f"{scope['client'] and scope['client'][0]} {scope['scheme']} {scope['path']}".encode()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]}
            )
            await send({"type": "http.response.body", "body": said})
            return
        await receive()
        await send({"type": f"lifespan.startup.{'complete' if self.starts else 'failed'}"})
        if self.starts:
            await receive()
            self.stopped += 1
            await send({"type": "lifespan.shutdown.complete"})


class Serving:
    """`serve`, in the main thread as always, with a client beside it in another."""

    def __init__(self, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.app = App()
        self.certificate = tls.Certificate(directory)
        self.unix = str(directory / "lb.sock")
        self._caplog = caplog
        self._ended = threading.Event()

    @property
    def said(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.name == "tests.serve"]

    def __call__(self, *binds: str, client: Callable[[], object] = lambda: None, **options: Any) -> int:
        """Serve these until *client* has done what it wants."""
        listeners = [Listener.parse(bind) for bind in binds]
        settings: dict[str, Any] = {"prefix": "/-", "handshake_timeout": 60.0, **options}
        if any(bind.startswith("https") for bind in binds):
            settings = {"cert": self.certificate.cert, "key": self.certificate.key, **settings}
        failed: list[BaseException] = []

        def beside() -> None:
            try:
                until(lambda: self._ended.is_set() or len(self.said) == len(binds), "the listeners")
                if not self._ended.is_set():
                    client()
            except BaseException as error:
                failed.append(error)
            finally:
                if not self._ended.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=beside)
        thread.start()
        try:
            return serve(self.app, listeners, **{"cert": None, "key": None, **settings})
        finally:
            self._ended.set()
            thread.join()
            for error in failed:
                raise error

    def at(self, number: int, **options: Any) -> Client:
        """A connection to the listener of that number."""
        return Client(("127.0.0.1", self.port(number)), **options)

    def port(self, number: int) -> int:
        return int(self.said[number].split(" (")[0].rsplit(":", 1)[1])

    def get(self, number: int, target: str = "/", **options: Any) -> Response:
        with self.at(number, **options) as client:
            return client.ask(request(target))


@pytest.fixture
def server(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Uvicorn writes its log where it always does, and leaves the signal to us in the end."""
    log = logging.getLogger("tests.serve")
    caplog.set_level(logging.INFO, "tests.serve")
    monkeypatch.setattr(serving, "log", log)
    known = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(each.propagate, each.level, each.handlers[:]) for each in known]
    theirs = signal.signal(signal.SIGTERM, lambda *_: None)
    yield Serving(tmp_path, caplog)
    signal.signal(signal.SIGTERM, theirs)
    for each, settings in zip(known, before, strict=True):
        each.propagate, each.level, each.handlers = settings


class TestRoles:
    def test_all_of_it(self, server: Serving) -> None:
        def client() -> None:
            assert server.get(0).body == b"127.0.0.1 http /"
            assert server.get(0, "/-/live").body == b"127.0.0.1 http /-/live"
            assert server.said == [f"l7lb running on http://127.0.0.1:{server.port(0)} (app)"]

        assert server(HTTP, client=client) == 0
        assert server.app.stopped == 1
        with pytest.raises(ConnectionRefusedError):
            server.at(0)

    def test_with_the_control_plane_elsewhere(self, server: Serving) -> None:
        def client() -> None:
            assert [server.get(0, target).status for target in ("/x", "/-/live")] == [200, 404]
            assert [server.get(1, target).status for target in ("/x", "/-/live")] == [404, 200]
            assert [server.get(2, target).status for target in ("/x", "/-/live")] == [200, 404]
            assert server.said[1] == f"l7lb running on http://127.0.0.1:{server.port(1)} (admin)"

        assert server(HTTP, HTTP + "?admin", HTTP, client=client) == 0

    @pytest.mark.parametrize("challenges", [False, True])
    def test_to_https(self, server: Serving, challenges: bool) -> None:
        """To the first of them; what an authority asks for stays, where there are certificates of its."""

        def client() -> None:
            response = server.get(0, "/x?y")
            assert (response.status, response.get("location")) == (308, f"https://lb.test:{server.port(1)}/x?y")
            assert server.get(0, CHALLENGE).status == (200 if challenges else 308)
            assert server.get(1, tls=tls.client()).body == b"127.0.0.1 https /"

        options = {"challenges": True} if challenges else {}
        assert server(HTTP + "?redirect=https", HTTPS, HTTPS, client=client, **options) == 0

    def test_a_unix_socket(self, server: Serving) -> None:
        """For everybody on this machine; its file is not left."""

        def client() -> None:
            assert server.said == [f"l7lb running on unix:{server.unix} (app)"]
            assert stat.S_IMODE(Path(server.unix).stat().st_mode) == 0o666
            with Client(server.unix) as unix:
                assert unix.ask(request("/")).body == b"None http /"

        assert server(f"unix:{server.unix}", client=client) == 0
        assert not Path(server.unix).exists()


class TestBehindProxies:
    @pytest.mark.parametrize("bind", [HTTP, HTTPS])
    def test_the_client_is_whom_they_name(self, server: Serving, bind: str) -> None:
        def client() -> None:
            scheme = bind.partition(":")[0]
            context = tls.client() if bind == HTTPS else None
            said = f"192.0.2.1 {scheme} /".encode()
            assert server.get(0, tls=context, before=[LINE]).body == said
            assert server.get(0, tls=context, source="127.0.0.2").body == f"127.0.0.2 {scheme} /".encode()
            assert server.get(1, tls=context).body == f"127.0.0.1 {scheme} /".encode()

        assert server(f"{bind}?proxy=127.0.0.1/32", bind, client=client) == 0
        with pytest.raises(ConnectionRefusedError):
            server.at(0)

    def test_each_of_both_has_its_own_certificate(self, server: Serving) -> None:
        """Plain HTTP stays plain where another listener speaks TLS."""

        def client() -> None:
            assert server.get(0, before=[LINE]).body == b"192.0.2.1 http /"
            assert server.get(1).body == b"127.0.0.1 http /"

        assert server(f"{HTTP}?proxy=127.0.0.1/32", HTTP, HTTPS, client=client) == 0


@pytest.mark.parametrize(("query", "before"), [("", b""), ("?proxy=127.0.0.1/32", b""), ("?proxy=127.0.0.1/32", LINE)])
def test_a_handshake_that_does_not_come_is_ended(server: Serving, query: str, before: bytes) -> None:
    def client() -> None:
        with server.at(0) as silent:
            silent.send(before)
            assert silent.rest() == b""

    assert server(HTTPS + query, client=client, handshake_timeout=0.1) == 0


class TestCertificate:
    def test_with_its_key_in_one_file(self, server: Serving) -> None:
        files = server.certificate
        both = files.cert.with_name("both.pem")
        both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())

        def client() -> None:
            with server.at(0, tls=tls.client()) as secure:
                assert isinstance(secure.socket, ssl.SSLSocket)
                assert secure.socket.getpeercert(binary_form=True) == files.der

        assert server(HTTPS, client=client, cert=both, key=None) == 0

    def test_it_is_not_looked_at_without_https(self, server: Serving) -> None:
        assert server(HTTP, client=lambda: server.get(0), cert=Path("/nowhere"), key=Path("/nowhere")) == 0

    def test_none(self, server: Serving) -> None:
        with pytest.raises(ValueError, match=r"^https:// needs --cert .*LB_TLS__CERTIFICATES.*LB_TLS__ACME__DOMAINS$"):
            server(HTTP, HTTPS, cert=None)

    @pytest.mark.parametrize("damage", ["no file", "no certificate", "another key"])
    def test_one_that_cannot_be_used(self, server: Serving, tmp_path: Path, damage: str) -> None:
        """It is named, and the socket is closed: one that was not would be said."""
        cert, key = server.certificate.cert, server.certificate.key
        if damage == "another key":
            key = tls.Certificate(tmp_path / "other").key
        elif damage == "no certificate":
            cert.write_text("nothing")
        else:
            cert.unlink()
        with pytest.raises(ValueError, match=f"^the certificate cannot be used: {cert}: .") as error:
            server(HTTPS, key=key)
        assert isinstance(error.value.__cause__, OSError)


class TestRefusals:
    def test_nowhere_to_redirect_to(self, server: Serving) -> None:
        with pytest.raises(ValueError, match=r"^redirect=https needs an https:// listener to redirect to$"):
            server(HTTP, HTTP + "?redirect=https")

    def test_a_taken_address(self, server: Serving) -> None:
        """It is named; those before it are closed, and nobody was served."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(OSError, match="in use") as error:
                server(HTTP, address, HTTP)
        assert (error.value.errno, error.value.filename) == (errno.EADDRINUSE, address)
        assert server.said == []

    def test_a_unix_socket_that_cannot_be(self, server: Serving) -> None:
        """It is known late, for it is made when it is served: the app is stopped again."""
        with pytest.raises(SystemExit) as ended:
            server("unix:/nowhere/lb.sock")
        assert ended.value.code == 3
        assert [line.rsplit(": ", 1)[0] for line in server.said] == ["cannot listen on unix:/nowhere/lb.sock"]
        assert "No such file" in server.said[0]
        assert server.app.stopped == 1

    def test_an_app_that_does_not_start(self, server: Serving) -> None:
        """Nobody is listened to."""
        server.app.starts = False
        with pytest.raises(SystemExit) as ended:
            server(HTTP)
        assert ended.value.code == 3
        assert server.said == []
        assert server.app.stopped == 0

    def test_what_stands_in_the_place_of_a_unix_socket_stays(self, server: Serving) -> None:
        """If it is none."""
        Path(server.unix).write_text("mine")
        with pytest.raises(SystemExit):
            server(f"unix:{server.unix}")
        assert Path(server.unix).read_text() == "mine"
