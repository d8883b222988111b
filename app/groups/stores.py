"""The stores that groups name, and what all their caches share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING

from app.engine.caches import CACHES, Store
from app.engine.caches.fetches import Fetches
from app.middleware.cache import Cache
from settings.models import Choice

if TYPE_CHECKING:
    from app.domain.metrics import Samples
    from app.engine.asgi import ASGIApp
    from app.engine.caches import Usage
    from app.engine.caches.keys import Keys
    from settings.cache import CacheSettings


class Stores:
    """Those that settings name are there from the start; `default`, when the first group asks for it.

    Attributes:
        by_name: those that are there.

        keys: of each group that has a cache.

        fetches: of all groups.
    """

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self.by_name: dict[str, Store] = {name: CACHES.build(choice) for name, choice in choices.items()}
        self.keys: dict[str, Keys] = {}
        self.fetches = Fetches()

    def cache(self, app: ASGIApp, group: str, settings: CacheSettings, rng: Random, *, identified: bool) -> Cache:
        """The cache of *group* around *app*; the store of a name that no setting has is one in memory.

        *identified* says whether the group asks its clients who they are.
        """
        store = self.by_name.get(settings.store)
        if store is None:
            store = self.by_name[settings.store] = CACHES.build(Choice(kind="memory"))
        made = Cache(
            app, group=group, settings=settings, store=store, fetches=self.fetches, rng=rng, identified=identified
        )
        self.keys[group] = made.keys
        return made

    def requests(self) -> Samples:
        """By group and result, how many requests."""
        return self.fetches.sample()

    def refreshes(self) -> Samples:
        """By group and result, how many validations beside requests."""
        return tuple(self.fetches.refreshes.items())

    def usages(self) -> Iterable[tuple[str, Usage]]:
        """What is in each store, by its name."""
        return [(name, store.usage) for name, store in self.by_name.items()]

    async def stop(self) -> None:
        """End what is being fetched, and let go of the stores."""
        await self.fetches.stop()
        for store in self.by_name.values():
            store.close()
