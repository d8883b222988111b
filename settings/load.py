"""Reads the settings from everywhere they may be said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from settings.checks import doubtful
from settings.explain import locate, problems, routed
from settings.files import file
from settings.problems import Problem, SettingsError
from settings.root import Settings
from settings.sources import Source, arguments, dotenv, environment, secrets

DOTENV = Path(".env")
_CA = "write the path of a PEM file with the certificates of the authorities"

__all__ = ["SettingsError", "load", "reread"]


def load(environ: Mapping[str, str] = os.environ, *, env_file: Path = DOTENV, **given: Any) -> Settings:
    """The settings, checked. The first place that says a value wins, setting by setting:

    1. *given*; None is not given

    2. `LB_*` variables of *environ*

    3. files named by `LB_*_FILE` variables, for secrets

    4. *env_file*, with variables of both kinds

    5. the TOML or YAML file that `LB_CONFIG`, or *given*, names

    6. defaults

    Raises:
        SettingsError: with every problem that was found.
    """
    return _made(
        (
            arguments({key: value for key, value in given.items() if value is not None}),
            environment(environ),
            secrets(environ),
            *dotenv(env_file),
        )
    )


def reread(settings: Settings, text: str | None = None) -> Settings:
    """What *settings*, which `load` made, would be if they were loaded now: the settings file is read again.

    All else is as it was said then: the environment of a process does not change.

    Args:
        settings: that are in force.

        text: of the settings file; None is what is in it now.

    Raises:
        SettingsError: with every problem that was found.
    """
    return _made(settings.places, text)  # type: ignore[arg-type]  # they are those of `load`


def _made(places: tuple[Source, ...], text: str | None = None) -> Settings:
    sources = list(places)
    config = next((source.data["config"] for source in sources if source.data.get("config")), None)
    if config is not None:
        sources.append(file(Path(config), text))
    unread = [problem for source in sources for problem in source.problems]
    if unread:
        raise SettingsError(unread)
    try:
        settings = Settings(_build_sources=(tuple(sources), {}))  # type: ignore[call-arg]  # it is pydantic-settings' own
    except ValidationError as error:
        raise SettingsError(problems(error, sources)) from None
    missing = [
        Problem(f"pools.{name}.tls.ca", locate(("pools", name, "tls", "ca"), sources), "there is no such file", _CA)
        for name, pool in settings.pools.items()
        if pool.tls.ca is not None and not pool.tls.ca.is_file()
    ]
    if missing:
        raise SettingsError(missing)
    warnings = [warning for source in sources for warning in source.warnings]
    for path, doubt in doubtful(settings):
        warnings.append(f"{locate(path, sources)}: {'.'.join(path)}: {doubt}")
    return settings.remember(warnings, _origins(sources), places, sources[-1].text)


def _origins(sources: Sequence[Source]) -> dict[str, str]:
    """Where each value was said: of a list the whole, of a table each key."""
    line, groups = routed(sources)
    origins = {f"groups.{name}.{field}": line for name, group in groups.items() for field in group}
    for source in reversed(sources):
        for place, where in source.origins.items():
            if not any(isinstance(key, int) for key in place) and not isinstance(_at(source.data, place), dict):
                origins[".".join(map(str, place))] = where
    return origins


def _at(data: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    return data
