"""l7lb under the servers that speak HTTP/2 in front of it, set up as `l7lb` is under uvicorn."""

from __future__ import annotations

import dataclasses
import subprocess

from scripts.bench.peers.ours import APP, full
from scripts.bench.processes import free_port
from scripts.bench.site import Build, Missing, Peer, Site

STREAMS = 4
FRONTS = {
    "hypercorn": ("hypercorn", APP, "--bind", "127.0.0.1:{}"),
    "granian": ("granian", APP, "--interface", "asgi", "--host", "127.0.0.1", "--port", "{}"),
    "zttp": ("uvicorn", APP, "--http", "zttp", "--http2", "--port", "{}"),
}
"""Package, which is asked for its version, to module and arguments, of which one has the port."""


def under(server: str) -> Build:
    """The row of one of FRONTS; its build raises Missing where the interpreter has it not."""

    def build(site: Site) -> Peer:
        words = ["-c", f"from importlib.metadata import version; print(version({server!r}))"]
        said = subprocess.run([site.python.path, *words], capture_output=True, text=True, check=False)
        if said.returncode:
            raise Missing(f"pip install {server}, for {site.python.path}")
        port = free_port()
        module, *arguments = FRONTS[server]
        command = [site.python.path, "-m", module, *(word.format(port) for word in arguments)]
        version = f"{server} {said.stdout.strip()}, {site.python}"
        return dataclasses.replace(full(site), command=command, port=port, version=version, streams=STREAMS)

    return build
