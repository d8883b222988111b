"""Whether the tests would notice: mutmut makes small mistakes in app/domain and app/edge, and this counts who lives.

Use: make mutants [ARGS="app/domain/bucket.py app/edge --show"]

    PATH ...     the modules, or folders of them; everything that [tool.mutmut] of pyproject.toml names
    --show       what the mistakes are that live, as diffs
    --again      only those that lived when their module was last looked at, for when tests were made sharper
    --wide       by all the tests of the domain or the edge, not only those of the module
    --last       try nothing: what came of it the last time
    --jobs N     how many at a time (1)

The mistakes are mutmut's, and so is the way to switch them on, one at a time. Running them is not: `mutmut run` starts
pytest anew for each, which takes longer than the tests do. Here the tests are collected once, and each mistake has a
process forked for it, which runs the tests that went through that function, the quickest first, until one fails.
Property tests try the same few examples each time. A mistake that never ends is found, too: each test has a time to
keep.

The tests of app/domain/bucket.py are tests/domain/test_bucket*.py, those of app/domain/cache/key.py
tests/domain/cache/test_key*.py; where there are none, all of the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import gc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import pickle
import resource
import signal
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn, TypeGuard

import pytest
from mutmut.configuration import config
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import mangled_name_from_mutant_name

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".run" / "mutants"
"""What is kept from one time to the next, for each module: its mistakes, and which of them lived."""

EXAMPLES = 10
START = 1.0  # seconds of the processor that every test may take
PATIENCE = 10.0  # times as long as the test takes without a mistake
PATIENT = 10  # seconds by the clock that every test may take
LOOPS = {"event_loop_policy", "_function_scoped_runner", "request"}  # what pytest-asyncio asks for
ROOM = 1 << 30  # bytes beyond what the tests take without a mistake
HEAD = f"| {'module':44} | mutants | killed | survived |  share |\n|{'-' * 46}|--------:|-------:|---------:|-------:|"


@dataclass
class Module:
    """One module with all its mistakes; *asked* are those to try, *wide* is by all tests of its part.

    *lived* are those that nobody noticed, *timed* is how many were noticed by nothing but the time that they took.
    """

    path: Path
    made: MutatedFile
    asked: list[str]
    wide: bool = False
    lived: list[str] = field(default_factory=list)
    timed: int = 0

    @property
    def name(self) -> str:
        """As it is imported."""
        return ".".join(self.path.with_suffix("").parts)

    @property
    def tests(self) -> list[str]:
        """Where the tests are that concern it."""
        if self.wide:
            return [f"tests/{self.path.parts[1]}"]
        folder = Path("tests", *self.path.parent.parts[1:])
        return sorted(map(str, folder.glob(f"test_{self.path.stem}*.py"))) or [str(folder)]

    def functions(self) -> list[str]:
        """Those of the mistakes asked for, as mutmut calls them."""
        return list(dict.fromkeys(f"{self.name}.{mangled_name_from_mutant_name(mutant)}" for mutant in self.asked))

    def diff(self, mutant: str) -> str:
        """What one mistake is."""
        lines = self.made.code.splitlines()
        function = mangled_name_from_mutant_name(mutant)

        def text(name: str) -> list[str]:
            span = self.made.line_span_by_function_name[name]
            return [line.replace(name, function) for line in lines[span.start - 1 : span.end]]

        return "\n".join([*difflib.unified_diff(text(f"{function}__mutmut_orig"), text(mutant), lineterm="", n=1)][2:])


class Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module with its mistakes in it, all switched off."""

    def __init__(self, module: Module) -> None:
        super().__init__(module.name, str(ROOT / module.path))
        self.written = RUN / f"{module.name}.py"  # for pydantic, which looks for the docstrings of attributes
        self.written.write_text(module.made.code)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.written.read_text(), str(self.written), "exec", dont_inherit=True)


