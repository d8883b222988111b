"""The rules of the tree, as tests. Who may import whom is import-linter's to say."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for top in ("app", "settings") for path in (ROOT / top).rglob("*.py"))
DOMAIN = sorted((ROOT / "app" / "domain").rglob("*.py"))
CLOCKS = {"time", "datetime", "secrets"}
LONGEST = 250
FORBIDDEN = re.compile(
    r"Manager|Handler|Helper|Util|Common|Base(?![a-z])|^Abstract|Impl$|Data$|Info$|Service|Controller|Processor|Wrapper|[mM]isc"
)
"""DESIGN.md section 7; a name that grew out of none of the rules."""

FOREIGN = re.compile(
    rb"(?<![\w.-])/(?:home|Users|root|work)/[a-z]|pythonhosted\.org|//(?:[\w.-]+\.)?pypi\.|index-url[ =]+http"
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), named(path))


def tracked() -> list[Path]:
    """Files that are in the repository or about to be; all files where it is no repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for top in ("app", "settings", "scripts", "tests", "docs") for path in (ROOT / top).rglob("*.*")]


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_the_domain_never_awaits(path: Path) -> None:
    """A decision without an await is atomic on the event loop, so it needs no lock."""
    waits = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await)
    ]

    assert waits == []


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_time_and_chance_are_arguments(path: Path) -> None:
    """No clock in the domain, and of random only the class: it says what an argument is."""
    imported: list[str] = []
    drawn: list[str] = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            drawn += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            drawn.append(node.attr)

    assert [name for name in imported if name.partition(".")[0] in CLOCKS] == []
    assert [name for name in drawn if name != "Random"] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_its_job_and_keeps_to_it(path: Path) -> None:
    """The first line of its docstring is one sentence; over 250 lines the docstring says why it is so long."""
    text = path.read_text()
    said = ast.get_docstring(parsed(path)) or ""

    assert said, "no docstring"
    assert said.split("\n\n")[0].rstrip().endswith((".", "?")), "the first paragraph is a sentence"
    assert len(text.splitlines()) <= LONGEST or re.search(r"\blong(er)?\b|\blines\b|one (piece|place|module)", said), (
        f"{len(text.splitlines())} lines and no reason in the docstring"
    )


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_names_say_what_a_thing_is(path: Path) -> None:
    """No Manager, Handler, Helper and their kin: such a name says that nobody knew."""
    names = [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]

    assert [name for name in [*names, path.stem.title()] if FORBIDDEN.search(name)] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_is_left_for_later(path: Path) -> None:
    """No stub and no note to self."""
    text = path.read_text()

    assert re.findall(r"\b(?:TODO|FIXME|XXX|HACK|NotImplementedError)\b", text) == []


def test_no_room_is_empty() -> None:
    """Every package has a module beside its `__init__`, or says something there."""
    empty = [
        named(package.parent)
        for package in MODULES
        if package.name == "__init__.py"
        and not [path for path in package.parent.iterdir() if path.name not in ("__init__.py", "__pycache__")]
        and len(package.read_text().splitlines()) < 5
    ]

    assert empty == []


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    """No path of a developer's disk and no package index: a checkout works anywhere."""
    found = [
        f"{named(path)}: {match[0].decode()}"
        for path in tracked()
        if path != Path(__file__).resolve() and path.stat().st_size < 2_000_000
        for match in FOREIGN.finditer(path.read_bytes())
    ]

    assert found == []


def test_the_data_plane_uses_no_request_objects() -> None:
    """Starlette's Request and Response, pydantic and BaseHTTPMiddleware cost more than all we do."""
    hot = [path for top in ("engine", "middleware", "domain") for path in (ROOT / "app" / top).rglob("*.py")]
    heavy = re.compile(r"starlette\.(requests|responses|middleware\.base)|BaseHTTPMiddleware")

    assert [named(path) for path in hot if heavy.search(path.read_text()) and path.stem != "admin_token"] == []
