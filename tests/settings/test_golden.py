"""What each file in tests/golden/settings comes to. `UPDATE_GOLDEN=1 scripts/test tests/settings` writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from settings import Settings
from settings.load import load
from settings.view import tree, values

GOLDEN = Path(__file__).parents[1] / "golden" / "settings"
FILES = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".toml", ".yaml"))


def resolved(path: Path) -> dict[str, object]:
    """Effective values, but for defaults, each with the line that says so."""
    settings = load({}, env_file=path.with_name("none"), config=path)
    return {
        value.path: {"value": value.value, "origin": value.origin.removeprefix(f"{path.parent}/")}
        for value in values(settings)
        if value.path != "config" and value.origin != "default"
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_comes_to_its_golden_values(path: Path) -> None:
    golden = path.with_suffix(".resolved.json")
    found = json.dumps(resolved(path), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)

    assert golden.read_text() == found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_shown_can_be_loaded_again(path: Path) -> None:
    """Quantities are shown with units that are read the same; only secrets are lost."""
    settings = load({}, env_file=path.with_name("none"), config=path)
    shown = tree(settings)
    for pool in shown["pools"].values():
        pool["sticky"]["keys"] = ["a key that is another" for _ in pool["sticky"]["keys"]]
    for group in shown["groups"].values():
        if group["api_key"] is not None:
            group["api_key"]["keys"] = dict.fromkeys(group["api_key"]["keys"], "a key that is another")
    said = {**shown, "admin": {"prefix": settings.admin.prefix}, "config": settings.config}

    again = tree(Settings(**said))

    assert again | {"admin": None} == tree(settings) | {"admin": None}
