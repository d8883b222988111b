"""What every settings model is: frozen, strict about unknown keys, and able to name a replaceable part."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    """A settings model: never changes, refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Choice(Frozen):
    """Which implementation, and its options, which stand beside its code: `"p2c"` or `{kind = "p2c", choices = 3}`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """What was given beside the kind."""
        return dict(self.model_extra or {})
