"""What was said of a backend while we run: that it is there, or what is to hold in place of what its source says."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Self

from settings.pools import BackendSettings

_SPECS = ("spec", "instead_of")


@dataclass(frozen=True, slots=True)
class Registration:
    """What was said of one backend.

    Attributes:
        spec: of one that was registered; None of one that another source names.

        ttl: seconds after which one that was registered is gone when it does not register again; 0 is never.

        weight: in place of that of *instead_of*; None is that of the source.

        removed: it is taken out, although a source names it.

        instead_of: what its source said of it when it got its weight, or was taken out: both hold as long as the source
            says the same.

        draining: it finishes what it has.

        let_go: wall-clock seconds, from when on it keeps no client that a cookie keeps at it; None is never.
    """

    spec: BackendSettings | None = None
    ttl: float = 0.0
    weight: int | None = None
    removed: bool = False
    instead_of: BackendSettings | None = None
    draining: bool = False
    let_go: float | None = None

    def encoded(self) -> bytes:
        """As JSON, which `decoded` reads again."""
        specs = {name: getattr(self, name) for name in _SPECS}
        said = {
            "ttl": self.ttl,
            "weight": self.weight,
            "removed": self.removed,
            "draining": self.draining,
            "let_go": self.let_go,
            **{name: spec and spec.model_dump(mode="json") for name, spec in specs.items()},
        }
        return json.dumps(said).encode()

    @classmethod
    def decoded(cls, note: bytes) -> Self | None:
        """What was encoded; None where it cannot be read, being of another version."""
        try:
            said = json.loads(note)
            specs = {name: said[name] and BackendSettings.model_validate(said[name]) for name in _SPECS}
            return cls(**{**said, **specs})
        except (ValueError, TypeError, KeyError):  # pydantic's is a ValueError
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
