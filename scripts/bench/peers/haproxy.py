"""HAProxy: one thread, with its HTTP log."""

from __future__ import annotations

from scripts.bench.processes import free_port
from scripts.bench.site import Peer, Site, first_line, program


def haproxy(site: Site) -> Peer:
    binary, port = program("haproxy", "apt-get install haproxy"), free_port()
    crt = site.directory / "both.pem"
    if site.tls:
        crt.write_bytes(site.cert.read_bytes() + site.key.read_bytes())
    config = site.directory / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 8000
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
