"""What the pages name is there: other pages, settings, metrics, modules, tests. That it is so is for people to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.engine.telemetry.instruments import Instruments

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "docs" / "configuration.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PAGES if page != GENERATED]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def on_each_page(test: Callable[[Path], None]) -> Callable[[Path], None]:
    return pytest.mark.parametrize("page", WRITTEN, ids=named)(test)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections() -> dict[str, set[str]]:
    """The keys of each table of settings, by the last part of its name."""
    found: dict[str, set[str]] = {}
    for part in GENERATED.read_text().split("\n## ")[1:]:
        name = part.partition("\n")[0].strip("`").rpartition(".")[2]
        found.setdefault(name, set()).update(re.findall(r"^\| `LB_[^`]+` \| `(\w+)` \|", part, re.MULTILINE))
    return found


def quoted(page: Path) -> Iterator[str]:
    """What stands in backquotes."""
    return (found[1] for found in re.finditer(r"`([^`\n]+)`", page.read_text()))


@on_each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*(?:#[^)\s]*)?)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@on_each_page
def test_variables_are_settings(page: Path) -> None:
    """With the name of a pool, a group or a limiter in them; a plug-in's options, and secrets in files, besides."""
    known = set(re.findall(r"`(LB_[^`]+)` \|", GENERATED.read_text()))
    known |= {"LB_STATE", "LB_GROUPS__<NAME>__CACHE"}  # short for its place, and for its store
    for variable in re.findall(r"\bLB(?:_[A-Z0-9]+|_?<NAME>)(?:_+(?:[A-Z0-9]+|<NAME>))*", page.read_text()):
        general = re.sub(r"^LB_(POOLS|GROUPS|LIMITS)__(?:[A-Z0-9]|_(?!_))+__", r"LB_\1__<NAME>__", variable)
        general = re.sub(r"(__STRATEGY|__SOURCE)__.+|_FILE$", r"\1", general)
        general = re.sub(r"^LB_CACHES__.+", "LB_CACHES__<NAME>", general)
        assert general in known, variable


@on_each_page
def test_keys_are_settings(page: Path) -> None:
    """Such as `retry.attempts`."""
    known = sections()
    for text in quoted(page):
        table, dot, key = text.partition(" ")[0].rpartition(".")
        if dot and (keys := known.get(table.rpartition(".")[2])) and re.fullmatch(r"[a-z_]+", key):
            assert key in keys, text


@on_each_page
def test_metrics_are_measured(page: Path) -> None:
    there = {metric.name for metric in Instruments(dispatchers=tuple, limited=tuple, mirrored=tuple, dropped=int).all}

    assert set(re.findall(r"\bl7lb_[a-z_]+", page.read_text())) <= there


@on_each_page
def test_files_are_in_the_tree(page: Path) -> None:
    """Modules, tests, scripts and settings, with or without their suffix; a test in them by its name."""
    for text in quoted(page):
        path, _, name = text.partition("::")
        if re.fullmatch(r"(?:app|tests|scripts|settings|deploy)/[\w/.-]+", path):
            found = next((ROOT / (path + end) for end in ("", ".py") if (ROOT / (path + end)).exists()), None)
            assert found, text
            assert not name or f"def {name}(" in found.read_text(), text


def test_the_way_of_a_request_is_along_modules() -> None:
    """The first word of each step."""
    drawn = (ROOT / "docs" / "life-of-a-request.md").read_text().split("```")[1]
    steps = re.findall(r"^ *(?:app/)?((?:edge|middleware|groups|engine|domain)/\w+|planes) ", drawn, re.MULTILINE)

    assert len(steps) > 20
    assert [step for step in steps if not list((ROOT / "app").glob(f"{step}*"))] == []


def test_every_decision_has_its_number() -> None:
    """In its name and in its first line, one after the other."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    for number, page in enumerate(decisions, 1):
        assert page.name.startswith(f"{number:04}-")
        assert page.read_text().startswith(f"# {number}. ")
