"""What only a file can suffer: damage, rights, a full disk; and files of earlier versions keep opening."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.ledger import LedgerError, Row
from ml.privacy.accounting import ledger_composer
from tests.support.ledger_work import PROCESSES, use_as_nobody, work_on_a_full_disk
from tests.support.ledgers import SqlitePlace, granted, opened, release, reserve

EARLIER = Path(__file__).parent / "ledger_0_1.sql"


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_file_is_no_new_start_once_something_was_released(
    file: SqlitePlace, content: bytes | None
) -> None:
    row = release(opened(file.store))
    file.remove()
    if content is not None:
        file.path.write_bytes(content)
    with pytest.raises(LedgerError, match="missing or empty, but artefact 'popularity'"):
        opened(file.store, artefacts=[("popularity", row.sequence, row.head)])
    assert file.path.exists() == (content is not None) and not file.store.is_founded()


@pytest.mark.parametrize("damage", ["header", "half", "page"])
def test_a_corrupt_file_gets_one_sentence(file: SqlitePlace, damage: str) -> None:
    ledger = opened(file.store)
    release(ledger, content=os.urandom(50_000))
    content = file.path.read_bytes()
    spoilt = {
        "header": b"not a database" + content[14:],
        "half": content[: len(content) // 4],
        "page": content[:100] + b"\xff" * 4000 + content[4100:],
    }
    file.path.write_bytes(spoilt[damage])
    with pytest.raises(LedgerError, match="^ledger .*; restore it from its latest backup$"):
        opened(file.store).verify()


@pytest.mark.parametrize("place", ["missing/ledger.sqlite", "/proc/ledger.sqlite"])
def test_a_place_that_cannot_be_written_gets_one_sentence(tmp_path: Path, place: str) -> None:
    store = SqlitePlace(tmp_path / place).store
    assert not store.is_founded()
    with pytest.raises(LedgerError, match=r"cannot be used \(unable to open .*; create its folder"):
        opened(store)


def test_a_file_that_goes_away_is_not_made_again(file: SqlitePlace) -> None:
    ledger = opened(file.store)
    file.remove()
    with pytest.raises(LedgerError, match=r"cannot be used \(unable to open"):
        ledger.spent()
    assert not file.path.exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that users other than root can reach."""
    folder = Path(tempfile.mkdtemp(prefix="portrait-ledger-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("folder_mode", [0o755, 0o555])
def test_a_file_that_may_only_be_read_refuses_in_one_sentence(open_folder: Path, folder_mode: int) -> None:
    file = SqlitePlace(open_folder / "ledger.sqlite")
    release(opened(file.store))
    file.path.chmod(0o444)
    open_folder.chmod(folder_mode)
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=use_as_nobody, args=((file.kind, file.address), theirs))
    process.start()
    looked, reserved = ours.recv()
    process.join()
    refused = f"ledger {file.path} cannot be used (attempt to write a readonly database); give this user the right to"
    assert reserved.startswith(f"reserve: {refused}"), reserved
    assert looked == "look: epsilon 0.25" or looked.startswith(f"look: {refused}"), looked
    assert [entry["type"] for entry in file.entries()] == ["plan", "reserve", "commit"]


@pytest.mark.parametrize("step", ["reserve", "commit"])
@pytest.mark.parametrize("limit_bytes", [40_000, 100_000, 300_000])
def test_a_full_disk_leaves_what_was_reserved_spent_and_a_rerun_completes(
    file: SqlitePlace, limit_bytes: int, step: str
) -> None:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=work_on_a_full_disk, args=((file.kind, file.address), limit_bytes, step, theirs))
    process.start()
    assert ours.poll(60)
    said = ours.recv()
    process.join()
    assert "cannot be used" in said and "free space" in said
    is_reserved = step == "commit"  # a full disk while reserving stops before data is read: nothing is spent
    assert [entry["type"] for entry in file.entries()] == ["plan", "reserve"][: 1 + is_reserved]
    ledger = opened(file.store)
    assert ledger.spent().epsilon == 0.25 * is_reserved
    again = granted(ledger, asset="a", input_version="v1", code_version="c", run_id="run-2")
    assert again.resumed == is_reserved
    row = ledger.commit(again, again.event, b"noisy")
    ledger.verify([("popularity", row.sequence, row.head)])
    assert ledger.spent().epsilon == 0.25


def test_a_ledger_of_version_0_1_opens_and_goes_on(file: SqlitePlace) -> None:
    with contextlib.closing(sqlite3.connect(file.path)) as db:
        db.executescript(EARLIER.read_text(encoding="utf-8"))
    document = file.entries()[0]["document"]
    ledger = opened(file.store, plan=document, compose=ledger_composer(document["delta"]))
    popularity, ranker = ledger.rows()
    ledger.verify([("model.popularity", popularity.sequence, popularity.head)])
    assert (popularity.state, popularity.slot, ledger.released(popularity)) == (
        "committed", "popularity", b"noisy counts",
    )  # fmt: skip
    assert (ranker.state, ranker.event["noise_multiplier"]) == ("reserved", 10.079754)
    assert ledger.spent().epsilon == pytest.approx(ranker.epsilon) and ledger.spent().free_slots == ()
    resumed = granted(ledger, "ranker", asset="model.ranker", input_version="events@7", code_version="1")
    assert resumed.resumed and ledger.commit(resumed, resumed.event, b"weights").sequence == 5
    found = reserve(ledger, asset="model.popularity", input_version="events@7", code_version="1")
    assert isinstance(found, Row) and found.head == popularity.head
