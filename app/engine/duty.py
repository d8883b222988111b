"""Who probes a pool: of the workers that share its health one, by lease, whose word the others take.

    following --the lease is free--> on duty --the lease is lost--> following
        |                                |
        +------the board is away---------+--> alone: probes for itself --the board is back--> following, or on duty

Who is on duty writes what it knows of all backends of a pool into one note, soon after it has changed, and renews the
lease. When it dies, the lease is over after LEASE, and whoever asks first goes on with what the note says. Who starts
has everybody's health from the note at once.

What is shared is what is asked for in the same way: pools of the same name that probe otherwise, as during a reload,
have a lease and a note of their own. A backend that the note has not named for PATIENCE, since the one on duty has not
heard of it, is probed by whoever has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

from app.domain.backend import Backend
from app.domain.health import State, Word, probe_kind
from app.domain.pool import Pool
from app.engine.crew import Crew
from app.engine.opinions import Load, Opinion, address, key_of, read, written
from app.engine.state.board import Board, BoardAway, Boards, Conflict, Note, Table
from app.engine.topology import Topology

HEALTH = Table("health")
"""Pool and terms -> what is known of its backends."""
LOOK, BATCH = 0.1, 0.005
"""Seconds between two looks at what the others say; that news wait for more of it before they are written."""
LEASE, RENEWAL = 2.0, 0.5
"""Seconds that a lease lasts; between two attempts at it."""
LASTING = 8.0
"""Seconds for which a note holds that is not written anew."""
PATIENCE = 4.0
"""Seconds for which a backend that nobody speaks of is left alone."""

log = logging.getLogger("l7lb.health")


class Post:
    """One pool whose health is shared.

    Attributes:
        settings: of the pool.

        key: of its lease and its note.

        mine, alone: we are on duty; the board is away.

        due: when the lease is asked for the next time.

        revision: of our note, as we wrote or found it.

        fresh, wanted: there is something to write; when it is written anew in any case.

        heard: the note that was heard last, and by whom.

        unheard, orphans: backends that it does not name, and since when; those with whom our patience is over.

        loads: what backends said of theirs.
    """

    def __init__(self, pool: Pool) -> None:
        self.settings = pool.settings
        self.key = key_of(pool.name, pool.settings)
        self.mine = self.alone = self.fresh = False
        self.due = self.wanted = -inf
        self.revision = 0
        self.heard: tuple[bytes, tuple[Backend, ...]] | None = None
        self.unheard: dict[Backend, float] = {}
        self.orphans: set[Backend] = set()
        self.loads: dict[Backend, Load] = {}


class Duty:
    """Which backends this process probes; `run` is the job that finds it out.

    Attributes:
        changed: called when there are others.
    """

    def __init__(
        self,
        topology: Topology,
        boards: Boards,
        crew: Crew,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._topology = topology
        self._boards = {"machine": boards.machine, "cluster": boards.cluster}
        self._crew = crew
        self._clock = clock
        self._wall = wall
        self._posts: dict[str, Post] = {}
        self._news = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None

    def mine(self, pool: Pool, backend: Backend) -> bool:
        """Whether this process probes it."""
        post = self._post(pool)
        return post is None or post.mine or post.alone or backend in post.orphans

    def tell(self, backend: Backend, before: Word, load: bytes) -> None:
        """A backend was probed; what was known *before*, and what it says of its load, b"" for nothing."""
        post = self._posts.get(backend.pool)
        if post is None or not post.mine:
            return
        if load:
            post.loads[backend] = load.decode("latin-1"), self._wall()
        if load or backend.health.word != before:
            post.fresh = True
            self._news.set()

    async def run(self) -> None:
        """The job: see who is on duty until it is cancelled."""
        boards = [board for board in dict.fromkeys(self._boards.values()) if not board.lone]
        try:
            async with asyncio.TaskGroup() as group:
                for board in boards:
                    group.create_task(self._serve(board))
        finally:
            await asyncio.gather(*(self._leave(board, post) for board in boards for _, post in self._at(board)))

    def _post(self, pool: Pool) -> Post | None:
        """Where its health is shared; None where it is not."""
        post = self._posts.get(pool.name)
        if post is None or post.settings is not pool.settings:
            before, post = post, Post(pool)
            if (
                before is not None
                and before.key == post.key
                and before.settings.health.scope == pool.settings.health.scope
            ):
                before.settings, post = pool.settings, before
            self._posts[pool.name] = post
        board = self._boards.get(pool.settings.health.scope)
        shared = board is not None and not board.lone and probe_kind(pool.settings.health) != "none"
        return post if shared else None

    def _at(self, board: Board) -> list[tuple[Pool, Post]]:
        """The posts that have to do with *board*."""
        pools = self._topology.pools
        self._posts = {name: post for name, post in self._posts.items() if name in pools}
        of_board = [pool for pool in pools.values() if self._boards.get(pool.settings.health.scope) is board]
        return [(pool, post) for pool in of_board if (post := self._post(pool)) is not None]

    async def _serve(self, board: Board) -> None:
        seen = -1
        notes: dict[str, tuple[Note, float]] = {}
        while True:
            now = self._clock()
            away = False
            posts = self._at(board)
            try:
                revision = await board.revision(HEALTH)
                if revision != seen:
                    found, seen = await board.read(HEALTH), revision
                    notes = {key: (note, now + note.seconds) for key, note in found.items()}
                for pool, post in posts:
                    note, until = notes.get(post.key, (None, inf))
                    await self._attend(board, pool, post, note if now < until else None)
            except BoardAway:
                away, seen = True, -1
            if any(post.alone is not away for _, post in posts):
                for _, post in posts:
                    post.alone, post.heard, post.due = away, None, -inf
                self.changed()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._news.wait()
                    self._news.clear()
                    await asyncio.sleep(BATCH)

    async def _attend(self, board: Board, pool: Pool, post: Post, note: Note | None) -> None:
        """Do what there is to do at a post. Raises BoardAway."""
        now = self._clock()
        if now >= post.due:
            mine = await board.lease(f"health {post.key}", self._crew.id, LEASE)
            post.due = now + RENEWAL
            if mine is not post.mine:
                if mine:
                    note = (await board.read(HEALTH)).get(post.key)
                    self._hear(pool, post, note, now)
                    post.revision = note.revision if note is not None else 0
                    post.wanted = -inf
                post.mine, post.heard = mine, None
                self.changed()
        if not post.mine:
            self._hear(pool, post, note, now)
        elif post.fresh or now >= post.wanted:
            await self._say(board, pool, post, now)

    async def _say(self, board: Board, pool: Pool, post: Post, now: float) -> None:
        """Write what we know. Raises BoardAway."""
        post.loads = {backend: post.loads[backend] for backend in pool.backends if backend in post.loads}
        post.fresh, post.wanted = False, now + LASTING / 3
        try:
            value = written(pool, post.loads, self._wall() - now)
            post.revision = await board.write(HEALTH, post.key, value, expected=post.revision, seconds=LASTING)
        except Conflict as conflict:  # it went by itself; or somebody else is on duty, for we were held up
            post.revision, post.fresh, post.due = conflict.revision, True, -inf
        except BoardAway:
            post.fresh = True
            raise
        except ValueError as error:
            log.error("pool %s: other workers cannot be told of its health: %s", pool.name, error)

    def _hear(self, pool: Pool, post: Post, note: Note | None, now: float) -> None:
        """Take the word of who is on duty, and look whom nobody speaks of."""
        value = note.value if note is not None else b""
        if post.heard != (value, pool.backends):
            post.heard = value, pool.backends
            said = read(value)
            for backend in pool.backends:
                known = said.get(address(backend))
                if known is None:
                    post.unheard.setdefault(backend, now)
                else:
                    post.unheard.pop(backend, None)
                    self._believe(pool, post, backend, known, now)
            for backend in post.unheard.keys() - set(pool.backends):
                del post.unheard[backend]
        orphans = {backend for backend, since in post.unheard.items() if now >= since + PATIENCE}
        if orphans != post.orphans:
            post.orphans = orphans
            self.changed()

    def _believe(self, pool: Pool, post: Post, backend: Backend, known: Opinion, now: float) -> None:
        word, load = known
        if word.state is not State.CHECKING:
            since = min(now, word.since - self._wall() + now)
            self._topology.believe(backend, word._replace(since=since), now)
        if load is not None and post.loads.get(backend) != load:
            post.loads[backend] = load
            pool.report(backend, load[0].encode("latin-1"), now)

    async def _leave(self, board: Board, post: Post) -> None:
        if post.mine:
            post.mine = False
            with suppress(BoardAway):
                await board.lease(f"health {post.key}", self._crew.id, 0)
