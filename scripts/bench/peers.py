"""How each proxy of the bench is set up and started. A new one is one function and one line in PEERS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
GROUPS = 100
TARGET = f"/g{GROUPS // 2:03}/item/1"  # in the middle of the groups
BODY = "x" * 1024


class Missing(Exception):
    """The proxy is not on this machine; the text says how to get it."""


@dataclass(frozen=True)
class Site:
    """What every proxy is given."""

    directory: Path
    backend: int
    """Port of the backend."""
    tls: bool
    python: str
    """The interpreter for those in Python."""


@dataclass(frozen=True)
class Peer:
    """A proxy, ready to be started."""

    name: str
    command: list[str]
    port: int
    version: str
    env: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    """Of the requests of a slice: the very slow ones get fewer."""


def program(name: str, package: str) -> str:
    """Raises Missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise Missing(f"apt-get install {package}")
    return found


def first_line(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return (answer.stdout or answer.stderr).splitlines()[0].strip()


def python_build(python: str) -> dict[str, object]:
    """Version of an interpreter, and whether it was built with profile guided optimization."""
    said = subprocess.run([python, ROOT / "scripts/python_build.py"], capture_output=True, text=True, check=True).stdout
    build: dict[str, object] = json.loads(said)
    return build


def nginx_main(directory: Path, name: str, http: str) -> list[str]:
    """The command of an nginx with one worker."""
    binary = program("nginx", "nginx-light")
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{name}.{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / f"{name}.conf"
    config.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off; worker_processes 1; pid {directory}/{name}.pid; error_log {directory}/{name}.log;
events {{ worker_connections 4096; }}
http {{ keepalive_requests 1000000; keepalive_timeout 600s; {temporary}
{http}
}}""")
    return [binary, "-e", str(directory / f"{name}.log"), "-c", str(config)]


def backend(directory: Path, port: int) -> list[str]:
    """What all proxies forward to."""
    server = f'listen 127.0.0.1:{port}; access_log off; location / {{ default_type text/plain; return 200 "{BODY}"; }}'
    return nginx_main(directory, "backend", f"server {{ {server} }}")


def nginx_proxy(site: Site, name: str, access_log: str) -> Peer:
    port = free_port()
    certificate = f"ssl_certificate {site.directory}/cert.pem; ssl_certificate_key {site.directory}/key.pem;"
    http = f"""
upstream backend {{ server 127.0.0.1:{site.backend}; keepalive 128; keepalive_requests 1000000; }}
access_log {access_log};
server {{
    listen 127.0.0.1:{port}{" ssl" if site.tls else ""}; {certificate if site.tls else ""}
    location / {{
        proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
}}"""
    command = nginx_main(site.directory, name, http)
    return Peer(name, command, port, first_line([command[0], "-v"]))


def nginx(site: Site) -> Peer:
    """With its access log as Debian sets it up: the one that all others are compared to."""
    return nginx_proxy(site, "nginx", f"{site.directory}/nginx.access")


def nginx_nolog(site: Site) -> Peer:
    return nginx_proxy(site, "nginx-nolog", "off")


def haproxy(site: Site) -> Peer:
    """One thread, with its HTTP log."""
    binary, port = program("haproxy", "haproxy"), free_port()
    crt = site.directory / "both.pem"
    if site.tls:
        crt.write_bytes((site.directory / "cert.pem").read_bytes() + (site.directory / "key.pem").read_bytes())
    config = site.directory / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port}{f" ssl crt {crt}" if site.tls else ""}
    default_backend back
backend back
    server one 127.0.0.1:{site.backend}
""")
    return Peer("haproxy", [binary, "-f", str(config)], port, first_line([binary, "-v"]))


def uvicorn(site: Site, name: str, app: str, env: dict[str, str], *flags: str, share: float = 1.0) -> Peer:
    """An app under uvicorn, in one process, as its users start it."""
    port = free_port()
    command = [site.python, "-m", "uvicorn", app, "--port", str(port), *flags]
    if site.tls:
        command += ["--ssl-keyfile", f"{site.directory}/key.pem", "--ssl-certfile", f"{site.directory}/cert.pem"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LB_")}
    build = python_build(site.python)
    version = f"Python {build['version']} {'with' if build['pgo'] else 'without'} PGO"
    return Peer(name, command, port, version, clean | env | {"PYTHONPATH": str(ROOT)}, share)


def naive(site: Site) -> Peer:
    url = f"http://127.0.0.1:{site.backend}"
    return uvicorn(site, "naive", "scripts.bench.naive:app", {"BENCH_BACKEND": url}, "--no-access-log", share=0.5)


def l7lb(site: Site) -> Peer:
    """Everything on: 100 groups, rate limit by client, JSON latency log, active health checks."""
    settings = {
        "LB_ROUTES": "; ".join(f"/g{number:03}=a" for number in range(GROUPS)),
        "LB_POOLS__A__BACKENDS": f"http://127.0.0.1:{site.backend}",
        "LB_POOLS__A__HEALTH__PATH": "/",
        "LB_RATE_LIMIT__KIND": "token_bucket",
        "LB_RATE_LIMIT__RATE": "1000000/s",  # that nobody is refused; the price of asking is the same
    }
    return uvicorn(site, "l7lb", "app.main:app", settings)


def l7lb_bare(site: Site) -> Peer:
    """Nothing on: what forwarding alone costs."""
    settings = {
        "LB_ROUTES": "/=a",
        "LB_POOLS__A__BACKENDS": f"http://127.0.0.1:{site.backend}",
        "LB_POOLS__A__HEALTH__KIND": "none",
        "LB_LOG__FORMAT": "off",
    }
    return uvicorn(site, "l7lb-bare", "app.main:app", settings)


PEERS: dict[str, Callable[[Site], Peer]] = {
    "nginx": nginx,  # first: the others are ratios to it
    "nginx-nolog": nginx_nolog,
    "haproxy": haproxy,
    "l7lb": l7lb,
    "l7lb-bare": l7lb_bare,
    "naive": naive,
}

HERE = sys.executable
