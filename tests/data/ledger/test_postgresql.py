"""What only a server can do: be down, vanish in the middle, refuse a user, hold several shops and many machines."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from data.databases import parse_url
from data.ledger import BudgetRefused, LedgerError, Row
from data.ledger.place import store_of
from data.ledger.postgresql import ENTRY, RELEASE, PostgresqlStore
from data.ledger.sqlite import SqliteStore
from data.shop.errors import ShopError
from data.shop.load import parse_shop
from tests.support.ledgers import NAME, PostgresqlPlace, granted, opened, release, reserve
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.shops import YAML


@pytest.fixture
def place(base: PostgresqlPlace) -> PostgresqlPlace:
    return base


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    with Relay(postgres.port) as relay:
        yield relay


def through(relay: Relay, place: PostgresqlPlace) -> PostgresqlStore:
    return PostgresqlStore(parse_url(place.address).set(port=relay.port), NAME)


def test_a_server_that_is_down_is_one_sentence(place: PostgresqlPlace, relay: Relay) -> None:
    store = through(relay, place)
    relay.close()
    uses = (store.is_founded, lambda: opened(store))
    for use in uses:
        with pytest.raises(LedgerError) as fault:
            use()
        said = str(fault.value)
        assert said.startswith(f"ledger 'corner' at postgresql+psycopg://shopkeeper:***@127.0.0.1:{relay.port}/")
        assert "check that the database runs" in said and "\n" not in said


def test_a_server_that_goes_down_between_reserve_and_commit_leaves_the_slot_spent(
    place: PostgresqlPlace, relay: Relay
) -> None:
    ledger = opened(through(relay, place))
    reservation = granted(ledger)
    relay.close()
    with pytest.raises(LedgerError, match="check that the database runs"):
        ledger.commit(reservation, reservation.event, b"lost")
    assert [entry["type"] for entry in place.entries()] == ["plan", "reserve"]
    back = opened(place.store)
    assert back.spent().epsilon == 0.25
    again = granted(back, run_id="run-2")
    assert again.resumed
    row = back.commit(again, again.event, b"drawn again")
    assert back.released(row) == b"drawn again" and back.spent().epsilon == 0.25
    with pytest.raises(BudgetRefused, match="no longer valid"):
        back.commit(reservation, reservation.event, b"lost")


@pytest.mark.parametrize("marker", [b"pg_advisory_xact_lock", b"INSERT INTO portrait_ledger_entry", RELEASE.encode()])
def test_a_connection_lost_before_the_commit_writes_nothing(
    place: PostgresqlPlace, relay: Relay, marker: bytes
) -> None:
    ledger = opened(through(relay, place))
    reservation = granted(ledger)
    relay.cut_at(marker, "before")
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.commit(reservation, reservation.event, b"lost")
    assert [row.state for row in ledger.rows()] == ["reserved"]
    row = ledger.commit(reservation, reservation.event, b"kept")  # the same holder may try again
    assert ledger.released(row) == b"kept"


def test_a_commit_whose_answer_is_lost_is_found_by_the_rerun_and_not_drawn_again(
    place: PostgresqlPlace, relay: Relay
) -> None:
    ledger = opened(through(relay, place))
    reservation = granted(ledger)
    relay.cut_at(b"COMMIT", "after")
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.commit(reservation, reservation.event, b"first draw")
    found = reserve(opened(place.store), run_id="run-2")
    assert isinstance(found, Row) and ledger.released(found) == b"first draw"
    assert ledger.spent().epsilon == 0.25


def test_a_reservation_whose_answer_is_lost_is_spent_and_resumed(place: PostgresqlPlace, relay: Relay) -> None:
    ledger = opened(through(relay, place))
    relay.cut_at(b"COMMIT", "after")
    with pytest.raises(LedgerError, match="cannot be used"):
        reserve(ledger)
    assert ledger.spent().epsilon == 0.25
    assert granted(ledger, run_id="run-2").resumed


def test_a_writer_whose_session_is_ended_loses_the_lock_and_writes_nothing(place: PostgresqlPlace) -> None:
    """As after the idle limit of a writer that the network lost, or by an operator's hand."""
    ledger = opened(place.store)
    waiting = threading.Thread(target=release, args=(ledger,))
    with pytest.raises(LedgerError, match="cannot be used"), place.store.transaction("write") as transaction:
        transaction.append(1, "{}", "")
        waiting.start()
        held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        place.execute(f"SELECT pg_terminate_backend(({held}))")
        waiting.join(60)
        assert not waiting.is_alive(), "the next writer goes on"
        list(transaction.entries())
    assert [entry["type"] for entry in place.entries()] == ["plan", "reserve", "commit"]


