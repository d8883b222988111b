"""Who has failed too often of late."""

from __future__ import annotations


class Failures:
    """So many failures of each client in a stretch of time, counted from its first. Times are seconds.

    Args:
        most: failures that a client may have.

        period: how long a stretch is.

        keep: clients that are remembered; those that failed first are forgotten first.
    """

    __slots__ = ("_keep", "_most", "_period", "_since")

    def __init__(self, most: int, period: float, keep: int = 10_000) -> None:
        self._most = most
        self._period = period
        self._keep = keep
        self._since: dict[str, tuple[float, int]] = {}

    def __bool__(self) -> bool:
        """Whether anybody has failed of late."""
        return bool(self._since)

    def wait(self, client: str, now: float) -> float:
        """How long *client* has to wait before it may try again; 0 when it may."""
        since, count = self._since.get(client, (now, 0))
        left = since + self._period - now
        if left <= 0:
            del self._since[client]
            return 0.0
        return left if count >= self._most else 0.0

    def note(self, client: str, now: float) -> None:
        """It has failed."""
        since, count = self._since.get(client, (now, 0))
        if not count and len(self._since) >= self._keep:
            del self._since[next(iter(self._since))]
        self._since[client] = (since, count + 1)

    def forgive(self, client: str) -> None:
        """It has come to its end: the last was none."""
        since, count = self._since.get(client, (0.0, 0))
        if count > 1:
            self._since[client] = (since, count - 1)
        else:
            self._since.pop(client, None)
