"""Traefik: a router and a service from a file, with its access log in a file."""

from __future__ import annotations

import json
from typing import Any

from scripts.bench.processes import free_port
from scripts.bench.site import Peer, Site, first_line, program


def traefik(site: Site) -> Peer:
    """It reads YAML, and JSON is YAML."""
    binary, port = (
        program("traefik", "put the program of https://github.com/traefik/traefik/releases on PATH"),
        free_port(),
    )
    router: dict[str, Any] = {"rule": "PathPrefix(`/`)", "service": "backend", "entryPoints": ["front"]}
    dynamic: dict[str, Any] = {
        "http": {
            "routers": {"all": router},
            "services": {"backend": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{site.backend}"}]}}},
        }
    }
    if site.tls:
        router["tls"] = {}
        dynamic["tls"] = {"certificates": [{"certFile": str(site.cert), "keyFile": str(site.key)}]}
    routes, config = site.directory / "traefik-routes.yml", site.directory / "traefik.yml"
    routes.write_text(json.dumps(dynamic))
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {"front": {"address": f"127.0.0.1:{port}"}},
        "providers": {"file": {"filename": str(routes)}},
        "accessLog": {"filePath": str(site.directory / "traefik.access")},
        "serversTransport": {"maxIdleConnsPerHost": 128},
    }
    config.write_text(json.dumps(static))
    version = first_line([binary, "version"]).removeprefix("Version:").strip()
    return Peer("traefik", [binary, f"--configFile={config}"], port, f"traefik {version}")
