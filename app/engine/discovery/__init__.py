"""Where the backends of a pool come from beside its settings: one file a kind of source, and the table of them all."""

from app.domain.registry import Registry
from app.engine.discovery.consul import Consul
from app.engine.discovery.dns import Dns
from app.engine.discovery.docker import Docker
from app.engine.discovery.etcd import Etcd
from app.engine.discovery.file import File
from app.engine.discovery.http import Http
from app.engine.discovery.kubernetes import Kubernetes
from app.engine.discovery.redis import Redis
from app.engine.discovery.source import Source

SOURCES: Registry[Source] = Registry(
    "l7lb.sources",
    {
        "consul": Consul,
        "dns": Dns,
        "docker": Docker,
        "etcd": Etcd,
        "file": File,
        "http": Http,
        "kubernetes": Kubernetes,
        "redis": Redis,
    },
)
