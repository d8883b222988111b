"""The scenario about memory: idle connections, plain and TLS, and what 100 000 requests leave behind."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from scripts.bench.figures import Rounds, Sample
from scripts.bench.load import SETTLE, Load, check_answer, run_slice, unverified
from scripts.bench.processes import rss_kib
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import BODY, Build, Peer
from scripts.bench.stage import Stage, Unplayable

IDLE = 5000  # connections
FEW, MANY = 10_000, 100_000  # requests
QUICK = 20  # times less of everything
WARM = 2000  # requests before the first look: what is made once is made by then


@contextlib.contextmanager
def held(peer: Peer, tls: bool, count: int) -> Iterator[list[socket.socket]]:
    """That many connections, each of which has had one answer, which was right. Raises RuntimeError, OSError."""
    context = unverified() if tls else None
    asking = f"GET {peer.target} HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\n\r\n".encode()
    with contextlib.ExitStack() as open_ones:
        connections = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", peer.port), 30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # handshake, then request
            if context:
                connection = context.wrap_socket(connection)
            connections.append(open_ones.enter_context(connection))
            connection.sendall(asking)
            answer = b""
            while not answer.endswith(b"\r\n\r\n" + BODY):
                piece = connection.recv(65536)
                if not piece or len(answer) > 10 * len(BODY):
                    raise RuntimeError(f"answered one of {count} connections {answer[:100]!r}")
                answer += piece
        yield connections


def still_open(connection: socket.socket) -> bool:
    """Nothing has come since the answer: neither an end nor, under TLS, the alert that announces it."""
    connection.setblocking(False)
    try:
        socket.socket.recv(connection, 1, socket.MSG_PEEK)  # below TLS, whose own recv cannot peek
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def idle_kib(stage: Stage, peer: Peer, pid: int, tls: bool, count: int) -> tuple[float, int]:
    """Resident KiB of each of *count* idle connections, and how many the proxy has closed."""
    run_slice(peer, pid, Load(WARM, stage.asked.connections, tls), stage.load_core, stage.directory)
    before = rss_kib(pid)
    with held(peer, tls, count) as connections:
        time.sleep(SETTLE)
        grown = rss_kib(pid) - before
        alive = sum(map(still_open, connections))
    return grown / max(alive, 1), count - alive


def growth(stage: Stage, peer: Peer, pid: int, few: int, many: int) -> Sample:
    """RSS after *many* requests to that after *few*."""
    looks, wrong = [], 0.0
    for requests in (few, many - few):
        sample = run_slice(peer, pid, Load(requests, stage.asked.connections), stage.load_core, stage.directory)
        looks.append(rss_kib(pid))
        wrong += sample["wrong"]
    return {"growth": looks[1] / looks[0], "rss_mib": looks[1] / 1024, "wrong": wrong}


def memory(stage: Stage, rows: dict[str, Build]) -> Result:
    """One round, each proxy alone and each measurement in a fresh process. Raises Unplayable, Missing."""
    less = QUICK if stage.asked.quick else 1
    rounds: Rounds = {}
    ready = {}
    with stage.backend():
        sites = {tls: {peer.name: peer for peer in stage.set_up(rows, tls)} for tls in (False, True)}
        for name, plain in sites[False].items():
            print(name, end=". ", flush=True)
            try:
                with stage.alive(plain) as pid:
                    check_answer(plain, tls=False)
                    sample = growth(stage, plain, pid, FEW // less, MANY // less)
                for tls, metric in ((False, "idle_kib"), (True, "idle_tls_kib")):
                    with stage.alive(sites[tls][name]) as pid:
                        sample[metric], closed = idle_kib(stage, sites[tls][name], pid, tls, IDLE // less)
                    sample["wrong"] += closed
            except (RuntimeError, OSError) as why:
                stage.leave_out(name, f"is left out: it {why}")
                continue
            rounds[name], ready[name] = [sample], (plain, 0)
        print("\n")
    if not rounds:
        raise Unplayable("nothing could be measured")
    notes = [
        f"{IDLE // less} idle connections; RSS after {MANY // less} requests to RSS after {FEW // less}; one round."
    ]
    return Result(rounds, ("idle_kib", "idle_tls_kib"), ready, notes)
