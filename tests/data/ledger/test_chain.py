"""Whatever is changed, removed, moved, cut or restored is noticed, in both places."""

from collections.abc import Callable

import pytest

from data.ledger import LedgerError, Store
from tests.support.ledgers import KEY, Place, granted, opened, release, reserve


def test_a_cut_ledger_tail_fails_verify(place: Place) -> None:
    ledger = opened(place.store)
    first, second = release(ledger), release(ledger, "ranker")
    place.edit(f"DELETE FROM {{release}} WHERE sequence = {second.sequence}", "DELETE FROM {entry} WHERE sequence > 2")
    ledger.verify([("popularity", first.sequence, first.head)])
    artefacts = [("popularity", first.sequence, first.head), ("ranker", second.sequence, second.head)]
    for check in (ledger.verify, lambda artefacts: opened(place.store, artefacts=artefacts)):
        with pytest.raises(LedgerError, match="'ranker' was released under row 4, but .* ends at row 2"):
            check(artefacts)


def test_an_older_copy_that_is_behind_its_artefacts_is_refused(place: Place) -> None:
    ledger = opened(place.store)
    first = release(ledger)
    backup = place.copy()
    second = release(ledger, "ranker")
    place.restore(backup)
    artefacts = [("popularity", first.sequence, first.head), ("ranker", second.sequence, second.head)]
    with pytest.raises(LedgerError, match="ends at row 2: its tail was cut or an old copy restored"):
        opened(place.store, artefacts=artefacts)
    assert [entry["type"] for entry in place.entries()] == ["plan", "reserve", "commit"]


def test_a_restored_backup_that_went_another_way_fails_verify(place: Place) -> None:
    ledger = opened(place.store)
    backup = place.copy()
    lost = release(ledger)
    place.restore(backup)
    release(ledger, "ranker")
    with pytest.raises(LedgerError, match="another head than row 2"):
        ledger.verify([("popularity", lost.sequence, lost.head)])


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE {entry} SET body = replace(body, 'run-1', 'run-9') WHERE sequence = 1", 1),
        ("UPDATE {entry} SET body = replace(body, '{{', '{{ ') WHERE sequence = 2", 2),
        (f"UPDATE {{entry}} SET head = '{'0' * 64}' WHERE sequence = 3", 3),
        ("UPDATE {entry} SET head = 'größer' WHERE sequence = 3", 3),
        ("DELETE FROM {entry} WHERE sequence = 1", 1),
        ("DELETE FROM {entry} WHERE sequence = 0", 0),
        ("UPDATE {entry} SET sequence = CASE sequence WHEN 3 THEN 9 WHEN 4 THEN 3 ELSE 4 END WHERE sequence > 2", 3),
        ("UPDATE {entry} SET body = replace(body, '2500', '2501') WHERE sequence = 0", 0),
    ],
)
def test_a_changed_removed_or_moved_row_stops_every_use(place: Place, damage: str, row: int) -> None:
    ledger = opened(place.store)
    release(ledger)
    release(ledger, "ranker")
    place.edit("DELETE FROM {release}", damage)
    uses: tuple[Callable[[], object], ...] = (
        ledger.verify, ledger.rows, ledger.spent, lambda: reserve(ledger), lambda: opened(place.store),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(LedgerError, match=f"^row {row} of ledger .*; restore it from its latest backup$"):
            use()


def test_a_ledger_that_lost_all_rows_is_no_new_start(place: Place) -> None:
    ledger = opened(place.store)
    row = release(ledger)
    place.edit("DELETE FROM {release}", "DELETE FROM {entry}")
    with pytest.raises(LedgerError, match="has lost its row 0"):
        ledger.spent()
    with pytest.raises(LedgerError, match="lost its row 0|missing or empty, but artefact 'popularity'"):
        opened(place.store, artefacts=[("popularity", row.sequence, row.head)])


@pytest.mark.parametrize("damage", ["UPDATE {release} SET content = substr(content, 2)", "DELETE FROM {release}"])
def test_changed_released_bytes_fail_verify(place: Place, damage: str) -> None:
    ledger = opened(place.store)
    committed = release(ledger)
    place.edit(damage)
    uses: tuple[Callable[[], object], ...] = (ledger.verify, lambda: ledger.released(committed))
    for use in uses:
        with pytest.raises(LedgerError, match="release of row 2 .* missing or changed"):
            use()


def test_the_bytes_of_a_reservation_are_no_release(store: Store) -> None:
    ledger = opened(store)
    granted(ledger)
    with pytest.raises(LedgerError, match="release of row 1 .* missing"):
        ledger.released(ledger.rows()[0])


def test_the_place_itself_is_append_only(place: Place) -> None:
    release(opened(place.store))
    before = place.copy()
    statements = [f"{what} {{{table}}}{rest}" for table in ("entry", "release")
                  for what, rest in (("DELETE FROM", ""), ("UPDATE", " SET sequence = 99"))]  # fmt: skip
    if place.kind == "postgresql":
        statements += ["TRUNCATE {release}", "TRUNCATE {entry} CASCADE"]
    for statement in statements:
        with pytest.raises(Exception, match="the ledger is append-only"):
            place.execute(statement)
    assert place.copy() == before


def test_a_missing_ledger_is_no_new_start_once_something_was_released(place: Place) -> None:
    with pytest.raises(LedgerError, match="missing or empty, but artefact 'popularity' was released under row 2"):
        opened(place.store, artefacts=[("popularity", 2, "ab" * 32)])
    assert not place.store.is_founded()


def test_a_ledger_that_looks_well_but_has_no_key_is_not_founded_again(place: Place) -> None:
    release(opened(place.store))
    for key in (bytes(32), KEY[::-1]):
        with pytest.raises(LedgerError, match="^the key does not fit ledger .*; use the key that it was founded with$"):
            opened(place.store, key=key)
    assert len(place.entries()) == 3
