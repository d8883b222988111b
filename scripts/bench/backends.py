"""What the proxies forward to: an nginx with one worker and 1 KiB, HAProxy where HTTP/2 is compared, or a program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.bench.processes import free_ports
from scripts.bench.site import BODY, program

Ready = tuple[list[str], tuple[int, ...]]
"""A command, and the ports that it will listen on."""
POST_BYTES = 10240


def nginx_main(directory: Path, name: str, http: str) -> list[str]:
    """The command of an nginx with one worker. Raises Missing."""
    binary = program("nginx", "apt-get install nginx-light")
    temporary = "\n".join(
        f"{kind}_temp_path {directory}/{name}.{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / f"{name}.conf"
    config.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off; worker_processes 1; pid {directory}/{name}.pid; error_log {directory}/{name}.log;
events {{ worker_connections 16384; }}
http {{ keepalive_requests 1000000; keepalive_timeout 600s; {temporary}
{http}
}}""")
    return [binary, "-e", str(directory / f"{name}.log"), "-c", str(config)]


def small(directory: Path) -> Ready:
    """1 KiB to every request."""
    return several(directory, 1)


def thousand(directory: Path) -> Ready:
    """The same on 1000 ports: as many backends."""
    return several(directory, 1000)


def several(directory: Path, count: int) -> Ready:
    ports = free_ports(count)
    listen = "\n".join(f"listen 127.0.0.1:{port};" for port in ports)
    answer = f'access_log off; location / {{ default_type text/plain; return 200 "{BODY.decode()}"; }}'
    return nginx_main(directory, "backend", f"server {{ {listen} {answer} }}"), tuple(ports)


def both(directory: Path) -> Ready:
    """The same by HAProxy: over HTTP/1.1 on the first port, over HTTP/2 on the second. Raises Missing."""
    binary = program("haproxy", "apt-get install haproxy")
    ports = free_ports(2)
    config = directory / "backend.cfg"
    config.write_text(f"""
global
    nbthread 1
defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
frontend front
    bind 127.0.0.1:{ports[0]}
    bind 127.0.0.1:{ports[1]} proto h2
    http-request return status 200 content-type text/plain string "{BODY.decode()}"
""")
    return [binary, "-f", str(config)], tuple(ports)


def reading(directory: Path) -> Ready:
    """Answers when it has the whole request body, which must be of 10 KiB; `return` alone would speak too early."""
    port, inner = free_ports(2)
    http = f"""
access_log off; client_body_buffer_size 64k;
upstream inner {{ server 127.0.0.1:{inner}; keepalive 128; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://inner; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Length $content_length;
    }}
}}
server {{
    listen 127.0.0.1:{inner};
    location / {{
        default_type text/plain;
        if ($http_x_length !~ "^({POST_BYTES})?$") {{ return 400; }}
        return 200 "{BODY.decode()}";
    }}
}}"""
    return nginx_main(directory, "backend", http), (port,)


def talking(directory: Path) -> Ready:
    """Answers WebSocket messages; see talk.py."""
    port = free_ports(1)[0]
    return [sys.executable, "-m", "scripts.bench.talk", str(port)], (port,)


def bulk(directory: Path) -> Ready:
    """Gives and takes large bodies; see bulk.py."""
    port = free_ports(1)[0]
    return [sys.executable, "-m", "scripts.bench.bulk", str(port)], (port,)
