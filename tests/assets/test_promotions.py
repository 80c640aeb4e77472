"""Promotions through the line: every fault has its reason, only new days are made, and all of it is public."""

from datetime import date

import dagster as dg
import pytest

from assets.table import asset_key
from data.contracts.promotions import PROMOTIONS, PROMOTIONS_QUARANTINE
from data.contracts.raw import raw_table
from data.ingest import ingest
from data.quarantine import counts
from data.take_back import take_back
from orchestration.definitions import build_defs
from orchestration.launch import days_to_run
from orchestration.sensors import days_of_file, near_arrivals
from tests.support.runs import WHOLE, execute, rows
from tests.support.shops import CATALOGUE, FLYERS, GOOD, YAML, flyer_lines, workspace_of, write_shop

FIRST_WEEK = [f"{item},{shop},2024-01-01,2024-01-07,front,0" for item in "abcd" for shop in range(6)]
SECOND_WEEK = [f"{item},{shop},2024-01-08,2024-01-14,0,A" for item in "abcd" for shop in range(6)]
BAD = {
    "missing_item_id": ",1,2024-01-01,2024-01-07,front,0",
    "unknown_item": "zz,1,2024-01-01,2024-01-07,front,0",
    "unreadable_validity": "a,1,soon,2024-01-07,front,0",
    "ends_before_start": "a,1,2024-01-07,2024-01-01,front,0",
    "unreadable_line": "too,few",
}


def shop_with(folder, *files):
    """The corner shop, with these files of promotions."""
    shop_file = write_shop(folder / "shop", GOOD, YAML + FLYERS)
    for number, lines in enumerate(files):
        flyer_lines(folder / "shop" / "flyers" / f"{number:02d}.csv", lines)
    return workspace_of(shop_file, folder / "var")


MADE = ("raw.flyers", "raw.catalogue", "core.items", "core.items_quarantine", PROMOTIONS.key, PROMOTIONS_QUARANTINE.key)


def run(workspace):
    """Make the promotions and what they are made from."""
    with dg.DagsterInstance.ephemeral() as instance:
        return execute(build_defs(workspace), instance, tags=WHOLE, only=[asset_key(key) for key in MADE])


def made(result, contract=PROMOTIONS):
    """Metadata of the materialization of a table."""
    [found] = [
        one
        for one in result.asset_materializations_for_node("core__promotions")
        if one.asset_key == asset_key(contract.key)
    ]
    return {name: value.value for name, value in found.metadata.items()}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_is_set_aside_with_its_reason_and_the_good_ones_survive(tmp_path, reason):
    many = [f"{item},1,2024-01-{day:02d},2024-02-01,front,0" for item in "abcd" for day in range(1, 11)]
    workspace = shop_with(tmp_path, [*many, BAD[reason]])
    assert run(workspace).success
    assert len(rows(workspace, PROMOTIONS.key)) == 40
    [aside] = rows(workspace, PROMOTIONS_QUARANTINE.key)
    assert (aside["reason"], aside["file"], aside["line"], aside["user_id"]) == (reason, "00.csv", 41, None)
    assert [row["reason"] for row in counts(workspace) if row["source"] == "flyers"] == [reason]


def test_too_many_bad_lines_refuse_the_batch(tmp_path):
    workspace = shop_with(tmp_path, [*FIRST_WEEK, *(f"{item},1,2024-01-07,2024-01-01,front,0" for item in "abcd")])
    result = run(workspace)
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert not result.success and failed == ["quarantine_share"]
    assert workspace.lake.published(PROMOTIONS.key) is None
    waiting = {row["reason"]: row["n"] for row in counts(workspace, waiting=True) if row["source"] == "flyers"}
    assert waiting == {"ends_before_start": 4}


def test_a_new_file_makes_its_own_days_alone_and_an_old_one_nothing(tmp_path):
    workspace = shop_with(tmp_path, FIRST_WEEK)
    assert run(workspace).success
    assert made(run(workspace))["reused"] is True
    before = workspace.lake.day_versions(PROMOTIONS.key)
    assert list(before) == [date(2024, 1, 1)]
    flyer_lines(workspace.landing / "flyers" / "second.csv", SECOND_WEEK)
    for source in ("tills", "members"):
        ingest(workspace, source, lambda line: None)
    [arrival] = near_arrivals(workspace)
    assert days_of_file(workspace, "flyers", arrival.file) == set(), "no day of events waits for it"
    assert days_to_run(workspace, complete=True) == (date(2024, 1, 4), date(2024, 1, 4))
    assert made(run(workspace))["reused"] is False
    after = workspace.lake.day_versions(PROMOTIONS.key)
    assert list(after) == [date(2024, 1, 1), date(2024, 1, 8)]
    assert after[date(2024, 1, 1)] == before[date(2024, 1, 1)], "the files of the first week stay"
    found = rows(workspace, PROMOTIONS.key)
    assert [(r["item_id"], r["display"], r["mailer"], len(r["places"])) for r in found] == [
        (item, *ways, 6) for item in "abcd" for ways in (("front", None), (None, "A"))
    ]


