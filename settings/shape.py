"""Which settings there are: a walk over the models, for variables, suggestions and the documentation."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from settings.models import Choice, Frozen
from settings.problems import did_you_mean

NAME = "<name>"
"""Stands for the name that the operator gives, where settings are listed."""


class Shape:
    """What may stand at one place of the settings.

    Attributes:
        model: the model that stands there, if it is one.

        entry: what a table of names holds, if it is one.
    """

    def __init__(self, annotation: Any) -> None:
        annotation = _bare(annotation)
        self.annotation = annotation
        self.model: type[BaseModel] | None = None
        self.entry: Any = None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            self.model = annotation
        elif get_origin(annotation) is dict:
            self.entry = get_args(annotation)[1]

    @property
    def choice(self) -> bool:
        """Whether it names a kind, with options of its own beside it."""
        return self.model is not None and issubclass(self.model, Choice)

    @property
    def table(self) -> bool:
        """Whether its values are written one by one below it."""
        return self.model is not None or (self.entry is not None and Shape(self.entry).model is not None)

    @property
    def short(self) -> str:
        """The key that text alone says, of a table that may be written so; "" of another."""
        return self.model.short if self.model is not None and issubclass(self.model, Frozen) else ""

    @property
    def free(self) -> bool:
        """Whether its keys are the operator's, and nothing says of what type their values are."""
        return self.choice or (self.entry is not None and Shape(self.entry).annotation is str)

    @property
    def secrets(self) -> bool:
        """Whether it is a secret, a list of them, or a table with one in it."""
        if self.model is not None:
            fields = [Shape(field.annotation) for field in self.model.model_fields.values()]
            return any(field.model is None and field.secrets for field in fields)
        if get_origin(self.annotation) is tuple:
            return Shape(get_args(self.annotation)[0]).secrets
        if self.entry is not None and Shape(self.entry).model is None:
            return Shape(self.entry).secrets
        return self.annotation is SecretStr

    def step(self, key: str | int) -> Shape | None:
        """What stands at *key* below, or None when there is no such place."""
        if isinstance(key, int):
            return Shape(get_args(self.annotation)[0]) if get_origin(self.annotation) is tuple else None
        if self.entry is not None:
            return Shape(self.entry)
        if self.model is None:
            return None
        field = self.model.model_fields.get(key)
        if field is not None:
            return Shape(field.annotation)
        return Shape(Any) if self.choice and key else None

    def walk(self, path: tuple[str | int, ...]) -> Shape | None:
        """What stands at *path* below, or None."""
        shape: Shape | None = self
        for key in path:
            shape = shape.step(key) if shape is not None else None
        return shape

    def keys(self) -> tuple[str, ...]:
        """The keys that are known here; none for a table of names."""
        return tuple(self.model.model_fields) if self.model is not None else ()

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every single setting below, with NAME for a name that the operator gives."""
        if self.choice or not self.table:
            yield path
        elif self.entry is not None:
            yield from Shape(self.entry).leaves((*path, NAME))
        else:
            for key in self.keys():
                yield from Shape(self.model.model_fields[key].annotation if self.model else Any).leaves((*path, key))


def variable(path: tuple[object, ...]) -> str:
    """The environment variable of *path*; of the list, for a place inside one."""
    names = []
    for key in path:
        if isinstance(key, int):
            break
        names.append(str(key).upper())
    return "LB_" + "__".join(names)


def nearest_variable(root: Shape, path: tuple[str, ...]) -> str:
    """The variable that was probably meant by one that names no setting, or ""."""
    repaired: tuple[str, ...] = ()
    for key in path:
        at = root.walk(repaired)
        near = key if root.walk((*repaired, key)) else did_you_mean(key, at.keys() if at else (), cutoff=0.75)
        repaired = (*repaired, near)
    meant = root.walk(repaired)
    if meant is not None and (meant.short or not meant.table):
        return variable(repaired)
    known = []
    for leaf in root.leaves():
        given = [path[i] if key == NAME and i < len(path) - 1 else key for i, key in enumerate(leaf)]
        known.append(variable(tuple(given)))
    return did_you_mean(variable(path), known, cutoff=0.85)


def _bare(annotation: Any) -> Any:
    """Without Annotated and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation
