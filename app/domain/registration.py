"""What was said of a backend while we run: that it is there, or what is to hold in place of what its source says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from settings.pools import BackendSettings


@dataclass(frozen=True, slots=True)
class Registration:
    """What was said of one backend.

    Attributes:
        spec: of one that was registered; None of one that another source names.

        ttl: seconds after which one that was registered is gone when it does not register again; 0 is never. Of one
            that was taken out and that nobody names any more: for which that is remembered.

        weight: in place of that of *instead_of*; None is that of the source.

        removed: it is taken out, although a source names it.

        instead_of: what its source said of it when it got its weight, or was taken out: both hold as long as the source
            says the same.

        draining: it finishes what it has.

        let_go: wall-clock seconds, from when on it keeps no client that a cookie keeps at it; None is never.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    spec: BackendSettings | None = None
    ttl: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    weight: Annotated[int, Field(ge=0, le=65535)] | None = None
    removed: bool = False
    instead_of: BackendSettings | None = None
    draining: bool = False
    let_go: FiniteFloat | None = None

    def encoded(self) -> bytes:
        """As JSON, which `decoded` reads again."""
        return _NOTE.dump_json(self)

    @classmethod
    def decoded(cls, note: bytes) -> Registration | None:
        """What was encoded; None where it cannot be read, being of another version."""
        try:
            return _NOTE.validate_json(note)
        except ValidationError:
            return None

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return self == Registration()

    def weighed(self, weight: int, source: BackendSettings) -> Self:
        """With another weight than *source* says."""
        if weight == source.weight:
            return replace(self, weight=None)
        return replace(self, weight=weight, instead_of=source)

    def weight_of(self, source: BackendSettings) -> int:
        """The weight that holds while the source says this."""
        return source.weight if self.weight is None or self.instead_of != source else self.weight

    def removes(self, source: BackendSettings) -> bool:
        """Whether the backend is taken out while the source says this."""
        return self.removed and self.instead_of == source


_NOTE = TypeAdapter(Registration)
