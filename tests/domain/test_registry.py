"""One table for everything replaceable, open to other packages."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from pydantic import Field, ValidationError

from app.domain import registry
from app.domain.registry import NoOptions, Registry
from settings.models import Choice, Frozen


class Plain:
    """A kind without options."""

    def __init__(self, options: NoOptions, **services: object) -> None:
        self.options: Frozen = options
        self.services = services


class Choosy(Plain):
    """A kind with an option."""

    class Options(Frozen):
        """What may be chosen."""

        choices: int = Field(default=2, ge=2)


TABLE: Registry[Plain] = Registry("l7lb.tests", {"plain": Plain, "choosy": Choosy})


def test_builds_the_kind_with_its_options_and_services() -> None:
    """Options are validated by the model beside the code."""
    made = TABLE.build(Choice(kind="choosy", choices=3), rng=7)

    assert isinstance(made, Choosy)
    assert Choosy.Options(choices=3) == made.options
    assert made.services == {"rng": 7}


def test_lists_its_kinds() -> None:
    """For tests to walk and for people to read."""
    assert list(TABLE) == ["plain", "choosy"]


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    """A typing error is answered with the word that was meant, anything else with what there is."""
    with pytest.raises(ValueError, match="unknown kind 'choosey'; did you mean 'choosy'"):
        TABLE.build(Choice(kind="choosey"))
    with pytest.raises(ValueError, match="there are choosy, plain"):
        TABLE.options(Choice(kind="zzz"))


@pytest.mark.parametrize("choice", [{"kind": "plain", "choices": 3}, {"kind": "choosy", "choices": 1}])
def test_options_are_refused_before_anything_is_built(choice: dict[str, object]) -> None:
    """What the kind does not have, and what its model does not take; a ValidationError is a ValueError."""
    with pytest.raises(ValidationError, match="choices"):
        TABLE.options(Choice.model_validate(choice))


def test_another_package_adds_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point, which is looked up only where our own table has no such kind."""
    offered = EntryPoints([EntryPoint("foreign", f"{__name__}:Choosy", "l7lb.tests")])
    asked: list[str] = []

    def entry_points(*, group: str) -> EntryPoints:
        asked.append(group)
        return offered

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Choosy)

    TABLE.build(Choice(kind="plain"))
    made = TABLE.build(Choice(kind="foreign", choices=5))

    assert asked == ["l7lb.tests"]
    assert isinstance(made, Choosy)
    with pytest.raises(ValueError, match="did you mean 'foreign'"):
        TABLE.build(Choice(kind="foriegn"))


def test_a_kind_that_cannot_be_loaded_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken package is a fault of the settings to whoever reads them, not a traceback."""
    offered = EntryPoints([EntryPoint("foreign", "no_such_module_here:Thing", "l7lb.tests")])
    monkeypatch.setattr(registry, "entry_points", lambda *, group: offered)

    with pytest.raises(ValueError, match=r"'no_such_module_here:Thing' cannot be loaded: No module"):
        TABLE.build(Choice(kind="foreign"))