class Finder:
    """Finds the modules that have mistakes before anybody finds them as they are."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = {module.name: module for module in modules}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if (module := self.modules.get(name)) is None:
            return None
        return importlib.util.spec_from_file_location(name, ROOT / module.path, loader=Mutated(module))


class Run:
    """The plugin of pytest that does not run the tests once, but for each mistake."""

    def __init__(self, modules: Sequence[Module], jobs: int) -> None:
        self.modules = modules
        self.jobs = jobs
        self.seconds: dict[str, float] = {}
        self.through: dict[str, list[pytest.Item]] = defaultdict(list)
        self.failed = ""
        self.forked = False

    def pytest_sessionstart(self) -> None:
        """After tests/conftest.py has loaded its profile, and before the tests take from it what they do not say."""
        import hypothesis  # noqa: PLC0415  # pytest wants to be the first to import its plugins

        hypothesis.settings.register_profile(
            "mutants",
            parent=hypothesis.settings.get_profile("unhurried"),
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # it is enough to know that it fails
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        gc.collect()
        gc.freeze()
        self.learn(session)
        for module in self.modules:
            self.check(module)
            ended = list(self.results(module))
            module.lived = [mutant for mutant, status in ended if status == 0]
            module.timed = sum(os.WIFSIGNALED(status) for _, status in ended)
            keep(module)
            tell(line(str(module.path), len(module.asked), len(module.lived)))
            if module.timed:
                tell(f"{module.timed} of these were noticed by the clock alone")
        return True

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.forked:
            limit(self.seconds.get(nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Before pytest looks up the lines that failed, which takes a second in a module with all its mistakes."""
        if (info := call.excinfo) is not None and not info.errisinstance(pytest.skip.Exception):
            self.failed = f"{item.nodeid}: {info.exconly()}"
            if self.forked:
                print(self.failed, file=sys.stderr, flush=True)
                os._exit(1)

    def learn(self, session: pytest.Session) -> None:
        """Runs all tests once without a mistake, in a process of its own, to know which functions each goes through."""
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reading)
            quieten(2)
            set_mutant_under_test("stats")
            through = {}
            for item in session.items:
                forget(self.modules)
                self.run([item])
                through[item.nodeid] = sorted(state()._stats)  # noqa: SLF001  # as mutmut's own runner does
                state()._stats.clear()  # noqa: SLF001
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump((through, self.seconds, self.failed), pipe)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            through, self.seconds, failed = pickle.load(pipe)
        os.waitpid(child, 0)
        if failed:
            leave(f"without a mistake, {failed}")
        for item in sorted(session.items, key=self.time):
            for function in through[item.nodeid]:
                self.through[function].append(item)

    def time(self, item: pytest.Item) -> float:
        return self.seconds.get(item.nodeid, 0.0)

    def concerned(self, module: Module, functions: Sequence[str]) -> list[pytest.Item]:
        """The tests of the module that go through one of the functions, the quickest first."""
        all_ = dict.fromkeys(item for function in functions for item in self.through[function])
        places = tuple(place if place.endswith(".py") else f"{place}/" for place in module.tests)
        return sorted((item for item in all_ if item.nodeid.startswith(places)), key=self.time)

    def check(self, module: Module) -> None:
        """Leaves when the tests fail also where no mistake is switched on."""
        child = self.fork(f"{module.name}.none", self.concerned(module, module.functions()), quiet=False)
        if os.waitpid(child, 0)[1]:
            leave(f"the tests of {module.path} fail without a mistake")

    def results(self, module: Module) -> Iterator[tuple[str, int]]:
        """Each mistake with the status its process ended with: 0, nobody has noticed."""
        running: dict[int, str] = {}
        for mutant in module.asked:
            if len(running) == self.jobs:
                child, status = os.wait()
                yield running.pop(child), status
            name = f"{module.name}.{mutant}"
            running[self.fork(name, self.concerned(module, [mangled_name_from_mutant_name(name)]))] = mutant
        while running:
            child, status = os.wait()
            yield running.pop(child), status

    def fork(self, mutant: str, items: Sequence[pytest.Item], quiet: bool = True) -> int:
        """A process that ends with 0 when all pass with this mistake switched on."""
        if child := os.fork():
            return child
        self.forked = True
        confine()
        forget(self.modules)
        quieten(3 if quiet else 2)
        set_mutant_under_test(mutant)
        try:
            self.run(items)
        except BaseException:  # pytest itself may not bear it
            os._exit(1)
        os._exit(0)

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Those that need nothing of pytest first, and without it: they take a tenth of the time then."""
        if self.forked:
            for alone in filter(plain, items):
                self.pytest_runtest_logstart(alone.nodeid)
                call(alone)
            items = [item for item in items if not plain(item)]
        for item, after in zip(items, [*items[1:], None], strict=True) if items else ():
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


def plain(item: pytest.Item) -> TypeGuard[pytest.Function]:
    """Whether it is a function with parameters at the most: no fixture, nothing that is marked as special."""
    special = {mark.name for mark in item.iter_markers()} - {"asyncio", "parametrize"}
    if special or not isinstance(item, pytest.Function):
        return False
    known = {name.strip() for mark in item.iter_markers("parametrize") if not mark.kwargs.get("indirect")
             for name in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])}  # fmt: skip
    return not [name for name in item.fixturenames if name not in known and name not in LOOPS]


def call(item: pytest.Function) -> None:
    """Run it by itself. Raises what it raises."""
    known = item.callspec.params if hasattr(item, "callspec") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = item.obj(**known)
            if inspect.iscoroutine(done):
                asyncio.run(done)
    except BaseException as error:
        print(f"{item.nodeid}: {error!r}", file=sys.stderr, flush=True)
        raise


def forget(modules: Sequence[Module]) -> None:
    """Empties what functions of the modules remember, so that what is called once is called for each test."""
    for value in [value for module in modules for value in vars(sys.modules.get(module.name, object)).values()]:
        if callable(clear := getattr(value, "cache_clear", None)):
            clear()


def confine() -> None:
    """No process takes all there is."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def limit(seconds: float) -> None:
    """From now on this process has as long as a test of so many *seconds* may take."""
    most = round(START + PATIENCE * seconds)
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(used.ru_utime + used.ru_stime) + most, resource.RLIM_INFINITY))
    signal.alarm(PATIENT + 10 * most)  # it may wait without working, and a busy machine may make it wait


