"""How every command comes by its settings and tells what is doubtful about them."""

from __future__ import annotations

import argparse
import sys

from settings.load import load
from settings.root import Settings


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE`, which goes before LB_CONFIG."""
    parser.add_argument("--config", metavar="FILE", help="the settings file, instead of LB_CONFIG")


def read(args: argparse.Namespace) -> Settings:
    """The settings, their warnings printed. Raises SettingsError."""
    settings = load(config=args.config)
    for warning in settings.warnings:
        warn(warning)
    return settings


def warn(text: object) -> None:
    """Print a warning beside the output."""
    print(f"warning: {text}", file=sys.stderr)


def say(text: str) -> None:
    """Print a line of output."""
    print(text)
