"""`l7lb routes`: the groups in order of precedence, and where they overlap."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from app.admin import views
from app.cli.reading import add_config, read, say
from app.plan import plan

_TITLES = ("GROUP", "PRIORITY", "HOST", "PATH", "MATCH", "CONDITIONS", "ANSWER", "LIMIT")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("routes", help="print the groups in order of precedence, and where they overlap")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table. Raises SettingsError."""
    settings = read(args)
    shown = views.routes(plan(settings), settings)
    if args.json:
        say(json.dumps(shown, indent=2))
        return 0
    rows = [_TITLES, *map(_row, shown["groups"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if not shown["groups"]:
        say("no groups: every path is answered 404")
    for finding in shown["overlaps"]:
        say(f"{finding['kind']}: {finding['message']}")
    return 0


def _row(group: Mapping[str, Any]) -> tuple[str, ...]:
    conditions = [f"{name}={_joined(value)}" for name, value in group["conditions"].items()]
    cells = (
        group["group"], str(group["priority"]), ",".join(group["host"]), group["path"], group["path_match"],
        " ".join(conditions) or "-", group["answer"], group["limit"] or "-",
    )  # fmt: skip
    return tuple(json.dumps(cell)[1:-1] for cell in cells)  # no control character reaches the terminal


def _joined(value: Any) -> str:
    return ",".join(f"{key}:{inner}" for key, inner in value.items()) if isinstance(value, dict) else ",".join(value)
