"""The proxies of the bench by name. A new one is a module with one function and one line here."""

from __future__ import annotations

from scripts.bench.peers.caddy import caddy
from scripts.bench.peers.envoy import envoy
from scripts.bench.peers.golang import go
from scripts.bench.peers.haproxy import haproxy
from scripts.bench.peers.nginx import nginx, nginx_nolog, nginx_stream
from scripts.bench.peers.other_python import aiohttp, naive
from scripts.bench.peers.ours import l7lb, l7lb_bare, l7lb_compiled, l7lb_compiled_bare, l7lb_direct
from scripts.bench.peers.traefik import traefik
from scripts.bench.site import Build

PEERS: dict[str, Build] = {
    "nginx": nginx,  # first: the others are ratios to it
    "nginx-nolog": nginx_nolog,
    "nginx-stream": nginx_stream,
    "haproxy": haproxy,
    "envoy": envoy,
    "caddy": caddy,
    "go": go,
    "traefik": traefik,
    "l7lb": l7lb,
    "l7lb-direct": l7lb_direct,
    "l7lb-compiled": l7lb_compiled,
    "l7lb-compiled-bare": l7lb_compiled_bare,
    "l7lb-bare": l7lb_bare,
    "aiohttp": aiohttp,
    "naive": naive,
}
