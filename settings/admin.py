"""The control plane."""

from __future__ import annotations

import re
from typing import Any

from pydantic import SecretStr, field_validator

from settings.models import Frozen, Listed, Network
from settings.problems import Wrong


class AdminSettings(Frozen):
    """Where it is, and who may use it."""

    prefix: str = "/-"
    """Path that the control plane is under; requests for it are never forwarded."""
    token: SecretStr | None = None
    """Bearer token; without one only live and ready answer."""
    allow_backends: Listed[Network] = ()
    """Networks in which a backend may be that is registered while we run; without one none can be."""

    @field_validator("prefix")
    @classmethod
    def _a_path(cls, value: str) -> str:
        value = value.rstrip("/")
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value) or re.search(r"/\.{1,2}(?:/|$)", value):
            raise Wrong("not a prefix", 'write a path of letters, digits and - . _ ~, such as "/-" or "/admin"')
        return value

    @field_validator("token", mode="before")
    @classmethod
    def _sendable(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text == "":  # what an unset variable in a compose file becomes: never a token that everybody knows
            return None
        if isinstance(text, str) and not re.fullmatch(r"[\x21-\x7e]+", text):
            raise Wrong("not a token that a client could send", "write printable ASCII characters without spaces")
        return value
