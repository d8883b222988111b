"""Says as JSON how the Python that runs it was built: without profile guided optimization (PGO) all here is slower."""

import json
import platform
import sys
import sysconfig


def build() -> dict[str, str | bool]:
    """Its version, and whether it was built with PGO, as far as it tells."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    # Debian's own is built with PGO by its packaging rules, and shows the options of its shared library instead.
    debian = sys.base_prefix == "/usr" and "/usr/share/python-wheels/" in options
    return {"version": platform.python_version(), "pgo": debian or "--enable-optimizations" in options}


if __name__ == "__main__":
    print(json.dumps(build()))