def test_what_two_files_say_counts_once_and_a_file_can_be_taken_back(tmp_path):
    workspace = shop_with(tmp_path, FIRST_WEEK)
    assert run(workspace).success
    alone = rows(workspace, PROMOTIONS.key)
    flyer_lines(workspace.landing / "flyers" / "again.csv", [*FIRST_WEEK[:3], "a,9,2024-01-01,2024-01-07,front,0"])
    assert made(run(workspace))["n_repeated"] == 3
    both = rows(workspace, PROMOTIONS.key)
    assert len(both) == len(alone) and both[0]["places"] == [*"012345", "9"] and both[1:] == alone[1:]
    take_back(workspace, "again.csv", by="test", why="test data")
    assert run(workspace).success
    assert rows(workspace, PROMOTIONS.key) == alone


def test_an_item_that_arrives_later_lets_its_promotions_in(tmp_path):
    workspace = shop_with(tmp_path, [*FIRST_WEEK, *(f"e,{shop},2024-01-01,2024-01-07,0,A" for shop in range(6))])
    many = [f"{item},1,2024-01-{day:02d},2024-02-01,front,0" for item in "abcd" for day in range(1, 11)]
    flyer_lines(workspace.landing / "flyers" / "many.csv", many)
    assert run(workspace).success
    assert "e" not in {row["item_id"] for row in rows(workspace, PROMOTIONS.key)}
    [aside] = rows(workspace, PROMOTIONS_QUARANTINE.key)
    assert (aside["reason"], aside["column_name"], aside["masked_value"]) == ("unknown_item", "item_id", "***")
    catalogue = workspace.landing / "catalogue" / "new.csv"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_text(CATALOGUE.splitlines()[0] + "\ne,Egg,Food,Dairy,Farm,3\n")
    assert run(workspace).success
    assert rows(workspace, PROMOTIONS_QUARANTINE.key) == []
    assert [row["places"] for row in rows(workspace, PROMOTIONS.key) if row["item_id"] == "e"] == [[*"012345"]]


def test_a_changed_meaning_of_codes_reads_the_files_again(tmp_path):
    workspace = shop_with(tmp_path, FIRST_WEEK)
    assert run(workspace).success
    shop_file = workspace.shop.location
    labelled = shop_file.read_text().replace("display: stand", "display: {column: stand, labels: {front: store front}}")
    shop_file.write_text(labelled)
    again = workspace_of(shop_file, tmp_path / "var")
    assert run(again).success
    assert {row["display"] for row in rows(again, PROMOTIONS.key)} == {"store front"}


def test_promotions_are_public_and_read_what_is_public(tmp_path):
    graph = build_defs(shop_with(tmp_path, FIRST_WEEK)).resolve_asset_graph()
    node = graph.get(asset_key(PROMOTIONS.key))
    assert node.tags["portrait/class"] == "public"
    assert {tuple(key.path) for key in node.parent_keys} == {("raw", "flyers"), ("core", "items")}
    assert {graph.get(key).tags["portrait/class"] for key in node.parent_keys} == {"public"}
    assert graph.get(asset_key(PROMOTIONS_QUARANTINE.key)).tags["portrait/class"] == "internal"
    assert raw_table("flyers", "promotions").privacy == "public"


def test_columns_know_where_they_come_from(tmp_path):
    workspace = shop_with(tmp_path, FIRST_WEEK)
    lineage = made(run(workspace))["dagster/column_lineage"].deps_by_column
    assert {(tuple(dep.asset_key.path), dep.column_name) for dep in lineage["places"]} == {
        (("raw", "flyers"), "places")
    }
    assert {dep.column_name for dep in lineage["item_id"]} == {"item_id"}


def test_a_shop_without_promotions_has_no_such_table(tmp_path):
    graph = build_defs(workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")).resolve_asset_graph()
    assert asset_key(PROMOTIONS.key) not in graph.get_all_asset_keys()
