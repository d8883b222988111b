"""l7lb with all of it on, with nothing on, and what some scenarios compare it with: itself, set up otherwise."""

from __future__ import annotations

import dataclasses
import subprocess

from scripts.bench.peers.other_python import uvicorn
from scripts.bench.site import CACHE, GROUPS, ROOT, Build, Missing, Peer, Site

APP = "app.main:app"


def l7lb(site: Site) -> Peer:
    """All of it: 100 groups, rate limit by client, JSON latency log, active health checks."""
    return full(site)


def l7lb_direct(site: Site) -> Peer:
    """The same on the second driver. Raises Missing where there is none."""
    peer = full(site, {"LB_EDGE__DRIVER": "direct"})
    check = [site.python.path, "-m", "app", "check"]
    said = subprocess.run(check, env=peer.env, cwd=ROOT, capture_output=True, text=True, check=False)
    if said.returncode or "LB_EDGE__DRIVER" in said.stdout + said.stderr:
        raise Missing("this l7lb has no LB_EDGE__DRIVER=direct")
    return peer


def l7lb_compiled(site: Site) -> Peer:
    """The second driver, its modules compiled by mypyc: as quick as it gets. Raises Missing without a C compiler."""
    return compiled(site, "l7lb-compiled", full(site, {"LB_EDGE__DRIVER": "direct"}))


def l7lb_compiled_bare(site: Site) -> Peer:
    """That with nothing on."""
    return compiled(site, "l7lb-compiled-bare", l7lb_bare(site, {"LB_EDGE__DRIVER": "direct"}))


def compiled(site: Site, name: str, peer: Peer) -> Peer:
    """*peer*, run by a venv in which l7lb is compiled. Raises Missing without a C compiler."""
    venv = CACHE / f"compiled-{site.python.label}"
    CACHE.mkdir(parents=True, exist_ok=True)
    made = subprocess.run([ROOT / "scripts/compile", "--python", site.python.path, venv], check=False)
    if made.returncode:
        raise Missing("scripts/compile, which needs gcc and python3-dev, could not compile it")
    command = [str(venv / "bin/python"), *peer.command[1:], "--app-dir", str(site.directory)]
    env = peer.env | {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}  # what is installed there, not the sources of this tree
    return dataclasses.replace(peer, name=name, command=command, env=env)


def l7lb_bare(site: Site, more: dict[str, str] | None = None) -> Peer:
    """Nothing on: what forwarding alone costs."""
    settings = {
        "LB_ROUTES": "/=a",
        "LB_POOLS__A__BACKENDS": f"http://127.0.0.1:{site.backend}",
        "LB_POOLS__A__HEALTH__KIND": "none",
        "LB_POOLS__A__TIMEOUTS__KEEP_ALIVE": "60s",
        "LB_LOG__FORMAT": "off",
        "LB_DRAIN__DELAY": "0s",
    }
    return uvicorn(site, "l7lb-bare", APP, settings | (more or {}))


def full(site: Site, more: dict[str, str] | None = None, *flags: str, groups: int = GROUPS) -> Peer:
    settings = {
        "LB_ROUTES": "; ".join(f"/g{number:03}=a" for number in range(groups)),
        "LB_POOLS__A__BACKENDS": f"http://127.0.0.1:{site.backend}",
        "LB_POOLS__A__HEALTH__PATH": "/",
        "LB_POOLS__A__TIMEOUTS__KEEP_ALIVE": "60s",  # as nginx and the others keep theirs between two slices
        "LB_RATE_LIMIT__KIND": "token_bucket",
        "LB_RATE_LIMIT__RATE": "1000000/s",  # that nobody is refused; the price of asking is the same
        "LB_DRAIN__DELAY": "0s",  # nobody has to learn that it stops
    }
    peer = uvicorn(site, "l7lb", APP, settings | (more or {}), *flags)
    return dataclasses.replace(peer, target=f"/g{groups // 2:03}/item/1")


def l7lb_bridge(site: Site) -> Peer:
    """With another protocol class than ours in front, so that WebSockets are bridged."""
    return full(site, {}, "--http", "h11")


def with_groups(groups: int) -> Build:
    return lambda site: full(site, groups=groups)


def with_backends(backends: int) -> Build:
    """Without health checks: 1000 backends would be asked so often that it hides what a request costs."""

    def build(site: Site) -> Peer:
        urls = ",".join(f"http://127.0.0.1:{port}" for port in site.backends[:backends])
        return full(site, {"LB_POOLS__A__BACKENDS": urls, "LB_POOLS__A__HEALTH__KIND": "none"})

    return build


def to_haproxy(scheme: str, driver: str) -> Build:
    """The same backend, which speaks HTTP/1.1 on its first port (`http`) and HTTP/2 on its second (`h2c`)."""

    def build(site: Site) -> Peer:
        url = f"{scheme}://127.0.0.1:{site.backends[scheme == 'h2c']}"
        return full(site, {"LB_POOLS__A__BACKENDS": url, "LB_EDGE__DRIVER": driver})

    return build


def with_workers(workers: int) -> Build:
    """One keeps the buckets of its limit in memory; more of them, and that is LMDB, share them."""
    return lambda site: full(site, {}, "--workers", str(workers))


def with_lmdb(site: Site) -> Peer:
    """One process with its buckets in LMDB all the same: which part of the price of workers is that."""
    return full(site, {"LB_STATE": f"lmdb:{site.directory}/state"})
