"""`l7lb check`: are the settings right?"""

from __future__ import annotations

import argparse
from typing import Any

from app.cli.reading import add_config, read, say, warn
from app.plan import plan


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    add_config(subparsers.add_parser("check", help="check the settings: exit 0, or 2 with every problem"))


def run(args: argparse.Namespace) -> int:
    """Print what is doubtful, then that the rest is right. Raises SettingsError."""
    settings = read(args)
    for finding in plan(settings).overlaps():
        warn(finding)
    backends = sum(len(pool.backends) for pool in settings.pools.values())
    counts = {"group": len(settings.groups), "pool": len(settings.pools), "backend": backends}
    say("ok: " + ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()))
    return 0
