"""Made-up shops: the same bytes for a seed whatever the blocks, and the planted structure is there to be found."""

import csv
import datetime as dt
import gzip
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.settings import REPOSITORY
from data.synth.draws import bits, poisson, uniform
from data.synth.events import PURCHASE, VIEW, activity, make_block
from data.synth.files import WORDS
from data.synth.plan import Plan
from data.synth.world import NEVER, make_items, make_persons
from data.synth.write import Written, write_shop

SMALL = {"n_users": 60, "n_items": 40, "n_days": 20, "seed": 3}
LARGE = Plan(n_users=3000, n_items=400, n_days=70, seed=11, shape="utc_csv", bot_share=0.004)
SHAPES = ("headerless_csv", "utc_csv", "nested_jsonl")


@pytest.fixture(scope="module")
def large() -> tuple:
    items, persons = make_items(LARGE), make_persons(LARGE, 0, LARGE.n_users)
    return items, persons, make_block(LARGE, items, persons)


@pytest.fixture(scope="module", params=SHAPES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    folder = tmp_path_factory.mktemp("made") / "up"
    return folder, write_shop(Plan(**SMALL, shape=request.param), folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lines(folder: Path) -> Iterator[tuple[str, str]]:
    """File and text of every line of events, the searches among them."""
    for path in sorted([*(folder / "data" / "events").iterdir(), *(folder / "data").glob("searches/*")]):
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        yield from ((str(path.relative_to(folder / "data")), line) for line in text.splitlines())


def records(folder: Path, shape: str) -> list[dict]:
    """Every event as a stranger would read it: file, user, item or query, word and unix second."""
    found = []
    headers: dict[str, list[str]] = {}
    for file, line in lines(folder):
        if shape == "nested_jsonl":
            row = json.loads(line)
            what = row["item"]["id"] if "item" in row else row["query"]
            found.append((file, row["user"]["id"], what, row["event"], row["ts"] // 1000))
            continue
        [cells] = csv.reader(io.StringIO(line))
        if shape == "headerless_csv" and file.startswith("events"):
            found.append((file, cells[0], cells[1], cells[3], int(cells[4])))
            continue
        if file not in headers:
            headers[file] = cells
            continue
        row = dict(zip(headers[file], cells, strict=True))
        at = (
            row.get("timestamp")
            or dt.datetime.strptime(row["event_time"] + "+0000", "%Y-%m-%d %H:%M:%S UTC%z").timestamp()
        )
        found.append(
            (file, row["user_id"], row.get("product_id", row.get("query")), row.get("event_type", "search"), int(at))
        )
    return [dict(zip(("file", "user", "what", "word", "at"), row, strict=True)) for row in found]


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(shop: tuple[Path, Written], tmp_path: Path) -> None:
    folder, written = shop
    write_shop(written.plan, tmp_path / "again", users_at_once=60)
    assert files(tmp_path / "again") == files(folder)
    write_shop(written.plan.model_copy(update={"seed": 4}), tmp_path / "other")
    assert files(tmp_path / "other" / "data") != files(folder / "data")


@pytest.mark.parametrize("users_at_once", [1, 7])
def test_blocks_of_any_size_make_the_same_data_and_the_same_truth(
    shop: tuple[Path, Written], tmp_path: Path, users_at_once: int
) -> None:
    folder, written = shop
    write_shop(written.plan, tmp_path / "blocks", users_at_once=users_at_once)
    assert files(tmp_path / "blocks" / "data") == files(folder / "data")
    assert (tmp_path / "blocks/truth/truth.json").read_bytes() == (folder / "truth/truth.json").read_bytes()
    for path in (folder / "truth").glob("*.parquet"):
        assert pq.read_table(tmp_path / "blocks" / "truth" / path.name).equals(pq.read_table(path)), path.name


def test_files_hold_what_the_truth_counts(shop: tuple[Path, Written]) -> None:
    folder, written = shop
    plan = written.plan
    found = records(folder, plan.shape)
    assert len(found) == written.n_rows
    different = {(r["user"], r["what"], r["word"], r["at"]) for r in found}
    # A search is the same for two items of one kind: it alone may fall together.
    assert written.n_events - 3 <= len(different) <= written.n_events
    words = dict(zip(WORDS[plan.shape], ("view", "cart", "favourite", "purchase", "search"), strict=True))
    counts = Counter(words[word] for _, _, word, _ in different)
    assert {k: counts[k] for k in ("view", "cart", "favourite", "purchase")} == {
        k: n for k, n in written.n_of_type.items() if k != "search"
    }
    days = pq.read_table(folder / "truth" / "events_per_day.parquet")
    assert sum(sum(days[kind].to_pylist()) for kind in words.values()) == written.n_events
    names = [p.name for p in (folder / "data" / "events").iterdir()]
    assert any(name.endswith(".gz") for name in names) and any(not name.endswith(".gz") for name in names)
    assert sum(p.is_file() for p in (folder / "data").rglob("*")) == written.n_files


def test_late_events_stand_in_later_files_and_nothing_comes_early(shop: tuple[Path, Written]) -> None:
    folder, written = shop
    lags = []
    for row in records(folder, written.plan.shape):
        of_file = dt.date.fromisoformat(Path(row["file"]).name[:10])
        lags.append((of_file - dt.datetime.fromtimestamp(row["at"], dt.UTC).date()).days)
    assert min(lags) == 0 and 1 <= max(lags) <= written.plan.max_late_days + 1


def test_cookies_lead_to_customers_by_the_file_of_logins(shop: tuple[Path, Written]) -> None:
    folder, written = shop
    users = pq.read_table(folder / "truth" / "users.parquet").to_pylist()
    with (folder / "data" / "logins.csv").open() as stream:
        edges = {row["cookie_id"]: row for row in csv.DictReader(stream)}
    known = {row["cookie_id"]: row["customer_id"] for row in users if row["first_login_at_utc"]}
    assert {cookie: row["customer_id"] for cookie, row in edges.items()} == known
    assert all(row["authenticated"] == "true" and row["logged_in_at"].endswith(" UTC") for row in edges.values())
    seen = {row["user"] for row in records(folder, written.plan.shape)}
    never = {row["cookie_id"] for row in users if not row["first_login_at_utc"]}
    assert never and seen & set(edges) and seen & never, "some cookies are linked later, some never"
    assert seen <= set(edges) | never | set(known.values())
    assert written.n_customers == len(edges)


def test_draws_are_uniform_and_independent_of_their_neighbours() -> None:
    drawn = uniform(5, "test", np.arange(1000)[:, None], np.arange(100))
    assert abs(drawn.mean() - 0.5) < 0.004 and abs(drawn.var() - 1 / 12) < 0.002
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.11
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.013
    assert len(np.unique(bits(5, "test", np.arange(200_000)))) == 200_000
    assert (uniform(5, "other", 1) != uniform(5, "test", 1)).all() and (
        uniform(6, "test", 1) != uniform(5, "test", 1)
    ).all()
    counts = poisson(uniform(5, "counts", np.arange(50_000)), np.full(50_000, 2.5))
    assert counts.mean() == pytest.approx(2.5, abs=0.03) and counts.var() == pytest.approx(2.5, abs=0.08)


def test_popularity_follows_its_power_law(large: tuple) -> None:
    items, _, block = large
    # What is considered follows the law itself, so the choices do on average over tastes.
    ranked = np.argsort(-items.popularity)
    declared = np.polyfit(np.log(np.arange(1, 101)), np.log(items.popularity[ranked[:100]]), 1)[0]
    assert declared == pytest.approx(-LARGE.zipf_exponent, abs=1e-9)
    views = block.events[block.events["kind"] == VIEW]
    counts = np.bincount(views["item"], minlength=LARGE.n_items)[ranked]
    # Averaged over neighbours in rank, since some tastes are commoner among few items.
    bins = [slice(2**k - 1, 2 ** (k + 1) - 1) for k in range(8)]
    ranks = [np.log(np.arange(1, 401)[b]).mean() for b in bins]
    slope = np.polyfit(ranks, [np.log(counts[b].mean()) for b in bins], 1)[0]
    assert slope == pytest.approx(-LARGE.zipf_exponent, abs=0.2)


def test_people_choose_what_they_like_and_drift_turns_them(large: tuple) -> None:
    items, persons, block = large
    views = block.events[block.events["kind"] == VIEW]
    after = views["second"] >= LARGE.drift_second
    drifter = persons.drift_second[views["user"]] < NEVER
    liking = {
        name: np.einsum("nr,nr->n", taste[views["user"]], items.factors[views["item"]])
        for name, taste in (("before", persons.factors), ("after", persons.factors_after))
    }
    assert liking["before"][~after].mean() > 0.3
    assert liking["after"][drifter & after].mean() > 0.3
    assert abs(liking["before"][drifter & after].mean()) < 0.08
    share = (persons.drift_second < NEVER).sum() / (~persons.is_bot).sum()
    assert share == pytest.approx(LARGE.drift_share, abs=0.03)


def test_habits_come_back_after_their_cycle(large: tuple) -> None:
    items, persons, block = large
    habits = block.habits
    bought = block.events[block.events["kind"] == PURCHASE]
    gaps: dict[float, list[float]] = {7.0: [], 28.0: []}
    steady = ~np.isin(habits["user"], np.nonzero(persons.drift_second < NEVER)[0])
    by_user = {user: bought[bought["user"] == user] for user in np.unique(habits["user"][steady])[:300]}
    for user, item, cycle in zip(
        habits["user"][steady], habits["item"][steady], habits["cycle_days"][steady], strict=True
    ):
        if user in by_user and (rows := by_user[user][by_user[user]["item"] == item]).size > 2:
            gaps[float(cycle)] += np.diff(np.sort(rows["second"])).tolist()
    for cycle, found in gaps.items():
        assert len(found) > 100 and np.median(found) / 86_400 == pytest.approx(cycle, rel=0.06)
    assert not {0.0} & set(habits["cycle_days"]) and not persons.is_bot[habits["user"]].any()


def test_weeks_seasons_bots_lateness_and_copies_are_as_declared(large: tuple) -> None:
    _, persons, block = large
    rows, plan = block.events, LARGE
    bots = persons.is_bot[rows["user"]]
    assert persons.is_bot.any() and persons.is_bot.mean() < 0.01
    per_user = np.bincount(rows["user"], minlength=plan.n_users)
    assert np.median(per_user[persons.is_bot]) > 8 * np.median(per_user[~persons.is_bot])
    assert set(rows["kind"][bots]) == {VIEW}
    expected = activity(plan)
    sessions = np.array(
        [len(np.unique(rows["session"][rows["second"] // 86_400 == day])) for day in range(plan.n_days)]
    )
    assert np.corrcoef(sessions, expected)[0, 1] > 0.8
    year = activity(plan.model_copy(update={"n_days": 366}))
    assert 325 < np.argmax(np.convolve(year, np.ones(7) / 7, "same")[10:-10]) + 11 < 352
    copies = len(block.delivered) - len(rows)
    assert copies / len(rows) == pytest.approx(plan.duplicate_share, rel=0.15)
    assert block.n_late / len(rows) == pytest.approx(plan.late_share, rel=0.15)
    assert rows["second"].min() >= 0 and rows["second"].max() < plan.n_days * 86_400


def test_purchases_follow_carts_and_carts_follow_views(large: tuple) -> None:
    _, _, block = large
    rows = block.events
    first = {}
    for kind in (VIEW, 1, PURCHASE):
        chosen = rows[rows["kind"] == kind]
        for session, item, second in zip(
            chosen["session"].tolist(), chosen["item"].tolist(), chosen["second"].tolist(), strict=True
        ):
            key = (session, item, kind)
            first[key] = min(second, first.get(key, second))
    bought = [(session, item, at) for (session, item, kind), at in first.items() if kind == PURCHASE]
    assert len(bought) > 1000
    assert all(first[s, i, VIEW] < first[s, i, 1] < at for s, i, at in bought)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty; name a new folder"):
        write_shop(Plan(**SMALL, shape="utc_csv"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_making_a_shop_needs_numbers_and_arrow_alone() -> None:
    heavy = ("dagster", "torch", "duckdb", "deltalake", "sklearn", "data.shop", "data.build", "data.workspace")
    code = f"import sys, data.synth.write\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_truth_holds_the_factors_of_everybody(shop: tuple[Path, Written]) -> None:
    folder, written = shop
    items = pq.read_table(folder / "truth" / "items.parquet")
    assert items.num_rows == 40 and items.schema.field("factors").type == pa.list_(pa.float32(), written.plan.rank)
    norms = np.linalg.norm(np.array(items["factors"].to_pylist()), axis=1)
    assert norms == pytest.approx(np.ones(40), abs=1e-5)
    assert json.loads((folder / "truth" / "truth.json").read_text())["plan"]["drift_share"] == written.plan.drift_share
