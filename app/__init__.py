"""l7lb: a layer-7 load balancer in Python."""

from importlib.util import find_spec

__version__ = "0.1.0"


def compiled() -> bool:
    """Whether the hot path is the compiled one of a wheel made by scripts/compile, and not its Python source."""
    found = find_spec("app.engine.direct")
    return found is not None and not str(found.origin).endswith(".py")
