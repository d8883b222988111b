"""`l7lb`, the command: serve, check, config, routes, register."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from app import __version__, compiled
from settings.problems import SettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status: 0, or 2 when the settings or the arguments cannot be used."""
    from app.cli import check, config, register, routes, serve  # noqa: PLC0415  # --version and the like need none of it

    commands = {"serve": serve, "check": check, "config": config, "routes": routes, "register": register}
    parser = argparse.ArgumentParser(
        prog="l7lb",
        description="A layer-7 load balancer. Settings: LB_* variables, or a TOML or YAML file named by LB_CONFIG.",
    )
    version = f"l7lb {__version__} (compiled)" if compiled() else f"l7lb {__version__}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands.values():
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # a value may hold what the terminal's encoding has not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = commands[args.command].run(args)
        sys.stdout.flush()
    except SettingsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `l7lb config | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status
