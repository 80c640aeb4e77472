"""The page about quality: facts in, one HTML document out, trends drawn inside. No I/O but the template."""

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data.settings import REPOSITORY

Facts = dict[str, Any]
"""JSON-able values by name."""

GATES = (REPOSITORY / "docs" / "gates.md").as_uri()
"""The page that explains every kind of check."""

LABELS: Mapping[str, str] = {
    "bad data": "Refused: bad data",
    "check broke": "Refused: a check broke",
    "warned": "Passed with warnings",
    "passed": "Passed",
    "not made": "Not made yet",
}
"""How a table stands, worst first."""

COLOURS: Mapping[str, str] = {
    "bad data": "red",
    "check broke": "red",
    "warned": "amber",
    "passed": "green",
    "not made": "grey",
}

RULES = ("not_null", "between", "in_set", "matches")
"""Endings of checks of columns; docs/gates.md explains them once for all columns."""

WIDTH, HEIGHT = 96, 22


def render(facts: Facts) -> str:
    """The page: one HTML document that loads nothing from elsewhere.

    Args:
        facts: of `quality_facts`.

    Returns:
        HTML.
    """
    environment = Environment(
        loader=PackageLoader("data", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "spark": sparkline,
        "said": _said,
        "when": _when,
        "gate": gate_link,
        "percent": _percent,
        "coded": _coded,
    }
    troubled = [t for t in facts["tables"] if t["status"] in ("bad data", "check broke", "warned")]
    worst = next((s for s in LABELS if any(t["status"] == s for t in facts["tables"])), "not made")
    checks = [c for t in facts["tables"] for c in t["checks"]]
    page = environment.get_template("quality.html.j2")
    shown = {"troubled": troubled, "worst": worst, "checks": checks, "labels": LABELS, "colours": COLOURS}
    return page.render(facts, **shown) + "\n"


def gate_link(check: str) -> str:
    """Where a check is explained: the rule of a column under its rule, a reference under `references`."""
    rule = next((rule for rule in RULES if check.endswith(f"_{rule}")), None)
    return f"{GATES}#{rule or ('references' if '_references_' in check else check)}"


def sparkline(values: Sequence[float | None]) -> Markup:
    """A small line of a series, oldest to newest, the newest marked; in words where there is no line to draw.

    Args:
        values: the series; None where a run has no value, which the line leaves out.

    Returns:
        An SVG with its figures as its label, or a word.
    """
    points = [(place, float(v)) for place, v in enumerate(values) if v is not None]
    if len(points) < 2:
        return Markup('<span class="soft">first value</span>' if points else "")
    numbers = [v for _, v in points]
    low, high = min(numbers), max(numbers)
    if low == high:
        return Markup(f'<span class="soft">unchanged, {len(points)} times</span>')
    step = (WIDTH - 6) / (len(values) - 1)
    drawn = [(3 + place * step, HEIGHT - 4 - (v - low) / (high - low) * (HEIGHT - 8)) for place, v in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    label = f"{len(points)} values, first {_number(numbers[0])}, last {_number(numbers[-1])}, "
    label += f"lowest {_number(low)}, highest {_number(high)}"
    x, y = drawn[-1]
    return Markup(
        f'<svg class="spark" role="img" aria-label="{html.escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{html.escape(label)}</title>"
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/></svg>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share >= 0.0001 or share == 0 else "under 0.01 %"


def _coded(text: str) -> Markup:
    """A sentence with what stands in backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text)))


def _said(check: Facts) -> str:
    """What a check saw, in words: a share in percent, rows at fault of all rows, or its figures."""
    seen = check["observed"]
    if check["check"].endswith("_share") and "observed_value" in seen:
        return _percent(seen["observed_value"])
    if "unexpected_count" in seen and "element_count" in seen:
        return f"{_number(seen['unexpected_count'])} of {_number(seen['element_count'])} rows at fault"
    if (
        set(seen) <= {"observed_value", "element_count", "missing_count", "unexpected_count"}
        and "observed_value" in seen
    ):
        return _number(seen["observed_value"])
    return ", ".join(f"{name} {_number(value)}" for name, value in seen.items())


def _when(instant: str | None) -> str:
    """An instant to the minute, in UTC."""
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M}" if instant else "–"
