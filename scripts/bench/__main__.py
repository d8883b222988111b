"""Use: python -m scripts.bench [--rounds 9] [--requests 3000] [--connections 64] [--tls] [--peers nginx,l7lb]"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import scripts.bench
from scripts.bench import report
from scripts.bench.peers import HERE, PEERS, ROOT, Missing, Peer, Site, backend, program, python_build
from scripts.bench.processes import cores, free_port, rss_kib, start, stop, wait_for_port
from scripts.bench.report import Rounds
from scripts.bench.slices import check_answer, run_slice


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=scripts.bench.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=9, choices=range(1, 101), metavar="N", help="default 9")
    parser.add_argument("--requests", type=int, default=3000, help="in a slice; default 3000, at most 100000")
    parser.add_argument("--connections", type=int, default=64, help="default 64, at most 1000")
    parser.add_argument("--tls", action="store_true", help="clients speak TLS")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, the first is what the others are compared to")
    parser.add_argument("--python", default=HERE, help="interpreter for those in Python, such as a PGO build's .venv")
    asked = parser.parse_args()
    asked.peers = asked.peers.split(",")
    asked.requests, asked.connections = min(asked.requests, 100_000), min(asked.connections, 1000)
    if unknown := set(asked.peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return asked


def set_up(asked: argparse.Namespace, site: Site) -> list[Peer]:
    """The peers that this machine has; says which it has not, and how to get them."""
    peers = []
    for name in asked.peers:
        try:
            peers.append(PEERS[name](site))
        except Missing as how:
            print(f"{name} is missing: {how}")
    return peers


def start_all(peers: list[Peer], core: int, tls: bool, directory: Path, ending: contextlib.ExitStack) -> dict[str, int]:
    """Name to process id of those that answer as they should; the others are named."""
    pids = {}
    for peer in peers:
        process = start(peer.command, core, directory / f"{peer.name}.out", peer.env or None)
        ending.callback(stop, process)
        try:
            wait_for_port(process, peer.port)
            check_answer(peer, tls)
        except (RuntimeError, OSError) as why:
            print(f"{peer.name} is left out: it {why}")
            print((directory / f"{peer.name}.err").read_text()[-2000:])
            continue
        pids[peer.name] = process.pid
        print(f"{peer.name:12} {peer.version}")
    return pids


def measure(asked: argparse.Namespace, peers: list[Peer], pids: dict[str, int], core: int, directory: Path) -> Rounds:
    """Every peer once a round, the order turned round each time; the first round warms up and is not counted."""
    alive = [peer for peer in peers if peer.name in pids]
    rounds: Rounds = {peer.name: [] for peer in alive}
    for number in range(asked.rounds + 1):
        print(f"round {number} of {asked.rounds}" if number else "warming up", end=". ", flush=True)
        for peer in alive if number % 2 else reversed(alive):
            requests = max(int(asked.requests * peer.share), asked.connections)
            one = run_slice(peer, pids[peer.name], requests, asked.connections, core, asked.tls, directory)
            if number:
                rounds[peer.name].append(one)
    print("\n")
    return rounds


def main() -> int:
    """Exit status: 0, or 1 when l7lb or the first peer could not be measured or an answer was wrong."""
    asked = arguments()
    proxy_core, load_core = cores()
    if proxy_core == load_core:
        print("there is one core only: load and proxy share it, the figures are worth little")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="l7lb-bench-")))
        try:
            program("h2load", "nghttp2-client")
            backend_port = free_port()
            behind = start(backend(directory, backend_port), load_core, directory / "backend.out")
        except Missing as how:
            print(f"the load generator or the backend is missing: {how}")
            return 1
        stack.callback(stop, behind)
        wait_for_port(behind, backend_port)
        if asked.tls:
            subprocess.run([ROOT / "scripts/dev-cert", directory], check=True)
        peers = set_up(asked, Site(directory, backend_port, asked.tls, asked.python))
        pids = start_all(peers, proxy_core, asked.tls, directory, stack)
        reference = peers[0].name if peers else ""
        if reference not in pids:
            print("nothing to compare with")
            return 1
        rounds = measure(asked, peers, pids, load_core, directory)
        memory = {name: rss_kib(pid) for name, pid in pids.items()}

    figures = report.summary(rounds, reference)
    print(report.table(figures, reference))
    to_others = report.ratios(rounds, "l7lb") if "l7lb" in rounds else {}
    print("\nCPU of l7lb to that of", ", ".join(f"{other}: {ratio:.3g}" for other, ratio in to_others.items()))
    conditions = {key: getattr(asked, key) for key in ("rounds", "requests", "connections", "tls")}
    told = {
        "machine": report.machine(),
        "python": python_build(asked.python),
        "conditions": conditions,
        "versions": {peer.name: peer.version for peer in peers},
        "figures": figures,
        "l7lb_to": to_others,
        "rss_kib": memory,
    }
    print(f"\n{told['machine']}, {conditions}")
    print("written:", report.write(ROOT / "bench-results", told).relative_to(ROOT))
    complete = "l7lb" in figures or "l7lb" not in asked.peers
    return 0 if complete and not any(of["wrong"] for of in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
