"""docs/strategies.md says what the simulation finds. `UPDATE_GOLDEN=1 scripts/test tests/simulation` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.figures import tables
from tests.simulation.picture import drawn

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "strategies.md", DOCS / "img" / "strategies.svg"
BEGIN, END = "<!-- simulation: written by tests/simulation -->\n", "<!-- end of simulation -->\n"


@pytest.mark.parametrize("path", [PAGE, PICTURE], ids=lambda path: path.name)
def test_the_figures_are_those_of_the_simulation(path: Path) -> None:
    """The tables stand between two marks, the rest of the page is written by hand."""
    text = path.read_text() if path.exists() else ""
    wanted = drawn()
    if path == PAGE:
        before, _, rest = text.partition(BEGIN)
        wanted = f"{before}{BEGIN}\n{tables()}\n\n{END}{rest.partition(END)[2]}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(wanted)

    assert path.read_text() == wanted
