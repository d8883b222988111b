"""Who stays keeps its object."""

from app.domain.membership import Change, diff, merge
from settings.pools import BackendSettings
from tests.support.fleet import UNPROBED


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
