"""Who stays keeps its object."""

from app.domain.membership import Change, deputies, diff, merge
from settings.pools import BackendSettings
from tests.support.fleet import UNPROBED, backend


def specs(*lines: str) -> dict[str, BackendSettings]:
    return merge({"settings": [BackendSettings.model_validate(line) for line in lines]})


def test_the_first_source_has_the_last_word() -> None:
    """The order is that of the sources; what a later one adds comes behind."""
    own = [BackendSettings(url="http://a", weight=2), BackendSettings(url="http://b")]
    found = [BackendSettings(url="http://c"), BackendSettings(url="http://a", weight=9)]

    merged = merge({"settings": own, "dns": found})

    assert [(name, spec.weight) for name, spec in merged.items()] == [("a:80", 2), ("b:80", 1), ("c:80", 1)]


def test_who_stays_keeps_its_object() -> None:
    """In the order of what is wanted; who joined and who left is told."""
    before, _ = diff("p", (), specs("http://a", "http://b"), UNPROBED)

    after, change = diff("p", before, specs("http://c", "http://b|weight=5"), UNPROBED)

    assert [backend.id for backend in after] == ["c:80", "b:80"]
    assert after[1] is before[1]
    assert Change(joined=(after[0],), left=(before[0],)) == change
    assert after[1].weight == 1  # for whoever takes the change over to apply


def test_another_address_is_another_backend() -> None:
    """Whatever it is called: its counters and its health are not those of the one before."""
    before, _ = diff("p", (), specs("http://a|id=x", "http://b:80|id=y"), UNPROBED)

    after, change = diff("p", before, specs("https://a|id=x", "http://b|id=y"), UNPROBED)

    assert Change(joined=(after[0],), left=(before[0],)) == change
    assert after[1] is before[1]


def test_one_that_is_leaving_may_come_back() -> None:
    """It is the same as long as it is there; that others are still leaving is no news."""
    before, _ = diff("p", (), specs("http://a", "http://b", "http://c"), UNPROBED)
    a, b, _c = before

    after, change = diff("p", (a,), specs("http://a", "http://b"), UNPROBED, before[1:])

    assert after == (a, b)
    assert Change(joined=(b,), left=()) == change


def test_who_goes_on_while_nobody_else_takes_requests() -> None:
    """Not who is not fit to, and not beside another of its name."""
    gone = (backend("a"), backend("b"), backend("c"), backend("d"))
    gone[1].draining = True
    new = (backend("c"), backend("e"))
    for one in new:
        one.weight = 0

    assert deputies(gone, new) == (gone[0], gone[3])
    assert deputies(gone, ()) == (gone[0], gone[2], gone[3])

    new[1].weight = 1

    assert deputies(gone, new) == ()
