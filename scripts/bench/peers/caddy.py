"""Caddy: its reverse_proxy with an access log in a file."""

from __future__ import annotations

import os

from scripts.bench.processes import free_port
from scripts.bench.site import Peer, Site, first_line, program


def caddy(site: Site) -> Peer:
    """It takes as many threads as it has cores, which is one."""
    binary, port = program("caddy", "apt-get install caddy"), free_port()
    config = site.directory / "Caddyfile"
    config.write_text(f"""
{{
    admin off
    auto_https off
}}
{"https" if site.tls else "http"}://:{port} {{
    bind 127.0.0.1
    {f"tls {site.cert} {site.key}" if site.tls else ""}
    log {{
        output file {site.directory}/caddy.access
    }}
    reverse_proxy 127.0.0.1:{site.backend} {{
        transport http {{
            keepalive_idle_conns_per_host 128
        }}
    }}
}}
""")
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(site.directory))
    command = [binary, "run", "--config", str(config), "--adapter", "caddyfile"]
    return Peer("caddy", command, port, "Caddy " + first_line([binary, "version"]), dict(os.environ) | home)
