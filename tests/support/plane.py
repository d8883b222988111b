"""A control plane without a socket, and what it says when something is wrong."""

from __future__ import annotations

from typing import Any

import httpx
from starlette.applications import Starlette

from app.admin.cache import CachePurges
from app.admin.control import Control
from app.admin.reload import Reloads
from app.admin.routes import routes
from app.domain.routing import RouteTable
from app.engine.caches.purges import PurgeLog, Purges
from app.engine.calls import Calls
from app.engine.crew import Crew
from app.engine.registrations import Registrations
from app.engine.reload import Reload
from app.engine.revisions import Revisions
from app.engine.state.board import Boards
from app.engine.state.memory_board import MemoryBoard
from app.engine.topology import Topology
from app.plan import plan
from settings import Settings

TOKEN = "correct horse".replace(" ", "-")
BEARER = {"authorization": f"Bearer {TOKEN}"}


def settings(**given: Any) -> Settings:
    """Three groups, and a pool of two backends that nobody probes."""
    return Settings(
        pools={"a": {"backends": ["http://h:1", "http://h:2|weight=0|id=idle"], "health": {"kind": "none"}}},
        groups={
            "api": {"path": "/api", "pool": "a"},
            "all": {"respond": {"status": 204}},
            "api2": {"path": "/api", "pool": "a"},
        },
        **given,
    )


async def told() -> str:
    """Something to scrape."""
    return "# TYPE up gauge\nup 1\n"


class Plane:
    """A control plane over real parts, without a socket."""

    def __init__(self, **given: Any) -> None:
        said = settings(**given)
        topology = Topology()
        topology.apply(said)
        self.ready = (True, {"a": {"available": 1, "backends": 2}})
        self.control = Control(
            settings=said,
            topology=topology,
            route_table=RouteTable.build(said.groups),
            metrics_text=told,
            ready=lambda: self.ready,
        )
        board = MemoryBoard()
        reload = Reload(said, plan=plan, apply=lambda wanted, _: topology.apply(wanted), revisions=Revisions(board, 10))
        crew = Crew(Boards(board, board))
        self.reloads = Reloads(reload, Calls(reload, board, crew))
        self.purges = CachePurges({}, Purges({}, PurgeLog(), board, crew))
        self.registrations = Registrations(topology, board, crew, said.admin.allow_backends)

    async def ask(
        self, path: str, method: str = "GET", headers: Any = None, content: bytes | None = None
    ) -> httpx.Response:
        """One request."""
        found = routes(self.control, self.reloads, self.registrations, self.purges)
        transport = httpx.ASGITransport(Starlette(routes=found))
        async with httpx.AsyncClient(transport=transport, base_url="http://lb") as client:
            return await client.request(method, path, headers=headers, content=content)


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem details of *response*, which says the same status in both places."""
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == response.status_code
    assert {"type", "title", "detail"} <= set(found)
    return found
