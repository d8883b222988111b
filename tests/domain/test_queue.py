"""Who is next of those that wait."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.queue import Queue

Order = Literal["fifo", "lifo"]
every_order = pytest.mark.parametrize("order", ["fifo", "lifo"])


def test_the_oldest_is_next() -> None:
    """fifo, which it is when not said."""
    queue = Queue[str](3)
    for item in "abc":
        assert queue.join(item)

    assert [queue.next() for _ in range(4)] == ["a", "b", "c", None]


def test_the_newest_is_next() -> None:
    """lifo."""
    queue = Queue[str](3, "lifo")
    for item in "abc":
        assert queue.join(item)

    assert [queue.next() for _ in range(4)] == ["c", "b", "a", None]


@every_order
def test_a_full_queue_takes_nobody(order: Order) -> None:
    """Until there is room; those who wait are not pushed out."""
    queue = Queue[int](2, order)

    assert [queue.join(item) for item in range(3)] == [True, True, False]
    assert len(queue) == 2
    assert queue.next() is not None
    assert queue.join(3)


def test_nobody_waits_in_a_queue_of_size_0() -> None:
    """0 switches it off."""
    queue = Queue[int](0)

    assert not queue.join(1)
    assert queue.next() is None


@every_order
def test_who_leaves_makes_room_and_is_not_called(order: Order) -> None:
    """From wherever it stands."""
    queue = Queue[str](3, order)
    for item in "abc":
        queue.join(item)

    assert queue.leave("b")
    assert queue.join("d")
    assert {queue.next() for _ in range(3)} == {"a", "c", "d"}


def test_who_leaves_too_late_is_told() -> None:
    """Its turn had come: it has to pass it on."""
    queue = Queue[str](3)
    queue.join("a")
    queue.next()

    assert not queue.leave("a")
    assert not queue.leave("never there")


@given(order=st.sampled_from(["fifo", "lifo"]), size=st.integers(0, 5), steps=st.lists(st.sampled_from("jln")))
def test_it_is_a_list_of_those_who_wait(order: Order, size: int, steps: list[str]) -> None:
    """Whatever comes in whatever order."""
    queue, model, last = Queue[int](size, order), list[int](), 0
    for step in steps:
        if step == "j":
            last += 1
            assert queue.join(last) == (len(model) < size)
            model += [last] if len(model) < size else []
        elif step == "l":
            assert queue.leave(last) == (last in model)
            model = [item for item in model if item != last]
        else:
            expected = model.pop(0 if order == "fifo" else -1) if model else None
            assert queue.next() == expected
        assert len(queue) == len(model)


@pytest.mark.parametrize(("order", "left"), [("fifo", [1, 2, 3]), ("lifo", [3, 2, 1])])
def test_who_could_not_use_its_turn_is_next_again(order: Literal["fifo", "lifo"], left: list[int]) -> None:
    """Whatever came meanwhile, and although the queue is full: it does not lose its place for no fault of its own."""
    queue = Queue[int](3, order)
    for item in (1, 2, 3):
        queue.join(item)
    turn = queue.next()
    assert turn is not None
    queue.rejoin(turn)

    assert [queue.next() for _ in range(3)] == left
