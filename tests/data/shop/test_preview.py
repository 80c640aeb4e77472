"""Checking a shop.yaml without running it: every problem is told, none stops the others."""

from collections.abc import Callable
from pathlib import Path

from data.shop.config import Shop
from data.shop.preview import preview

SOURCE = """\
    kind: events
    path: PATH
    event_type: {column: what, values: {pv: view}}
    time: at
    columns: {user_id: user, item_id: item, quantity: qty, value: paid}
"""
MakeShop = Callable[..., Shop]
HEADER = "user,item,what,at,qty,paid\n"


def test_a_clean_shop_shows_rows_and_no_problem(tmp_path: Path, make_shop: MakeShop) -> None:
    rows = "".join(f"u{n},i{n},pv,2020-03-01,1,2\n" for n in range(50))
    (tmp_path / "sales.csv").write_text(HEADER + rows)
    shown, again = preview(make_shop(source=SOURCE)), preview(make_shop(source=SOURCE))
    assert shown.problems == () and shown.files == {"sales": 1}
    assert shown.rows["sales"].num_rows == 20
    # The key lives for one preview: its pseudonyms lead nowhere.
    assert shown.rows["sales"]["user_id"] != again.rows["sales"]["user_id"]


def test_every_problem_is_told_with_its_first_line(tmp_path: Path, make_shop: MakeShop) -> None:
    (tmp_path / "sales.csv").write_text(
        HEADER + "a,i,pv,2020-03-01,1,2\na,i,wave,2019-12-31,1,2\na,i,pv,yesterday,1,2\na,i\na,i,pv,2020-03-01,x,1€\n"
    )
    problems = preview(make_shop(source=SOURCE)).problems
    said = "\n".join(problems)
    assert "1 of the first 5 rows cannot be read (first in line 4)" in said
    assert "have no readable time (first in line 3); correct time.format, now iso" in said
    assert "lie outside the calendar (first in line 2)" in said
    assert "have a quantity that is no number (first in line 5)" in said
    assert "have a value that is no number (first in line 5)" in said
    assert "event types 'wave' are unknown" in said
    assert len(problems) == 6 and all(p.startswith("sales: ") and p.endswith(".") for p in problems)


def test_one_bad_file_among_many_is_found(tmp_path: Path, make_shop: MakeShop) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}.csv").write_text(HEADER + "a,i,pv,2020-03-01,1,2\n")
    (tmp_path / "17.csv").write_text("other,columns\n1,2\n")
    shown = preview(make_shop('"*.csv"', SOURCE))
    assert len(shown.problems) == 1 and "17.csv: has no column 'user'" in shown.problems[0]
    assert shown.rows["sales"].num_rows == 1


def test_missing_files_and_anonymous_sources(tmp_path: Path, make_shop: MakeShop) -> None:
    assert "no such file" in preview(make_shop(source=SOURCE)).problems[0]
    (tmp_path / "sales.csv").write_text(HEADER + ",i,pv,2020-03-01,1,2\nnan,i,pv,2020-03-01,1,2\n")
    assert "2 of the first 2 rows name no user at all" in preview(make_shop(source=SOURCE)).problems[0]
    (tmp_path / "sales.csv").write_text(HEADER)
    assert preview(make_shop(source=SOURCE)).problems == (
        "sales: its first file has no rows; deliver rows or remove it.",
    )


EDGES = """\
    kind: identities
    path: sales.csv
    columns: {user_id: user, other_id: item, is_authenticated: what}
  web:
    kind: events
    path: web.csv
    event_type: view
    time: at
    columns: {user_id: user, item_id: item}
"""


def test_edges_that_join_nobody_are_told(tmp_path: Path, make_shop: MakeShop) -> None:
    (tmp_path / "web.csv").write_text(HEADER + "u,i,pv,2020-03-01,1,2\n")
    (tmp_path / "sales.csv").write_text(HEADER + "u,c,yes,,,\nu,,yes,,,\n,,no,,,\n")
    [problem] = preview(make_shop(source=EDGES)).problems
    assert problem.startswith("sales: 1 of the first 3 rows name one identifier only (first in line 2)")
    (tmp_path / "sales.csv").write_text(HEADER + "u,c,no,,,\nu,,,,,\n")
    [problem] = preview(make_shop(source=EDGES)).problems
    assert problem.startswith("sales: 2 of the first 2 rows authenticate nobody")
