"""What is wrong with the settings, said so that it can be put right: where, what, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class Wrong(ValueError):
    """A value that is refused: *message* says what is wrong, *fix* what to write instead, *at* which field of it."""

    def __init__(self, message: str, fix: str, *, at: tuple[str, ...] = ()) -> None:
        super().__init__(f"{message}: {fix}")
        self.message = message
        self.fix = fix
        self.at = at


class Crossed(ValueError):
    """Settings that are fine one by one and do not fit together; *found* is pairs of a path and what is wrong there."""

    def __init__(self, found: Iterable[tuple[tuple[str, ...], Wrong]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(f"{'.'.join(path)}: {wrong}" for path, wrong in self.found))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right.

    Attributes:
        path: of the setting, as in `pools.a.health.timeout`; "" for the settings as a whole.

        where: the environment variable, or `file:line`.

        message: what is wrong.

        fix: what to write instead.
    """

    path: str
    where: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {f'{self.path}: ' if self.path else ''}{self.message}; {self.fix}"


class SettingsError(ValueError):
    """The settings cannot be used; *problems* has every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The nearest of *known*, or "" when none is near."""
    near = get_close_matches(word[:200], list(known), n=1, cutoff=cutoff)
    return near[0] if near else ""
