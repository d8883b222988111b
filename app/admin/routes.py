"""Which path of the control plane answers what."""

from __future__ import annotations

from time import monotonic

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from app.admin import views
from app.admin.answers import FIELDS, Json, Problem, Problems
from app.admin.backends import Backends
from app.admin.cache import CachePurges
from app.admin.control import Control
from app.admin.reload import Reloads
from app.domain.metrics import CONTENT_TYPE
from app.engine.registrations import Registrations
from app.middleware.admin_token import AdminToken, Tries


def routes(control: Control, reloads: Reloads, registrations: Registrations, purges: CachePurges) -> list[BaseRoute]:
    """One mount under `admin.prefix`. Without a token, all but live and ready is not there: 404."""

    async def live(_: Request) -> Response:
        return Json({"live": True})

    async def ready(_: Request) -> Response:
        opened, pools = control.ready()
        if opened:
            return Json({"ready": True, "pools": pools})
        return Problem(503, "draining, or a pool has no backend yet", {"retry-after": "1"}, ready=False, pools=pools)

    async def config(_: Request) -> Response:
        return Json(views.config(control.settings))

    async def pools(_: Request) -> Response:
        now = monotonic()
        return Json({name: views.pool(pool, now) for name, pool in control.topology.pools.items()})

    async def groups(_: Request) -> Response:
        return Json(views.routes(control.route_table, control.settings))

    async def metrics(_: Request) -> Response:
        return Response(await control.metrics_text(), headers={**FIELDS, "content-type": CONTENT_TYPE})

    found: list[BaseRoute] = [Route("/live", live), Route("/ready", ready)]
    token = control.settings.admin.token
    if token is not None:
        guard = [Middleware(AdminToken, token=token.get_secret_value(), tries=Tries())]
        secured = {"/config": config, "/pools": pools, "/routes": groups, "/metrics": metrics}
        found += [Route(path, endpoint, middleware=guard) for path, endpoint in secured.items()]
        backends = Backends(control.topology, registrations)
        path = "/pools/{pool}/backends"
        found.append(Route(path, backends.register, methods=["POST"], middleware=guard))
        found.append(Route(f"{path}/{{backend}}", backends.answer, methods=Backends.methods, middleware=guard))
        found.append(Route("/reload", reloads.answer, methods=Reloads.methods, middleware=guard))
        found.append(Route("/cache/purge", purges.answer, methods=["POST"], middleware=guard))
        found.append(Route("/rollback", reloads.roll_back, methods=["POST"], middleware=guard))
    prefix = control.settings.admin.prefix
    router = Router(found, redirect_slashes=False)  # raises HTTPException for what it does not have
    return [Mount(prefix, app=router, middleware=[Middleware(Problems)], name="admin")]
