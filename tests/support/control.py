"""The control plane of a running balancer, as a test asks it."""

from __future__ import annotations

import json
from typing import Any

from tests.support.exposition import parse
from tests.support.raw import Response
from tests.support.server import Balancer
from tests.support.until import until

TOKEN = "correct-horse-battery-staple"
OPEN = {"LB_ADMIN__TOKEN": TOKEN}
"""What a balancer has to be told for that."""


def ask(balancer: Balancer, path: str, method: str = "GET", body: bytes | None = None) -> Response:
    """One request with the token."""
    return balancer.get(f"/-/{path}", f"Authorization: Bearer {TOKEN}", method=method, body=body)


def seen(balancer: Balancer, name: str = "main") -> dict[str, Any]:
    """A pool, with its backends by id under `backends`."""
    found: dict[str, Any] = json.loads(ask(balancer, "pools").body)[name]
    found["backends"] = {backend["id"]: backend for backend in found["backends"]}
    return found


def change(balancer: Balancer, backend: str, name: str = "main", **said: object) -> None:
    """Drain a backend, have it back, or give it another weight."""
    response = ask(balancer, f"pools/{name}/backends/{backend}", "PATCH", json.dumps(said).encode())
    assert response.status == 200, response.body


def remove(balancer: Balancer, backend: str, name: str = "main") -> None:
    """Take out a backend that is draining, as soon as it is idle."""
    until(lambda: ask(balancer, f"pools/{name}/backends/{backend}", "DELETE").status == 204, f"{backend} to be idle")


def waiting(balancer: Balancer, name: str = "main") -> int:
    """How many requests are in the queue of a pool."""
    samples = parse(ask(balancer, "metrics").body.decode())["l7lb_pool_waiting"].samples
    return int(samples["l7lb_pool_waiting", (("pool", name),)])


def idle(balancer: Balancer, name: str = "main") -> bool:
    """Whether nothing is in flight, in the pool and at each backend."""
    found = seen(balancer, name)
    return found["in_flight"] == 0 and all(backend["in_flight"] == 0 for backend in found["backends"].values())
