"""What happens again and again is said once in a while."""


class Seldom:
    """Whether it is time to say it.

    Args:
        seconds: from one time to the next.
    """

    __slots__ = ("_due", "_seconds")

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._due = float("-inf")

    def now(self, now: float) -> bool:
        """Whether it is, at *now* in monotonic seconds; then it is not again for a while."""
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True
