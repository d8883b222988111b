"""The settings file, read again while we run."""

from __future__ import annotations

from pydantic import Field

from settings.models import Frozen
from settings.units import Duration


class ReloadSettings(Frozen):
    """When the settings file is read again, and how far one can go back."""

    watch: bool = True
    """Read the file when it changes; else only when POST `/-/reload`, or SIGHUP, asks for it."""
    interval: Duration = Field(default=1.0, gt=0)
    """How often it is looked at."""
    keep: int = Field(default=10, ge=1, le=100)
    """Revisions that are kept, to go back to."""
