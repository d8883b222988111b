"""The scenarios of the bench by name. A new one is one line here, and a module when it is of a new kind."""

from __future__ import annotations

from scripts.bench.backends import POST_BYTES, both, bulk, reading, talking, thousand
from scripts.bench.bulk import download, upload
from scripts.bench.peers import PEERS
from scripts.bench.peers.fronts import FRONTS, under
from scripts.bench.peers.nginx import nginx_websocket
from scripts.bench.peers.ours import l7lb_bridge, to_haproxy, with_backends, with_groups, with_lmdb, with_workers
from scripts.bench.scenarios.loads import Requests
from scripts.bench.scenarios.memory import memory
from scripts.bench.scenarios.messages import messages
from scripts.bench.scenarios.rate import rate
from scripts.bench.scenarios.scenario import Scenario
from scripts.bench.scenarios.scrape import scrape, scraped
from scripts.bench.scenarios.takes import takes, taking
from scripts.bench.scenarios.transfers import Transfer
from scripts.bench.site import Build
from scripts.bench.taking import KINDS


def without(*names: str) -> dict[str, Build]:
    """All peers but those."""
    return {name: build for name, build in PEERS.items() if name not in names}


EVERY = without("nginx-stream")
LIKE_OURS = without("nginx-stream", "nginx-nolog", "naive")
TRANSFERS = {"nginx-stream": PEERS["nginx-stream"]} | without("nginx-nolog", "naive")  # first that which does as we do
GROUP_ROWS = {"l7lb 1 group": with_groups(1), "l7lb 1000 groups": with_groups(1000)}
BACKEND_ROWS = {"l7lb 2 backends": with_backends(2), "l7lb 1000 backends": with_backends(1000)}
SCRAPED_ROWS = {"l7lb 1 worker": scraped(1), "l7lb 8 workers": scraped(8)}
TAKING_ROWS = {f"l7lb {kind}": taking(kind) for kind in KINDS}
WORKER_ROWS = {"l7lb 1 worker": with_workers(1), "l7lb 1 in lmdb": with_lmdb, "l7lb 2 workers": with_workers(2)}
H2C_ROWS = {
    f"l7lb {driver} {scheme}": to_haproxy(scheme, driver) for driver in ("asgi", "direct") for scheme in ("http", "h2c")
}
FRONT_ROWS = {"l7lb": PEERS["l7lb"]} | {f"l7lb {server}": under(server) for server in FRONTS}

MESSAGE_ROWS = {
    "nginx": nginx_websocket,
    "haproxy": PEERS["haproxy"],
    "l7lb": PEERS["l7lb"],
    "l7lb-bridge": l7lb_bridge,
}

SCENARIOS: dict[str, Scenario] = {
    "get": Scenario("small GET, connections kept", Requests(), EVERY),
    "tls": Scenario("small GET over TLS, connections kept", Requests(tls=True), LIKE_OURS),
    "post": Scenario("POST of 10 KiB", Requests(body=POST_BYTES), LIKE_OURS, reading),
    "connect": Scenario("small GET, a new connection for each", Requests(close=True, part=0.5), LIKE_OURS),
    "download": Scenario("100 MiB from the backend", Transfer(download), TRANSFERS, bulk),
    "upload": Scenario("100 MiB to the backend", Transfer(upload), TRANSFERS, bulk),
    "groups": Scenario("l7lb with 1000 groups to 1", Requests(), GROUP_ROWS, own_rows=True),
    "backends": Scenario(
        "l7lb with 1000 backends to 2, no health checks", Requests(least=2000), BACKEND_ROWS, thousand, True
    ),
    "workers": Scenario(
        "l7lb with two workers, who share their limits by LMDB, to one; on one core",
        Requests(),
        WORKER_ROWS,
        own_rows=True,
    ),
    "rate": Scenario("small GET at 60 % of what saturates l7lb, open loop", rate, LIKE_OURS),
    "scrape": Scenario("l7lb: a scrape of one worker that answers for eight", scrape, SCRAPED_ROWS, own_rows=True),
    "takes": Scenario("l7lb: one decision of a rate limit, by kind of state", takes, TAKING_ROWS, own_rows=True),
    "websocket": Scenario("WebSocket messages of 125 bytes, answered", messages, MESSAGE_ROWS, talking, own_rows=True),
    "h2c": Scenario("l7lb to a backend by HTTP/2, to HTTP/1.1", Requests(), H2C_ROWS, both, own_rows=True),
    "h2c-alone": Scenario(
        "the same for one client, who asks one thing at a time", Requests(connections=1), H2C_ROWS, both, own_rows=True
    ),
    "fronts": Scenario(
        "l7lb by HTTP/2 under other servers, 4 streams a connection, to HTTP/1.1 under uvicorn",
        Requests(),
        FRONT_ROWS,
        own_rows=True,
    ),
    "idle": Scenario("memory: 5000 idle connections, and 100 000 requests", memory, LIKE_OURS),
}
