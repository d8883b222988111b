"""Those in Python that are not ours: the naive one on Starlette and httpx, and the one by hand on aiohttp."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.bench.processes import free_port
from scripts.bench.pythons import described, package_venv
from scripts.bench.site import ROOT, Peer, Site


def uvicorn(site: Site, name: str, app: str, env: dict[str, str], *flags: str, share: float = 1.0) -> Peer:
    """An app under uvicorn, as its users start it."""
    port = free_port()
    command = [site.python.path, "-m", "uvicorn", app, "--port", str(port), *flags]
    if site.tls:
        command += ["--ssl-keyfile", str(site.key), "--ssl-certfile", str(site.cert)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LB_")}
    return Peer(name, command, port, str(site.python), clean | env | {"PYTHONPATH": str(ROOT)}, share)


def naive(site: Site) -> Peer:
    """Keeps no log."""
    url = f"http://127.0.0.1:{site.backend}"
    return uvicorn(
        site, "naive", "scripts.bench.peers.naive_app:app", {"BENCH_BACKEND": url}, "--no-access-log", share=0.1
    )


def aiohttp(site: Site) -> Peer:
    """With uvloop; keeps no log."""
    python, port = str(package_venv("aiohttp") / "bin/python"), free_port()
    app = Path(__file__).with_name("aiohttp_app.py")
    pair = [str(site.cert), str(site.key)] if site.tls else []
    command = [python, str(app), str(port), f"http://127.0.0.1:{site.backend}", *pair]
    return Peer("aiohttp", command, port, str(described(python)))
