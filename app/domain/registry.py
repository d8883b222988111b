"""Kind -> class: the table behind every replaceable part, open to other packages through entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from settings.models import Choice, Frozen
from settings.problems import did_you_mean

T = TypeVar("T")


class NoOptions(Frozen):
    """Options of a kind that has none."""


class Registry(Generic[T]):
    """Builds what a `Choice` names. Iterates over the kinds of our own table.

    A class in it takes its options first and services by keyword, of which it ignores what it does not need; its
    `Options` model says which options there are.

    Attributes:
        entry_point_group: where another package adds a kind: `[project.entry-points."l7lb.strategies"]`.
    """

    def __init__(self, entry_point_group: str, table: Mapping[str, Callable[..., T]]) -> None:
        self.entry_point_group = entry_point_group
        self._table = dict(table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def build(self, choice: Choice, **services: Any) -> T:
        """Make what *choice* names. Raises ValueError for an unknown kind, and for options that its model refuses."""
        found = self._find(choice.kind)
        return found(self._validated(found, choice), **services)

    def options(self, choice: Choice) -> Frozen:
        """Validated options of *choice*, without building it. Raises ValueError as `build` does."""
        return self._validated(self._find(choice.kind), choice)

    def _validated(self, found: Callable[..., T], choice: Choice) -> Frozen:
        model: type[Frozen] = getattr(found, "Options", NoOptions)
        return model.model_validate(choice.options)

    def _find(self, kind: str) -> Callable[..., T]:
        if kind in self._table:
            return self._table[kind]
        plugins = entry_points(group=self.entry_point_group)
        if kind not in plugins.names:
            kinds = sorted({*self._table, *plugins.names})
            near = did_you_mean(kind, kinds)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(kinds)}"
            raise ValueError(f"unknown kind {kind!r}; {hint}")
        try:
            loaded: Callable[..., T] = plugins[kind].load()
        except Exception as error:
            raise ValueError(f"kind {kind!r} of {plugins[kind].value!r} cannot be loaded: {error}") from error
        return loaded
