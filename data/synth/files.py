"""How a made-up shop's files look: three shapes that are found in the wild, one file a day, some of them packed."""

import gzip
import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from data.synth.draws import Integers
from data.synth.events import DAY_S, SEARCH
from data.synth.plan import EVENT_TYPES, Plan
from data.synth.world import Items, cookie_ids, customer_ids

WORDS = {
    "headerless_csv": ("pv", "cart", "fav", "buy", "search"),
    "utc_csv": EVENT_TYPES,
    "nested_jsonl": ("view", "add_to_cart", "wishlist", "purchase", "search"),
}
"""What the shop calls its event types."""
_PACKED_EVERY = 3
_ROWS_AT_ONCE = 200_000


def day_files(plan: Plan, items: Items, day: int, rows: NDArray[np.void]) -> Iterator[tuple[str, bytes]]:
    """Write the files of one day.

    Args:
        plan: The shop.
        items: Its catalogue.
        day: Days after the start.
        rows: What arrived on it, in order.

    Yields:
        Path inside the data folder, and bytes; every third day is packed.
    """
    date = str(np.datetime64(plan.start) + day)
    is_packed = day % _PACKED_EVERY == _PACKED_EVERY - 1
    for folder, lines in _lines(plan, items, rows):
        ending = ("jsonl" if plan.shape == "nested_jsonl" else "csv") + (".gz" if is_packed else "")
        yield f"{folder}/{date}.{ending}", gzip.compress(lines, 6, mtime=0) if is_packed else lines


def catalogue_file(plan: Plan, items: Items) -> tuple[str, bytes]:
    """Write the catalogue: codes, names and list prices."""
    if plan.shape == "nested_jsonl":
        parts: list[pa.Array | str] = ['{"id":"', pa.array(items.item_id), '","title":"', pa.array(items.title)]
        parts += ['","category":{"department":"', pa.array(items.department), '","name":"', pa.array(items.category)]
        parts += ['"},"brand":"', pa.array(items.brand), '","price":', _text(items.price), "}\n"]
        return "catalogue.jsonl", _joined(parts)
    table = pa.table(
        {
            "product_id": items.item_id,
            "title": items.title,
            "department": items.department,
            "category": items.category,
            "brand": items.brand,
            "price": items.price,
        }
    )
    return "catalogue.csv", _csv(table)


def table_bytes(table: pa.Table, has_header: bool) -> bytes:
    """Write a small table as CSV."""
    return _csv(table, has_header)


def utc_texts(plan: Plan, second: Integers) -> pa.Array:
    """Write seconds after the start as `2019-10-01 00:00:00 UTC`."""
    instants = pa.array(plan.start_second + second).cast(pa.timestamp("s"))
    return pc.binary_join_element_wise(pc.strftime(instants, "%Y-%m-%d %H:%M:%S"), " UTC", "")


def _lines(plan: Plan, items: Items, rows: NDArray[np.void]) -> Iterator[tuple[str, bytes]]:
    """Yield (folder, text): searches have files of their own where the events' columns cannot hold them."""
    if plan.shape == "nested_jsonl":
        if len(rows):
            parts = (rows[k : k + _ROWS_AT_ONCE] for k in range(0, len(rows), _ROWS_AT_ONCE))
            yield "events", b"".join(_json_lines(plan, items, part) for part in parts)
        return
    is_search = rows["kind"] == SEARCH
    for folder, chosen, table in (
        ("events", ~is_search, _clicks if plan.shape == "headerless_csv" else _market),
        ("searches", is_search, _queries),
    ):
        if chosen.any():
            has_header = folder == "searches" or plan.shape != "headerless_csv"
            yield folder, _csv(table(plan, items, rows[chosen]), has_header)


def _visitor(plan: Plan, rows: NDArray[np.void]) -> NDArray[np.str_]:
    ids = customer_ids(rows["user"]).astype("U20")
    ids[rows["is_cookie"]] = cookie_ids(plan, rows["user"][rows["is_cookie"]])
    return ids


