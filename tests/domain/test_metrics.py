"""What is scraped can be read back, by a parser that takes nothing but exposition format 0.0.4."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.metrics import MAX_SERIES, Counter, Histogram, Reading, exposition
from tests.support.exposition import Malformed, parse

label_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_a_counter_adds_up_by_label_set() -> None:
    """Each label set has its own count."""
    counter = Counter("l7lb_requests_total", "Requests.", ("group", "code"))
    counter.add(("a", "200"))
    counter.add(("a", "200"), 2)
    counter.add(("b", "404"), 0.5)

    family = parse(exposition([counter]))["l7lb_requests_total"]

    assert family.kind == "counter"
    assert family.help_text == "Requests."
    assert family.samples == {
        ("l7lb_requests_total", (("group", "a"), ("code", "200"))): 3,
        ("l7lb_requests_total", (("group", "b"), ("code", "404"))): 0.5,
    }


def test_a_counter_may_have_no_labels() -> None:
    """Then it has one value."""
    counter = Counter("l7lb_log_dropped_total", "Lines dropped.")
    counter.add()

    assert exposition([counter]).splitlines()[-1] == "l7lb_log_dropped_total 1"


def test_a_reading_is_asked_for_at_the_scrape() -> None:
    """It tells what is true then, and each label set once."""
    now = {"up": 0.0}
    gauge = Reading("l7lb_backend_up", "Up.", ("backend",), lambda: [(("b",), 9), (("b",), now["up"])])
    now["up"] = 1.0

    assert parse(exposition([gauge]))["l7lb_backend_up"].samples == {("l7lb_backend_up", (("backend", "b"),)): 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.25, "0.25"), (1e22, "1e+22"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
)
def test_numbers_are_written_as_go_reads_them(value: float, text: str) -> None:
    """Whole ones without a fraction."""
    assert exposition([Reading("x", "X.", (), lambda: [((), value)])]).splitlines()[-1] == f"x {text}"


@given(st.lists(st.lists(st.floats(0, 10) | st.sampled_from([0.1, 1.0, 5.0]), max_size=20), min_size=1, max_size=5))
@example([[6.0, 0.1, 0.5, 0.05, 1.0, 5.0, 7.0], [], [0.2]])
def test_a_histogram_counts_each_value_once(batches: list[list[float]]) -> None:
    """Buckets are cumulative and inclusive, the last is the count, the sum is the sum."""
    histogram = Histogram("d_seconds", "D.", ("group",), (5.0, 0.1, 1.0))
    for batch in batches:
        histogram.observe(("a",), iter(batch))
    values = [value for batch in batches for value in batch]

    samples = parse(exposition([histogram]))["d_seconds"].samples

    group = ("group", "a")
    for bound, le in ((0.1, "0.1"), (1.0, "1"), (5.0, "5"), (math.inf, "+Inf")):
        assert samples["d_seconds_bucket", (group, ("le", le))] == sum(value <= bound for value in values)
    assert samples["d_seconds_count", (group,)] == len(values)
    assert samples["d_seconds_sum", (group,)] == pytest.approx(sum(values))


@given(label_values, label_values)
def test_no_label_value_breaks_the_text(first: str, second: str) -> None:
    """Quotes, backslashes and line ends come back as they were."""
    counter = Counter("x_total", "X.", ("a", "b"))
    counter.add((first, second))

    assert parse(exposition([counter]))["x_total"].samples == {("x_total", (("a", first), ("b", second))): 1}


def test_help_may_have_any_text() -> None:
    """Line ends and backslashes are escaped."""
    assert parse(exposition([Counter("x_total", "a\\b\nc")]))["x_total"].help_text == "a\\b\nc"


def crowded() -> tuple[Counter, Histogram]:
    """Room for two label sets more."""
    counter = Counter("x_total", "X.", ("a",))
    histogram = Histogram("d_seconds", "D.", ("a",), (1.0,))
    for number in range(MAX_SERIES - 2):
        counter.add((str(number),))
        histogram.observe((str(number),), [0.5])
    return counter, histogram


def test_the_number_of_series_is_bounded() -> None:
    """What comes after is counted, under other; what was there goes on."""
    counter, histogram = crowded()
    for label in ("p", "q", "r", "s", "p"):
        counter.add((label,))
        histogram.observe((label,), [0.5])

    families = parse(exposition([counter, histogram]))

    crowd = set(map(str, range(MAX_SERIES - 2)))
    counts = {labels[0][1]: n for (_, labels), n in families["x_total"].samples.items()}
    assert {label: n for label, n in counts.items() if label not in crowd} == {"p": 2, "q": 1, "other": 2}
    counts = {k[1][0][1]: n for k, n in families["d_seconds"].samples.items() if k[0] == "d_seconds_count"}
    assert {label: n for label, n in counts.items() if label not in crowd} == {"p": 2, "q": 1, "other": 2}
    assert {n for label, n in counts.items() if label in crowd} == {1}


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    """It makes room; what overflowed belongs to nobody, and stays."""
    counter, histogram = crowded()
    for label in ("p", "q", "r"):
        counter.add((label,))
        histogram.observe((label,), [0.5])

    for metric in (counter, histogram):
        metric.keep(lambda labels: labels == ("q",))

    assert set(counter.values) == set(histogram.values) == {("q",), ("other",)}


@pytest.mark.parametrize(
    "text",
    [
        "x 1",
        "x 1\n",
        "# TYPE x counter\nx 1\n",
        "# HELP x X.\n# TYPE x count\nx 1\n",
        "# HELP x X.\n# TYPE x counter\n x 1\n",
        "# HELP x X.\n# TYPE x counter\nx one\n",
        "# HELP x X.\n# TYPE x counter\nx{a=b} 1\n",
        '# HELP x X.\n# TYPE x counter\nx{a="b" 1\n',
        '# HELP x X.\n# TYPE x counter\nx{a="\\t"} 1\n',
        "# HELP x X.\n# TYPE x counter\nx 1\nx 2\n",
        "# HELP x X.\n# TYPE x counter\ny 1\n",
        "# HELP x X.\n# TYPE x counter\n# HELP x X.\n# TYPE x counter\n",
        '# HELP x X.\n# TYPE x histogram\nx_bucket{le="1"} 1\nx_sum 1\nx_count 1\n',
        '# HELP x X.\n# TYPE x histogram\nx_bucket{le="1"} 2\nx_bucket{le="+Inf"} 1\nx_sum 1\nx_count 1\n',
    ],
)
def test_the_parser_is_strict(text: str) -> None:
    """Else it would prove nothing."""
    with pytest.raises(Malformed):
        parse(text)
