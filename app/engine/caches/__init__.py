"""Where caches keep their responses. CACHES is the table of its kinds."""

from app.domain.registry import Registry
from app.engine.caches.disk import DiskStore
from app.engine.caches.memory import MemoryStore
from app.engine.caches.redis import RedisStore
from app.engine.caches.store import Kept, Lost, Purge, Store, StoreOptions, Usage, Writer

CACHES: Registry[Store] = Registry("l7lb.caches", {"memory": MemoryStore, "disk": DiskStore, "redis": RedisStore})

__all__ = ["CACHES", "Kept", "Lost", "Purge", "Store", "StoreOptions", "Usage", "Writer"]
