"""Where what is shared is kept: one variable for the place, more for how."""

from pathlib import Path

import pytest

from settings.load import load
from settings.problems import SettingsError
from settings.state import StateSettings
from settings.view import values

NOWHERE = Path("/nonexistent/.env")


def shown(environ: dict[str, str]) -> dict[str, str]:
    """What is not a default, with the variable that says it."""
    found = values(load(environ, env_file=NOWHERE))
    return {f"{value.path}={value.value}": value.origin for value in found if value.origin != "default"}


def test_the_place_is_one_variable_beside_its_options() -> None:
    """And its password is for nobody's eyes."""
    environ = {"LB_STATE": "redis://l7lb:se/cr@et@h:1/2", "LB_STATE__LEASE": "10"}
    with pytest.raises(SettingsError) as caught:
        load(environ, env_file=NOWHERE)
    assert "et@h" not in str(caught.value)

    environ["LB_STATE"] = "redis://l7lb:secret@h:1/2"

    assert shown(environ) == {
        "state.place=redis://**********@h:1/2": "LB_STATE",
        "state.lease=10": "LB_STATE__LEASE",
    }


def test_the_place_may_come_from_a_secret_file_and_options_from_another(tmp_path: Path) -> None:
    """As every secret, by LB_STATE_FILE; in a settings file, as text or as a table."""
    secret, file = tmp_path / "secret", tmp_path / "lb.toml"
    secret.write_text("redis://:secret@h\n")
    file.write_text('state = "memory"\n')

    settings = load({"LB_STATE_FILE": str(secret), "LB_CONFIG": str(file)}, env_file=NOWHERE)
    assert settings.state.place == "redis://:secret@h"

    file.write_text('[state]\nplace = "lmdb:/var/lib/l7lb"\naway = "fail_closed"\n')
    settings = load({"LB_STATE__LEASE_TIME": "2s", "LB_CONFIG": str(file)}, env_file=NOWHERE)
    assert (settings.state.place, settings.state.away, settings.state.lease_time) == (
        "lmdb:/var/lib/l7lb", "fail_closed", 2.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("auto", "auto"),
        ("memory", "memory"),
        ("lmdb:/var/lib/l7lb", "lmdb"),
        ("redis://h", "redis"),
        ("rediss://u:p@h:6380/1?ssl_ca_certs=/ca.pem", "redis"),
        ("unix:///run/redis.sock?db=1", "redis"),
    ],
)
def test_a_place_has_a_kind(place: str, kind: str) -> None:
    """The scheme says it."""
    state = StateSettings.model_validate(place)

    assert (state.kind, state.place) == (kind, place)


def test_a_directory_may_be_a_name_with_colons() -> None:
    """Only the first colon ends the kind."""
    assert StateSettings(place="lmdb:run/a:b").directory == "run/a:b"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LB_STATE", "lmdb", "not a place"),
        ("LB_STATE", "lmdb:", 'no directory: "lmdb:"; write "lmdb:" and a directory, such as "lmdb:/var/lib/l7lb"'),
        ("LB_STATE", "redis:h", 'not a place: "redis:h"; write "auto", "memory", "lmdb:/var/lib/l7lb" or "redis://'),
        ("LB_STATE", "redis://", "no host"),
        ("LB_STATE", "redis://h:99999", "not a URL"),
        ("LB_STATE", "redis://h/first", 'not a database: "redis://h/first"; write its number'),
        ("LB_STATE", "unix://run", 'no socket: "unix://run"; write "unix:///run/redis.sock"'),
        ("LB_STATE", "redis://h?password=x", '"password" is not taken here: "redis://h?password=**********"; user'),
        (
            "LB_STATE__AWAY",
            "open",
            "state.away: not known: \"open\"; write \"fail_open\" ('fail_open' or 'fail_closed')",
        ),
        ("LB_STATE__TIMEOUT", "0", 'state.timeout: too short: "0"; write at least "1ms"'),
        ("LB_STATE__LEASE", "0", 'state.lease: too small: "0"; write at least 1'),
        ("LB_STATE__PREFIX", "a b", 'state.prefix: not a prefix: "a b"; write letters, digits'),
    ],
)
def test_what_is_wrong_is_said_with_its_variable_and_the_fix(variable: str, value: str, said: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(SettingsError) as caught:
        load({variable: value}, env_file=NOWHERE)

    assert str(caught.value).startswith(f"{variable}: ")
    assert said in str(caught.value)
