"""What follows from the models: documentation, samples, JSON Schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.plan import plan
from settings import Settings, schema
from settings.load import load
from settings.shape import NAME, Shape, variable
from settings.view import values

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "settings" / "samples").iterdir())
ABSENT = Path("/nonexistent/.env")


def sample(path: Path) -> Settings:
    if path.suffix == ".env":
        return load({key: value or "" for key, value in dotenv_values(path).items()}, env_file=ABSENT)
    return load({}, env_file=ABSENT, config=path)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_loads_and_can_be_built(path: Path) -> None:
    settings = sample(path)

    assert settings.warnings == ()
    assert len(plan(settings).rules) == len(settings.groups) > 0


def test_the_full_sample_says_every_setting_at_its_default() -> None:
    """Only what the sample cannot be without differs: the backends, and who uses what."""
    lines = (ROOT / "settings" / "samples" / "full.toml").read_text().split("\n")
    settings = sample(ROOT / "settings" / "samples" / "full.toml")
    keys = {line.removeprefix("# ").split(" = ")[0] for line in lines if " = " in line}
    plain = Settings(
        groups={"api": {"pool": "api"}},
        pools={"api": {}},
        limits={"strict": {"kind": "none"}},
        caches={"main": "memory"},
    )
    defaults = {value.path: value.value for value in values(plain)}

    assert {leaf[-1].replace(NAME, "main") for leaf in Shape(Settings).leaves()} - {"config"} <= keys
    assert {value.path for value in values(settings) if defaults.get(value.path) != value.value} == {
        "config", "groups.api.limit", "pools.api.backends",
    }  # fmt: skip


def test_what_is_generated_is_current() -> None:
    script = [sys.executable, ROOT / "scripts" / "docs_settings.py", "--check"]

    found = subprocess.run(script, capture_output=True, text=True, check=False)

    assert (found.returncode, found.stderr) == (0, "")


def test_the_json_schema_is_current() -> None:
    assert schema.FILE.read_text() == schema.text()


def test_every_setting_is_documented_with_its_variable() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    assert [leaf for leaf in Shape(Settings).leaves() if f"`{variable(leaf)}`" not in text] == []


def test_every_setting_has_a_sentence() -> None:
    found = {
        (model, key): field.description
        for model in schema.models(Shape(Settings))
        for key, field in model.model_fields.items()
    }

    assert len(found) > 80
    assert [where for where, text in found.items() if not text or not text.endswith((".", "`"))] == []


def test_the_schema_knows_the_short_forms() -> None:
    """An editor must not mark what we take: a list as one line, a backend as a URL, a strategy by its name."""
    made = json.loads(schema.FILE.read_text())

    assert "config" not in made["properties"]
    assert made["$defs"]["PoolSettings"]["properties"]["backends"]["type"] == ["array", "string"]
    assert {"type": "string", "description": "the kind alone"} in made["$defs"]["Choice"]["anyOf"]
    assert made["$defs"]["HealthSettings"]["properties"]["interval"]["default"] == "5s"