def test_every_transaction_of_a_writer_has_its_limits(place: PostgresqlPlace) -> None:
    opened(place.store)
    with place.store.transaction("write") as transaction:
        settings = ("lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
        found = [transaction._connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in settings]
    assert found == ["2min", "90s", "on"]


def test_a_user_who_may_only_read_and_add_is_enough_and_a_reader_is_refused(
    postgres: Postgres, place: PostgresqlPlace
) -> None:
    first = release(opened(place.store))
    names, password = [f"{kind}_{secrets.token_hex(3)}" for kind in ("adder", "reader")], secrets.token_hex(8)
    rights = ("SELECT, INSERT", "SELECT")
    try:
        for name, right in zip(names, rights, strict=True):
            place.execute(
                f"CREATE ROLE {name} LOGIN PASSWORD '{password}'", f"GRANT {right} ON {ENTRY}, {RELEASE} TO {name}"
            )
        url = parse_url(place.address).set(password=password)
        adder, reader = (PostgresqlStore(url.set(username=name), NAME) for name in names)
        assert opened(reader).rows() == [first]
        opened(reader).verify([("popularity", first.sequence, first.head)])
        with pytest.raises(LedgerError, match=r"permission denied .*; grant this user SELECT and INSERT"):
            reserve(opened(reader), "ranker")
        row = release(opened(adder), "ranker")
        assert opened(reader).released(row) == b"noisy"
        for statement in (f"UPDATE {ENTRY} SET head = ''", f"DELETE FROM {RELEASE}", f"TRUNCATE {ENTRY} CASCADE"):
            engine = sa.create_engine(url.set(username=names[0]), poolclass=sa.NullPool)
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), engine.begin() as connection:
                connection.exec_driver_sql(statement)
    finally:
        for name in names:
            place.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_release_that_cannot_be_stored_takes_its_commit_back(place: PostgresqlPlace) -> None:
    ledger = opened(place.store)
    reservation = granted(ledger)
    place.execute("ALTER TABLE {release} ADD CONSTRAINT full_disk CHECK (octet_length(content) < 10)")
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.commit(reservation, reservation.event, bytes(100))
    assert [row.state for row in ledger.rows()] == ["reserved"] and ledger.spent().epsilon == 0.25
    place.execute("ALTER TABLE {release} DROP CONSTRAINT full_disk")
    assert ledger.released(ledger.commit(reservation, reservation.event, bytes(100))) == bytes(100)


def test_two_shops_share_a_database_and_nothing_else(place: PostgresqlPlace) -> None:
    other = PostgresqlStore(parse_url(place.address), "bakery")
    first = release(opened(place.store))
    assert not other.is_founded()
    release(opened(other), "ranker")
    assert opened(place.store).rows() == [first] and opened(other).spent().free_slots == ("popularity",)
    opened(place.store).verify()
    opened(other).verify()


def test_no_password_is_ever_repeated(postgres: Postgres, place: PostgresqlPlace) -> None:
    wrong = [
        postgres.url(place.database, password="opensesame"),
        postgres.url(place.database, password="open%40sesame"),
        f"postgresql://shopkeeper@127.0.0.1:{postgres.port}/{place.database}?password=opensesame",
        "postgresql://shopkeeper:opensesame@host.invalid/none",
        f"postgresql://shopkeeper:opensesame@127.0.0.1:{postgres.port}/none?sslmode=nonsense",
    ]
    for url in wrong:
        store = PostgresqlStore(parse_url(url), NAME)
        with pytest.raises(LedgerError) as fault:
            opened(store)
        assert "sesame" not in str(fault.value) + store.place and "\n" not in str(fault.value), url
        assert fault.value.__cause__ is None


# Where the shop file puts it


def privacy(text: str) -> str:
    return YAML.replace("name: corner", f"name: corner\nprivacy: {{{text}}}")


def test_the_shop_file_names_the_place_and_the_password_comes_from_elsewhere(
    place: PostgresqlPlace, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.sqlite"
    default = store_of(parse_shop(YAML, tmp_path / "shop.yaml"), file)
    assert isinstance(default, SqliteStore) and default.path == file
    shop = parse_shop(privacy("epsilon: 2, ledger: '${LEDGER}'"), tmp_path / "shop.yaml")
    store = store_of(shop, file, {"LEDGER": place.address})
    row = release(opened(store))
    assert store.place.startswith("'corner' at postgresql+psycopg://shopkeeper:***@") and not file.exists()
    host = f"postgresql://shopkeeper@127.0.0.1:{postgres.port}/{place.database}"
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{postgres.port}:*:shopkeeper:{postgres.password}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    plainly = store_of(parse_shop(privacy(f"ledger: '{host}'"), tmp_path / "shop.yaml"), file)
    assert opened(plainly).rows() == [row]
    word = store_of(parse_shop(privacy(f"ledger: '{host.replace('@', ':${WORD}@')}'"), tmp_path / "shop.yaml"), file,
                    {"WORD": postgres.password})  # fmt: skip
    assert opened(word).rows() == [row]


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("postgresql://me:opensesame@host/db", "privacy.ledger: a password must not stand in the shop file"),
        ("postgresql://host/db?password=opensesame", "privacy.ledger: a password must not stand in the shop file"),
        ("${LEDGER", "privacy.ledger: has a broken ${NAME}"),
        ("${UNSET_LEDGER}", "privacy.ledger: environment variable UNSET_LEDGER is not set"),
        ("mysql://host/db", "privacy.ledger: is for mysql; use postgresql://"),
        ("ledger.sqlite", "privacy.ledger: names an SQLite file; leave it out"),
        ("postgresql://host:port/db", "privacy.ledger: is no database URL; write postgresql://"),
    ],
)
def test_a_place_that_is_none_is_one_sentence(ledger: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ShopError) as fault:
        store_of(parse_shop(privacy(f"ledger: '{ledger}'"), tmp_path / "shop.yaml"), tmp_path / "ledger.sqlite", {})
    assert said in str(fault.value) and "sesame" not in str(fault.value) and "\n" not in str(fault.value)
