"""The control plane."""

from __future__ import annotations

from pydantic import SecretStr

from settings.models import Frozen


class AdminSettings(Frozen):
    """Where it is, and who may use it."""

    prefix: str = "/-"
    token: SecretStr | None = None
    """Bearer token; without one only live and ready answer."""
