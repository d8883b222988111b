"""Where a pool's backends come from: as variables, as a file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.discovery import SOURCES
from app.engine.discovery.dns import DnsOptions
from app.engine.discovery.file import FileOptions
from app.plan import plan
from settings import Settings
from settings.load import SettingsError, load
from settings.pools import PoolSettings
from settings.view import tree

ABSENT = Path("/nonexistent/.env")


def read(**variables: str) -> Settings:
    return load({"LB_ROUTES": "/=web", **variables}, env_file=ABSENT)


def test_a_source_in_variables() -> None:
    """Its kind, and beside it its options; no other backend is needed, and nothing is doubted."""
    settings = read(
        LB_POOLS__WEB__SOURCE="dns",
        LB_POOLS__WEB__SOURCE__NAME="web.internal,more.internal",
        LB_POOLS__WEB__SOURCE__PORT="8000",
        LB_POOLS__WEB__SOURCE__INTERVAL="5s",
        LB_POOLS__WEB__QUEUE__SIZE="5",
    )
    plan(settings)

    assert settings.warnings == ()
    choice = settings.pools["web"].source
    assert choice is not None
    options = SOURCES.options(choice)
    assert options == DnsOptions(name=("web.internal", "more.internal"), port=8000, interval=5.0)


def test_a_source_in_a_file_and_a_variable_that_adds_to_it(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    file.write_text('[pools.web]\nsource = { kind = "file", path = "/etc/backends.json" }\n')

    settings = read(LB_CONFIG=str(file), LB_POOLS__WEB__SOURCE__INTERVAL="3s")

    choice = settings.pools["web"].source
    assert choice is not None
    assert SOURCES.options(choice) == FileOptions(path=Path("/etc/backends.json"), interval=3.0)


def test_a_token_is_shown_to_nobody() -> None:
    settings = read(
        LB_POOLS__WEB__SOURCE="consul", LB_POOLS__WEB__SOURCE__SERVICE="web", LB_POOLS__WEB__SOURCE__TOKEN="hush"
    )

    assert tree(settings)["pools"]["web"]["source"] == {"kind": "consul", "service": "web", "token": "*" * 10}


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"": "dsn"}, "SOURCE: pools.web.source: unknown kind 'dsn'; did you mean 'dns'?"),
        ({"__NAME": "web"}, "SOURCE__KIND: pools.web.source.kind: it is missing; write kind"),
        ({"": "dns"}, "SOURCE__NAME: pools.web.source.name: it is missing; write name"),
        (
            {"": "docker", "__LABELS": "x"},
            "SOURCE__LABELS: pools.web.source.labels: there is no such setting; remove it",
        ),
        (
            {"": "http", "__URL": "web:80"},
            'SOURCE__URL: pools.web.source.url: not a URL; write one such as "http://10.0.0.1:8500", or ',
        ),
        (
            {"": "dns", "__NAME": "web", "__INTERVAL": "5"},
            'SOURCE__INTERVAL: pools.web.source.interval: not a duration; write one with its unit, such as "250ms"',
        ),
    ],
)
def test_what_is_wrong_is_said_like_anything_else(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        plan(read(**{f"LB_POOLS__WEB__SOURCE{name}": value for name, value in variables.items()}))

    assert f"LB_POOLS__WEB__{problem}" in str(raised.value)


@pytest.mark.parametrize("kind", list(SOURCES))
def test_every_option_has_a_sentence(kind: str) -> None:
    """And every kind is named where the setting is described."""
    options = SOURCES._table[kind].Options  # type: ignore[attr-defined]

    assert [name for name, field in options.model_fields.items() if not (field.description or "").endswith(".")] == []
    assert f" {kind}," in str(PoolSettings.model_fields["source"].description)
