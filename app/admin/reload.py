"""Reloads the settings everywhere, goes back to former ones, and shows which are in force."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.admin.answers import Json, Refusal
from app.engine.calls import Answer, Calls
from app.engine.reload import Refused, Reload
from app.engine.state.board import BoardAway
from settings.changes import Changed


class Reloads:
    """`/reload`: GET shows the revisions that are kept, POST reloads; with `?dry_run=true` says what that changes.

    `/rollback`: POST goes back to the revision before, or to that of `?revision=`.
    """

    methods = ("GET", "POST")

    def __init__(self, reload: Reload[Any], calls: Calls) -> None:
        self._reload = reload
        self._calls = calls

    async def answer(self, request: Request) -> Response:
        """Serve one request for `/reload`. Raises Refusal."""
        try:
            if request.method == "GET":
                return Json(await self._shown())
            if _asked(request, "dry_run") in ("true", "1"):
                return Json({"dry_run": True, "changed": _changed(await self._reload.preview())})
            return self._done(*await self._calls.reload())
        except (Refused, BoardAway) as error:
            raise _refusal(error) from None

    async def roll_back(self, request: Request) -> Response:
        """Serve one request for `/rollback`. Raises Refusal."""
        wanted = _asked(request, "revision")
        try:
            if not wanted:
                wanted = await self._former()
            return self._done(*await self._calls.roll_back(wanted))
        except KeyError:
            raise Refusal(404, f"revision {wanted} is not kept") from None
        except (Refused, BoardAway) as error:
            raise _refusal(error) from None

    async def _former(self) -> str:
        known = await self._reload.revisions.known()
        former = [revision.digest for revision in known if revision.digest != self._reload.revision.digest]
        if not former:
            raise Refusal(409, "there is no revision to go back to")
        return former[-1]

    async def _shown(self) -> dict[str, Any]:
        """What is in force at this worker, and what can be gone back to, the newest first."""
        known = await self._reload.revisions.known()
        return {
            "worker": self._calls.me._asdict(),
            "revision": self._reload.revision.digest,
            "since": self._reload.revision.since,
            "revisions": [revision._asdict() for revision in reversed(known)],
        }

    def _done(self, found: list[Changed], answers: list[Answer]) -> Response:
        return Json(
            {
                "revision": self._reload.revision.digest,
                "changed": _changed(found),
                "everywhere": all(answer.state == "applied" for answer in answers) and bool(answers),
                "workers": [
                    {
                        "worker": answer.worker.id,
                        "machine": answer.worker.machine,
                        "pid": answer.worker.pid,
                        "state": answer.state,
                        "revision": answer.revision,
                        "why": answer.why,
                    }
                    for answer in answers
                ],
            }
        )


def _asked(request: Request, name: str) -> str:
    value: str = request.query_params.get(name, "")
    return value


def _changed(found: list[Changed]) -> list[dict[str, Any]]:
    return [change._asdict() for change in found]


def _refusal(error: Refused | BoardAway) -> Refusal:
    if isinstance(error, BoardAway):
        return Refusal(503, f"the shared state is away: {error}", {"retry-after": "1"})
    problems = [
        {"path": one.path, "where": one.where, "message": one.message, "fix": one.fix} for one in error.problems
    ]
    return Refusal(422, f"nothing has changed: {error}", problems=problems)
