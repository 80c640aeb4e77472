"""A ledger moves from its file to a database once, whole, and the file is closed."""

import pytest

from data.databases import parse_url
from data.ledger import Ledger, LedgerError
from data.ledger.move import check_single, move
from data.ledger.postgresql import PostgresqlStore
from tests.support.ledgers import DOCUMENT, KEY, NAME, PostgresqlPlace, SqlitePlace, granted, opened, release
from tests.support.postgres import Postgres
from tests.support.relay import Relay


def founded(file: SqlitePlace) -> Ledger:
    ledger = opened(file.store)
    release(ledger, content=bytes(range(256)))
    granted(ledger, "ranker")
    return ledger


def test_everything_moves_and_the_file_is_closed(file: SqlitePlace, base: PostgresqlPlace) -> None:
    before = founded(file)
    rows, spent, content = before.rows(), before.spent(), before.released(before.rows()[0])
    artefacts = [(row.slot, row.sequence, row.head) for row in rows if row.state == "committed"]
    with pytest.raises(LedgerError, match="holds one that is in use; move it there with `portrait ledger move`"):
        check_single(file.store, base.store, KEY)
    assert move(file.store, base.store, KEY) == 4
    after = opened(base.store, artefacts=artefacts)
    after.verify(artefacts)
    assert (after.rows(), after.spent(), after.released(after.rows()[0])) == (rows, spent, content)
    check_single(file.store, base.store, KEY)
    for use in (before.rows, before.spent, before.verify, lambda: opened(file.store), lambda: granted(before, "x")):
        with pytest.raises(LedgerError, match=r"was moved to 'corner' at postgresql\+psycopg://shopkeeper:\*\*\*@"):
            use()
    again = granted(after, "ranker", run_id="run-2")
    assert again.resumed and after.commit(again, again.event, b"weights").slot == "ranker"
    with pytest.raises(LedgerError, match="was moved to"):
        move(file.store, base.store, KEY)


def test_a_move_that_was_cut_off_is_finished_by_another_one(
    file: SqlitePlace, base: PostgresqlPlace, postgres: Postgres
) -> None:
    before = founded(file)
    with Relay(postgres.port) as relay:
        relay.cut_at(b"COMMIT", "after")  # the copy is there, and the file was not told
        with pytest.raises(LedgerError, match="cannot be used"):
            move(file.store, PostgresqlStore(parse_url(base.address).set(port=relay.port), NAME), KEY)
    assert len(base.entries()) == 4 and len(before.rows()) == 2
    with pytest.raises(LedgerError, match="holds one that is in use"):
        check_single(file.store, base.store, KEY)
    assert move(file.store, base.store, KEY) == 4
    check_single(file.store, base.store, KEY)


def test_nothing_moves_onto_another_ledger_nor_from_none_nor_under_another_key(
    file: SqlitePlace, base: PostgresqlPlace
) -> None:
    with pytest.raises(LedgerError, match="there is no ledger to move"):
        move(file.store, base.store, KEY)
    assert not file.path.exists()
    founded(file)
    with pytest.raises(LedgerError, match="the key does not fit"):
        move(file.store, base.store, bytes(32))
    assert not base.store.is_founded()
    release(opened(base.store, plan=DOCUMENT))
    with pytest.raises(LedgerError, match="is not the one in"):
        move(file.store, base.store, KEY)
    assert len(base.entries()) == 3 and len(file.entries()) == 4
