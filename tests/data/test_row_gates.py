"""What becomes of an event row depends on that row, its user's rows and public constants: on nobody else's."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data import core
from data.contracts.core import CORRECTIONS, EVENTS, EVENTS_QUARANTINE, ITEMS
from data.ingest import ingest
from tests.support.shops import YAML, workspace_of, write_shop

PERSONS = ("ann", "bob", "cyd", "")
"""Three customers and nobody, who all number their events alike."""
ROWS = {
    "": ("1,{who},a,buy,2,1.0,2024-01-02 10:00:00,x1", ",{who},b,buy,1,2.5,2024-01-02 10:00:00,x1"),
    "cancelled": ("3,{who},c,buy,1,7.0,2024-01-03 12:40:00,x2", "4,{who},c,back,1,7.0,2024-01-05 12:40:00,x2"),
    "duplicate": ("5,{who},a,buy,1,0.5,2024-01-04 09:00:00,x3",) * 2,
    "conflicting_event_id": ("6,{who},a,buy,1,0.5,2024-01-04 09:00:00,x", "6,{who},b,buy,3,7.5,2024-01-04 09:00:00,x"),
    "unknown_event_type": ("90,{who},a,steal,1,1.0,2024-01-05 10:00:00,y",),
    "unparsable_time": ("91,{who},a,buy,1,1.0,yesterday,y",),
    "missing_time": ("92,{who},a,buy,1,1.0,,y",),
    "time_in_future": ("93,{who},a,buy,1,1.0,2031-01-05 10:00:00,y",),
    "time_before_calendar": ("94,{who},a,buy,1,1.0,1999-01-05 10:00:00,y",),
    "missing_item": ("95,{who},,buy,1,1.0,2024-01-05 10:00:00,y",),
    "unknown_item": ("96,{who},zz,buy,1,1.0,2024-01-05 10:00:00,y",),
    "unparsable_quantity": ("97,{who},a,buy,two,1.0,2024-01-05 10:00:00,y",),
    "negative_quantity": ("98,{who},a,buy,-1,1.0,2024-01-05 10:00:00,y",),
    "quantity_out_of_range": ("99,{who},a,buy,1e9,1.0,2024-01-05 10:00:00,y",),
    "unparsable_value": ("100,{who},a,buy,1,1d,2024-01-05 10:00:00,y",),
    "negative_value": ("101,{who},a,buy,1,-1.0,2024-01-05 10:00:00,y",),
    "unreadable_line": ("too,few",),
}
"""Reason -> rows of one person, one of which has it; empty: none has one."""
BY_COMPANY = {"cancelled", "duplicate", "conflicting_event_id"}
"""Reasons that rest on another row of the same user."""
LINES = [(who, row.format(who=who)) for who in PERSONS for rows in ROWS.values() for row in rows]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """What the real models make of some lines of the shop, which are counted from 0."""
    folder = tmp_path_factory.mktemp("rows")
    yaml = YAML.replace("look: view}", "look: view, back: return}")
    workspace = workspace_of(write_shop(folder / "shop", [row for _, row in LINES], yaml), folder / "var")
    for source in workspace.shop.sources:
        ingest(workspace, source, lambda line: None)
    raw = workspace.raw("tills")
    with workspace.engine.session() as session:
        session.attach(raw, workspace.lake)
        landed = session.query(f"select * from {raw.key} order by line")
        session.attach(workspace.raw("catalogue"), workspace.lake)
        items = core.make_rows(workspace, session, "items")[ITEMS.key].data
        session.register(ITEMS.key, items)
        days = landed.column("day").unique()
        session.register("input_versions", pa.table({"day": days, "input_version": ["v"] * len(days)}))

        def judged(kept: Iterable[int]) -> tuple[dict[int, str], Counter[str]]:
            """Line -> the row that was set aside, and the rows that entered."""
            wanted = pa.array([1 + number for number in kept], landed.schema.field("line").type)
            session.register(raw.key, landed.filter(pc.is_in(landed.column("line"), wanted)))
            session.register(CORRECTIONS.key, core.make_corrections(workspace, session).data)
            made = core.make_events(workspace, session)
            aside = made[EVENTS_QUARANTINE.key].data.to_pylist()
            return {row["line"] - 1: str(row) for row in aside}, Counter(map(str, made[EVENTS.key].data.to_pylist()))

        assert landed.num_rows == len(LINES)
        yield judged


def test_every_reason_is_there_and_enough_rows_enter(judge):
    aside, events = judge(range(len(LINES)))
    reasons = Counter(reason for reason in ROWS if reason for row in aside.values() if f"'reason': '{reason}'" in row)
    nobodys = {"cancelled"}  # a return of nobody cancels nothing
    assert reasons == {reason: len(PERSONS) - (reason in nobodys) for reason in ROWS if reason}
    assert events.total() == len(LINES) - len(aside)


@pytest.mark.parametrize("who", PERSONS)
def test_a_person_s_rows_fare_alone_as_in_company_and_others_fare_without_them_as_with(judge, who):
    everybody = judge(range(len(LINES)))
    own = [number for number, (owner, _) in enumerate(LINES) if owner == who]
    rest = [number for number, (owner, _) in enumerate(LINES) if owner != who]
    alone, without = judge(own), judge(rest)
    assert alone[0] | without[0] == everybody[0] and not alone[0].keys() & without[0].keys()
    assert alone[1] + without[1] == everybody[1] and alone[1]


def test_a_row_fares_alone_as_in_company_unless_its_reason_is_another_row_of_its_user(judge):
    aside, events = judge(range(len(LINES)))
    for number, (who, row) in enumerate(LINES):
        if who not in ("bob", ""):  # a customer with others before and after, and nobody
            continue
        alone, entered = judge([number])
        reason = next((r for r in BY_COMPANY if f"'reason': '{r}'" in aside.get(number, "")), None)
        if reason is None:
            assert alone.get(number) == aside.get(number), row
        else:
            assert not alone, row
        if reason is None and "return" not in str(entered):  # a purchase says what of it was returned, and the reverse
            assert entered <= events, row
