"""Go's httputil.ReverseProxy: our own few lines around it, built once; it keeps no log."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from scripts.bench.processes import free_port
from scripts.bench.site import CACHE, Missing, Peer, Site, first_line, program

SOURCE = Path(__file__).with_name("reverse_proxy.go")


def built(compiler: str, version: str) -> Path:
    """The program, built again when its source or the compiler is another. Raises Missing."""
    fingerprint = hashlib.sha256(SOURCE.read_bytes() + version.encode()).hexdigest()[:12]
    target = CACHE / f"go-{fingerprint}" / "reverse_proxy"
    if not target.exists():
        print(f"building {SOURCE.name} with {version}")
        shutil.rmtree(target.parent, ignore_errors=True)
        env = os.environ | {"GOCACHE": str(CACHE / "go-build"), "GOTOOLCHAIN": "local", "GO111MODULE": "off"}
        command = [compiler, "build", "-o", str(target), str(SOURCE)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"{compiler} could not build it: {done.stderr[-500:]}")
    return target


def go(site: Site) -> Peer:
    """It takes as many threads as it has cores, which is one."""
    compiler = program("go", "apt-get install golang-go")
    version, port = first_line([compiler, "version"]), free_port()
    command = [str(built(compiler, version)), f"127.0.0.1:{port}", f"http://127.0.0.1:{site.backend}"]
    if site.tls:
        command += [str(site.cert), str(site.key)]
    return Peer("go", command, port, "httputil.ReverseProxy, " + version.removeprefix("go version "))
