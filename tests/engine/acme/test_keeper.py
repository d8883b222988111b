"""Who orders, when, and what comes of it; the order itself is a program that the test puts in its place."""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.acme import keeper
from app.engine.acme.files import write
from app.engine.acme.keeper import Keeper
from app.engine.acme.storage import Failed, Storage, prepare
from app.plan import plan
from settings import Settings
from settings.acme import AcmeSettings
from settings.problems import SettingsError
from tests.support.tls import Certificate


@pytest.fixture
def acme(tmp_path: Path) -> AcmeSettings:
    made = AcmeSettings(domains=("a.test", "b.test"), storage=tmp_path / "acme", agree=True)
    Storage(made).prepare()
    return made


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has this program in place of the order; it gets what is wanted as *said*."""

    def put(program: str) -> None:
        begin = "import json, sys, time\nfrom pathlib import Path\nsaid = json.load(sys.stdin)\n"
        monkeypatch.setattr(keeper, "PROGRAM", ("-c", begin + program))

    return put


def issuing(tmp_path: Path) -> str:
    """A program that issues, and writes down for whom."""
    made = Certificate(tmp_path / "issued", "a.test")
    (tmp_path / "both.pem").write_bytes(made.key.read_bytes() + made.cert.read_bytes())
    return (
        f"Path(said['file']).write_bytes(Path({str(tmp_path / 'both.pem')!r}).read_bytes())\n"
        f"open({str(tmp_path / 'log')!r}, 'a').write(said['domain'] + ' ')\n"
    )


async def look(of: Keeper) -> None:
    await of._look()


def test_what_is_there_to_begin_with(acme: AcmeSettings) -> None:
    """A certificate that a listener can use, for its owner only; what is there already stays."""
    file = acme.file("a.test")
    before = file.read_bytes()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(acme.room.stat().st_mode) == 0o700
    Storage(acme).prepare()
    assert file.read_bytes() == before
    known = Storage(acme).issued("a.test")
    assert known is not None
    assert known.by_itself


def test_another_authority_has_a_room_of_its_own(acme: AcmeSettings) -> None:
    other = acme.model_copy(update={"directory": "https://acme-staging-v02.api.letsencrypt.org/directory"})
    assert other.room != acme.room


async def test_what_is_due_is_ordered_once(
    acme: AcmeSettings, orders: Callable[[str], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    orders(issuing(tmp_path))
    one = Keeper(acme, 0.01)
    await look(one)
    await look(one)
    await look(Keeper(acme, 0.01))  # that of another process, or of the next
    assert (tmp_path / "log").read_text() == "a.test b.test "
    assert dict(one.sample()) == {
        ("a.test", "issued"): 1, ("a.test", "failed"): 0, ("b.test", "issued"): 1, ("b.test", "failed"): 0
    }  # fmt: skip


async def test_two_at_the_same_time(acme: AcmeSettings, orders: Callable[[str], None], tmp_path: Path) -> None:
    orders("time.sleep(0.2)\n" + issuing(tmp_path))
    await asyncio.gather(look(Keeper(acme, 0.01)), look(Keeper(acme, 0.01)))
    assert (tmp_path / "log").read_text() == "a.test b.test "


@pytest.mark.parametrize(
    ("program", "why", "wait"),
    [
        ('print(\'{"why": "no such name", "limited": false}\')\nsys.exit(1)', "no such name", 60),
        ('print(\'{"why": "too many", "limited": true}\')\nsys.exit(1)', "too many", 3600),
        ("raise RuntimeError('a defect')", "the order ended with 1: RuntimeError: a defect", 60),
        ("print('[]')\nsys.exit(3)", "the order ended with 3", 60),
    ],
)
async def test_what_fails_is_tried_again_later(
    acme: AcmeSettings, orders: Callable[[str], None], caplog: pytest.LogCaptureFixture,
    tmp_path: Path, program: str, why: str, wait: float,
) -> None:  # fmt: skip
    """By whoever it is; one domain does not wait for another's failures; then it is forgotten."""
    now = 1.8e9
    acme = acme.model_copy(update={"domains": ("a.test",)})
    of = Keeper(acme, 0.01, wall=lambda: now)
    orders(program)
    served = acme.file("a.test").read_bytes()
    await look(of)
    assert f"again in {wait} s: {why}" in caplog.text
    assert acme.file("a.test").read_bytes() == served
    assert Storage(acme).failed("a.test") == Failed(1, now + wait)
    now += wait - 1
    await look(Keeper(acme, 0.01, wall=lambda: now))
    assert Storage(acme).failed("a.test").failures == 1
    now += 1
    await look(of)
    assert Storage(acme).failed("a.test").failures == 2
    now += 4 * 3600
    orders(issuing(tmp_path))
    await look(of)
    assert Storage(acme).failed("a.test") == Failed()


async def test_an_order_without_an_end_is_ended(
    acme: AcmeSettings, orders: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "PATIENCE", 0.01)
    orders("time.sleep(600)")
    await look(Keeper(acme, 0.01))
    assert "for a.test, what is served stays; again in 60 s: the order took over 0.01 s" in caplog.text


async def test_an_order_ends_with_us(acme: AcmeSettings, orders: Callable[[str], None], tmp_path: Path) -> None:
    """Nor is the lock held any longer; a token that was left is taken away by the next."""
    orders(f"import os\nPath({str(tmp_path / 'new')!r}).write_text(str(os.getpid()))\n"
           f"Path({str(tmp_path / 'new')!r}).rename({str(tmp_path / 'pid')!r})\n"
           "Path(said['tokens'], 'left').write_text('x')\ntime.sleep(600)")  # fmt: skip
    job = asyncio.create_task(Keeper(acme, 0.01).run())
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.005)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()
    orders(issuing(tmp_path))
    await look(Keeper(acme, 0.01))
    assert list(acme.challenges.iterdir()) == []


async def test_a_storage_that_is_gone_is_said(
    acme: AcmeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And is no end of the job."""
    caplog.set_level(logging.ERROR, "l7lb.acme")
    monkeypatch.setattr(keeper, "AWAY", 0.001)
    assert acme.storage is not None
    acme.storage.rename(acme.storage.with_name("elsewhere"))
    job = asyncio.create_task(Keeper(acme, 0.001).run())
    async with asyncio.timeout(20):
        while len(caplog.messages) < 2:
            await asyncio.sleep(0.001)
    assert not job.done()
    job.cancel()
    assert "the storage of acme cannot be used" in caplog.text


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").write_text("")
    with pytest.raises(OSError):  # noqa: PT011
        write(tmp_path / "there", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_storage_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    acme = {"domains": ["a.test"], "agree": True, "storage": str(tmp_path / "file")}
    with pytest.raises(
        SettingsError, match=r"LB_TLS__ACME__STORAGE: tls.acme.storage: it cannot be used .*; write the"
    ):
        prepare(Settings.model_validate({"tls": {"acme": acme}}))
    prepare(Settings())


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.plan.find_spec", lambda _: None)
    acme = {"domains": ["a.test"], "agree": True, "storage": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"acme is not installed; pip install l7lb\[acme\]"):
        plan(Settings.model_validate({"tls": {"acme": acme}}))