def quieten(numbers: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(numbers):
        os.dup2(nothing, number)


def find(paths: Sequence[str]) -> list[Path]:
    """The modules in these places that [tool.mutmut] names; exits where there are none."""
    found = []
    for path in paths or sorted({pattern.partition("*")[0] for pattern in config().only_mutate}):
        below = Path(path)
        modules = [below] if below.is_file() else sorted(below.rglob("*.py"))
        if not (modules := [module for module in modules if config().should_mutate(module)]):
            leave(f"{path}: there is no module to change; see [tool.mutmut] in pyproject.toml")
        found += modules
    return found


def make(path: Path) -> MutatedFile:
    """The module with all its mistakes, from the last time if it is the same module still."""
    text = path.read_text()
    kept = RUN / f"{blake2b(text.encode(), digest_size=12).hexdigest()}.pickle"
    if not kept.exists():
        kept.write_bytes(pickle.dumps(mutate_file_contents(str(path), text)))
    made: MutatedFile = pickle.loads(kept.read_bytes())
    return made


def kept(path: Path) -> Path:
    return RUN / f"{'.'.join(path.with_suffix('').parts)}.json"


def last(path: Path) -> dict[str, Any]:
    """How many mistakes the module had when it was last looked at, and the names of those that lived."""
    return json.loads(kept(path).read_text()) if kept(path).exists() else {"made": 0, "lived": []}


def keep(module: Module) -> None:
    kept(module.path).write_text(json.dumps({"made": len(module.made.mutant_names), "lived": module.lived}, indent=1))


def line(name: str, made: int, lived: int) -> str:
    share = f"{1 - lived / made:.1%}" if made else "-"
    return f"| {name:44} | {made:7} | {made - lived:6} | {lived:8} | {share:>6} |"


def tell(text: str) -> None:
    print(text, flush=True)


def leave(text: str) -> NoReturn:
    tell(f"mutants: {text}")
    os._exit(1)


def table(paths: Sequence[Path]) -> None:
    """What came of it the last time."""
    tell(HEAD)
    rows = [(str(path), found["made"], len(found["lived"])) for path in paths if (found := last(path))["made"]]
    for row in rows:
        tell(line(*row))
    tell(line("all", sum(made for _, made, _ in rows), sum(lived for _, _, lived in rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--last", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    RUN.mkdir(parents=True, exist_ok=True)
    paths = find(arguments.paths)
    modules = []
    for path in paths:
        made, before = make(path), last(path)["lived"]
        asked = [name for name in made.mutant_names if not (arguments.again or arguments.last) or name in before]
        if asked:
            modules.append(Module(path, made, asked, arguments.wide, asked if arguments.last else []))
    if modules and not arguments.last:
        sys.meta_path.insert(0, Finder(modules))
        places = sorted({place for module in modules for place in module.tests})
        options = ["-qqq", "--no-header", "-p", "no:cacheprovider", "-s", *config().pytest_add_cli_args]
        tell(HEAD)
        if status := pytest.main([*options, *places], [Run(modules, arguments.jobs)]):
            leave(f"pytest ended with {status}")
        tell("")
    table(paths)
    for module in modules if arguments.show else ():
        for mutant in module.lived:
            tell(f"\n{module.path} {mutant}\n{module.diff(mutant)}")


if __name__ == "__main__":
    main()
