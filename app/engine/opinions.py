"""What a note says of the health of a pool's backends, and which note that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from app.domain.backend import Backend
from app.domain.health import State, Word
from app.domain.pool import Pool
from settings.pools import PoolSettings

Load = tuple[str, float]
"""What a backend said of its load, and when: wall-clock seconds."""


class Opinion(NamedTuple):
    """What is said of one backend; times are wall-clock seconds, which processes and machines have in common."""

    word: Word
    load: Load | None


def key_of(pool: str, settings: PoolSettings) -> str:
    """What the lease and the note of a pool are called: another for who probes otherwise."""
    terms = settings.health.model_dump_json() + settings.tls.model_dump_json()
    return f"{pool} {blake2b(terms.encode(), digest_size=8).hexdigest()}"


def address(backend: Backend) -> str:
    """Whom an opinion is of: one of the same id may be elsewhere."""
    return f"{backend.id} {backend.scheme}://{backend.host}:{backend.port}"


def written(pool: Pool, loads: Mapping[Backend, Load], offset: float) -> bytes:
    """What this process knows of all backends of *pool*; *offset* makes wall-clock of monotonic seconds."""
    said = []
    for backend in pool.backends:
        state, streak, reason, since = backend.health.word
        said.append((address(backend), state, streak, reason, since + offset, loads.get(backend)))
    return json.dumps(said).encode()


def read(value: bytes) -> dict[str, Opinion]:
    """What a note says, by address; nothing where it cannot be read, being of another version."""
    try:
        return {
            of: Opinion(
                Word(State(state), int(streak), str(reason), float(since)), (load[0], load[1]) if load else None
            )
            for of, state, streak, reason, since, load in json.loads(value or b"[]")
        }
    except (ValueError, TypeError, LookupError):
        return {}
