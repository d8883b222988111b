"""nginx: the one that all others are compared to."""

from __future__ import annotations

from scripts.bench.backends import nginx_main
from scripts.bench.processes import free_port
from scripts.bench.site import Peer, Site, first_line


def proxy(site: Site, name: str, access_log: str, more: str = "", upgrade: str = "") -> Peer:
    port = free_port()
    certificate = f"ssl_certificate {site.cert}; ssl_certificate_key {site.key};" if site.tls else ""
    http = f"""
upstream backend {{ server 127.0.0.1:{site.backend}; keepalive 128; keepalive_requests 1000000; }}
access_log {access_log};
server {{
    listen 127.0.0.1:{port}{" ssl" if site.tls else ""}; {certificate}
    client_max_body_size 0; {more}
    location / {{
        proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "{upgrade}";
        proxy_set_header Upgrade "{"$http_upgrade" if upgrade else ""}";
        proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
}}"""
    command = nginx_main(site.directory, name, http)
    return Peer(name, command, port, first_line([command[0], "-v"]))


def nginx(site: Site) -> Peer:
    """With its access log, and buffers as it sets them up by itself."""
    return proxy(site, "nginx", f"{site.directory}/nginx.access")


def nginx_nolog(site: Site) -> Peer:
    return proxy(site, "nginx-nolog", "off")


def nginx_stream(site: Site) -> Peer:
    """Hands bodies on as they come, as l7lb does, and puts none of them in a file."""
    streaming = "proxy_request_buffering off; proxy_max_temp_file_size 0;"
    return proxy(site, "nginx-stream", f"{site.directory}/nginx-stream.access", streaming)


def nginx_websocket(site: Site) -> Peer:
    """Told to pass upgrades on, which it does not by itself."""
    return proxy(site, "nginx", f"{site.directory}/nginx-websocket.access", upgrade="upgrade")