def _session(rows: NDArray[np.void]) -> NDArray[np.str_]:
    return np.array([f"{int(name):016x}" for name in rows["session"]], dtype="U16")


def _words(plan: Plan, rows: NDArray[np.void]) -> NDArray[np.str_]:
    return np.asarray(np.array(WORDS[plan.shape])[rows["kind"]])


def _query(items: Items, rows: NDArray[np.void]) -> NDArray[np.str_]:
    """Write a search in words of one item's title: its noun, or that after its look or its stuff."""
    titles = [title.lower().split(" ") for title in items.title[rows["item"]]]
    picks = [((2,), (0, 2), (1, 2))[number] for number in rows["words"]]
    return np.array([" ".join(title[k] for k in pick) for title, pick in zip(titles, picks, strict=True)], dtype="U40")


def _clicks(plan: Plan, items: Items, rows: NDArray[np.void]) -> pa.Table:
    return pa.table(
        {
            "visitor": _visitor(plan, rows),
            "item": items.item_id[rows["item"]],
            "category": 2_000 + items.category_code[rows["item"]],
            "behaviour": _words(plan, rows),
            "at": plan.start_second + rows["second"],
        }
    )


def _market(plan: Plan, items: Items, rows: NDArray[np.void]) -> pa.Table:
    item = rows["item"]
    code = np.char.lower(np.char.add(np.char.add(items.department, "."), items.category))
    return pa.table(
        {
            "event_time": utc_texts(plan, rows["second"]),
            "event_type": _words(plan, rows),
            "product_id": items.item_id[item],
            "category_id": 2_053_013_555_631_882_655 + items.category_code[item],
            "category_code": code[item],
            "brand": np.char.lower(items.brand[item]),
            "price": items.price[item],
            "user_id": _visitor(plan, rows),
            "user_session": _session(rows),
        }
    )


def _queries(plan: Plan, items: Items, rows: NDArray[np.void]) -> pa.Table:
    columns: dict[str, pa.Array | NDArray[np.generic]] = {"user_id": _visitor(plan, rows), "query": _query(items, rows)}
    if plan.shape == "headerless_csv":
        return pa.table({**columns, "timestamp": plan.start_second + rows["second"]})
    return pa.table({"event_time": utc_texts(plan, rows["second"]), **columns, "user_session": _session(rows)})


def _json_lines(plan: Plan, items: Items, rows: NDArray[np.void]) -> bytes:
    is_search = rows["kind"] == SEARCH
    texts = np.full(len(rows), "", dtype="U40")
    texts[is_search] = _query(items, rows[is_search])
    inner = [
        _as_text('","item":{"id":"', items.item_id[rows["item"]], '","price":', _text(items.price[rows["item"]]), "}"),
        _as_text('","query":"', texts, '"'),
    ]
    milliseconds = _text((plan.start_second + rows["second"]) * 1000)
    parts: list[pa.Array | str] = ['{"ts":', milliseconds, ',"user":{"id":"']
    parts += [pa.array(_visitor(plan, rows)), '"},"session":{"id":"', pa.array(_session(rows)), '"},"event":"']
    parts += [pa.array(_words(plan, rows)), pc.if_else(pa.array(is_search), inner[1], inner[0]), "}\n"]
    return _joined(parts)


def _as_text(*parts: pa.Array | NDArray[np.generic] | str) -> pa.Array:
    arrays = [part if isinstance(part, str | pa.Array) else pa.array(part) for part in parts]
    return pc.binary_join_element_wise(*arrays, "")


def _joined(parts: list[pa.Array | str]) -> bytes:
    return "".join(_as_text(*parts).to_pylist()).encode()


def _text(numbers: NDArray[np.generic]) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _csv(table: pa.Table, has_header: bool = True) -> bytes:
    target = io.BytesIO()
    options = pa_csv.WriteOptions(include_header=has_header, quoting_style="none", quoting_header="none")
    pa_csv.write_csv(table, target, options)
    return target.getvalue()


def day_of(rows: NDArray[np.void]) -> Integers:
    """Return the day of each event, days after the start."""
    return np.asarray(rows["second"] // DAY_S)
