"""The page about quality: what is red, amber and green, broke and bad apart, and nothing loaded from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from data.quality_page import LABELS, gate_link, render, sparkline


def check(name, outcome="passed", severity="critical", trend=(), **observed):
    value = observed.get("observed_value")
    return {
        "check": name, "outcome": outcome, "severity": severity, "observed": observed, "value": value,
        "trend": list(trend),
    }  # fmt: skip


def table(key, status, *checks, refused=False):
    at, run = ("2024-01-03T03:04:00+00:00", "abcdef0123") if refused else (None, None)
    return {
        "table": key, "doc": "What it is.", "status": status, "rows": None if status == "not made" else 5,
        "rows_trend": [3, 5], "version": 1, "published_at_utc": "2024-01-02T03:04:00+00:00",
        "refused_at_utc": at, "refused_in": run,
        "checks": list(checks),
    }  # fmt: skip


def facts(*tables, quarantine=(), withdrawn=()):
    return {
        "shop": "<corner>", "run_id": "0123456789", "written_at_utc": "2024-01-04T05:06:07.000+00:00",
        "tables": list(tables), "quarantine": list(quarantine), "withdrawn": list(withdrawn),
    }  # fmt: skip


ASIDE = {
    "table": "core.events_quarantine", "reason": "unknown_item", "source": "tills", "n": 3, "share": 0.03,
    "first_day": "2024-01-02", "last_day": "2024-01-03", "is_fault": True, "meaning": "M.", "remedy": "do R",
    "trend": [1, 3],
}  # fmt: skip
TAKEN = {
    "source": "tills", "file": "a.csv", "sha256": "f" * 64, "action": "taken back", "n_rows": 7, "by": "me",
    "at_utc": "2024-01-04T05:06:07+00:00", "why": "<b>test</b>", "replaced_by": None,
}  # fmt: skip


class Words(HTMLParser):
    """Text and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.text, self.loads, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [v for k, v in found.items() if k in ("src", "srcset", "data") or (k == "href" and tag != "a")]
        self.loads += [tag] if tag in ("script", "link", "iframe", "object", "embed", "img") else []

    def handle_data(self, data):
        self.text.append(data)


def words(page):
    reader = Words()
    reader.feed(page)
    return " ".join(" ".join(reader.text).split()), reader


STANDS = {
    "bad data": ("1 table has a refused batch", "bad data"),
    "check broke": ("1 table has a refused batch", "check broke"),
    "warned": ("Published, with warnings", "warning"),
    "passed": ("All gates passed", "passed"),
    "not made": ("Nothing is published yet", None),
}


@pytest.mark.parametrize("status", LABELS)
def test_how_a_table_stands_is_said_in_words_and_the_worst_at_the_top(status):
    outcome = {"bad data": "failed", "check broke": "broke", "warned": "failed"}.get(status, "passed")
    severity = "warning" if status == "warned" else "critical"
    refused = status in ("bad data", "check broke")
    checks = [] if status == "not made" else [check("quarantine_share", outcome, severity, observed_value=0.25)]
    text, _ = words(render(facts(table("core.events", status, *checks, refused=refused))))
    top, said = STANDS[status]
    assert top in text and LABELS[status] in text and (said is None or said in text)
    row = text.split("All tables")[1].split("Every check")[0]
    assert {label for label in LABELS.values() if re.search(rf"{label}(?! with)", row)} == {LABELS[status]}


def test_bad_data_and_a_check_that_broke_are_told_apart_and_lead_to_different_deeds():
    bad = table("core.events", "bad data", check("quarantine_share", "failed", observed_value=0.25), refused=True)
    broke = table("core.items", "check broke", check("price_between", "broke"), refused=True)
    text, _ = words(render(facts(bad, broke)))
    assert "2 tables have a refused batch" in text and "1 on bad data, 1 broke themselves" in text
    assert "25.00 %" in text and "portrait quarantine list --waiting" in text
    assert "says nothing about the data" in text and "fault of Portrait" in text


def test_the_page_loads_nothing_and_what_people_typed_is_text():
    page = render(facts(table("core.events", "passed", check("row_count")), quarantine=[ASIDE], withdrawn=[TAKEN]))
    text, reader = words(page)
    assert reader.loads == [] and "url(" not in page and "@import" not in page
    assert {link.split("#")[0].rsplit("/", 1)[1] for link in reader.links} == {"gates.md"}
    assert "<b>test</b>" in text and "“<corner>”" in text
    assert "unknown_item" in text and "do R." in text and "3.00 %" in text and "a.csv" in text


@pytest.mark.parametrize(
    ("name", "anchor"),
    [
        ("schema", "schema"),
        ("user_id_not_null", "not_null"),
        ("event_type_in_set", "in_set"),
        ("item_id_references_core_items", "references"),
        ("quarantine_share", "quarantine_share"),
    ],
)
def test_a_check_links_to_the_explanation_of_its_kind(name, anchor):
    assert gate_link(name).endswith(f"docs/gates.md#{anchor}")


def test_a_trend_is_drawn_with_its_figures_as_words():
    drawn = sparkline([1, None, 5, 3])
    assert drawn.count("<svg") == 1 and "3 values, first 1, last 3, lowest 1, highest 5" in drawn
    xs, ys = zip(*(map(float, p.split(",")) for p in re.search(r'points="([^"]+)"', drawn)[1].split()), strict=True)
    assert list(xs) == sorted(xs) and ys[1] < ys[2] < ys[0]  # up is more
    assert (
        "unchanged, 3 times" in sparkline([2, 2, 2]) and "first value" in sparkline([None, 2]) and sparkline([]) == ""
    )
