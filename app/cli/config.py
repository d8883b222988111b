"""`l7lb config`: the effective settings, and where each was said."""

from __future__ import annotations

import argparse
import json
from typing import Any

from app.cli.reading import add_config, read, say
from settings.view import values


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("config", help="print the effective settings with the origin of each, no secrets")
    parser.add_argument("--json", action="store_true", help="as a JSON object: path to value and origin")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Print every value. Raises SettingsError."""
    found = list(values(read(args)))
    if args.json:
        say(json.dumps({path: {"value": value, "origin": origin} for path, value, origin in found}, indent=2))
        return 0
    lines = [(f"{path} = {json.dumps(value)}", origin) for path, value, origin in found]
    width = min(max(len(line) for line, _ in lines), 60)
    for line, origin in lines:
        say(f"{line:<{width}}  # {origin}")
    return 0
