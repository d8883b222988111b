"""What the operator says."""

from settings.root import Settings

__all__ = ["Settings"]
