"""The page of the evaluation report: facts in, one HTML document out, with its plots drawn inside.

No I/O but the template, which stands in `templates/evaluation.html.j2`.
"""

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from data.contracts.model import PUBLIC_PRIOR
from data.contracts.out import TASKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Facts = dict[str, Any]
"""JSON-able values by name."""

TWIN = "without_noise"
"""The model that exists on public benchmarks alone."""

MODELS: Mapping[str, str] = {
    "portrait": "Portrait",
    TWIN: "Portrait without noise",
    "popularity": "Popularity",
    "personal_frequency": "Personal frequency",
}
"""What people call the models; a model that is not named here goes by its own name, after these."""

METRICS: Mapping[str, str] = {"ndcg": "NDCG", "recall": "Recall", "mrr": "MRR", "coverage": "Coverage"}
"""What people call the metrics, all at 20."""

_INK, _PORTRAIT, _OTHER = "#010203", "#010204", "#010205"
_COLOURS = {_INK: "currentColor", _PORTRAIT: "var(--portrait)", _OTHER: "var(--other)"}
"""Plots are drawn in stand-in colours that the page's own replace, so that light and dark need one drawing."""


def render(facts: Facts) -> str:
    """The page: one HTML document that refers to nothing outside itself.

    Args:
        facts: of `report_facts`.

    Returns:
        HTML, the same for the same facts and versions of jinja2 and matplotlib.
    """
    environment = Environment(
        loader=PackageLoader("data", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"up": _rounded_up, "last": _last_day}
    tasks = [_task(facts, task) for task in TASKS if any(r["task"] == task for r in facts["scores"])]
    page = environment.get_template("evaluation.html.j2")
    return page.render(facts, tasks=tasks, models=MODELS, metrics=METRICS, twin=TWIN, public_prior=PUBLIC_PRIOR) + "\n"


def _rounded_up(value: float) -> str:
    """A cost with three decimals, never less than it is."""
    return f"{math.ceil(round(value * 1000, 6)) / 1000:.3f}"


def _last_day(stop: str) -> str:
    """The last day of a period that is given by the day after it."""
    return (date.fromisoformat(stop) - timedelta(days=1)).isoformat()


def _task(facts: Facts, task: str) -> Facts:
    """One task as the page shows it: scores by model, the best baseline, plots."""
    rows = [r for r in facts["scores"] if r["task"] == task]
    by_model: dict[str, dict[str, float]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["metric"]] = row["score"]
    ndcg = {name: scores["ndcg"] for name, scores in by_model.items() if "ndcg" in scores}
    baselines = {name: score for name, score in ndcg.items() if name not in ("portrait", TWIN)}
    trend = [r for r in facts["trend"] if r["task"] == task]
    versions = sorted({r["version"] for r in trend})
    return {
        "task": task,
        "users": sorted({r["n_users"] for r in rows}),
        "scores": by_model,
        "best": max(baselines, key=lambda name: baselines[name], default=None),
        "bars": _bars(task, ndcg),
        "trend": _lines(task, trend, versions) if len(versions) > 1 else "",
        "trend_rows": trend,
    }


def _bars(task: str, ndcg: Mapping[str, float]) -> str:
    """Horizontal bars of NDCG@20, Portrait's apart from the others by colour and weight."""
    names = list(ndcg)
    said = ", ".join(f"{MODELS.get(n, n)} {ndcg[n]:.4f}" for n in names)
    with _drawing(f"bars-{task}", f"NDCG at 20: {said}", 0.1 + 0.31 * len(names)) as (axes, svg):
        colours = [_PORTRAIT if n == "portrait" else _OTHER for n in names]
        axes.barh(range(len(names)), [ndcg[n] for n in names], height=0.62, color=colours)
        axes.set_yticks(range(len(names)), [MODELS.get(n, n) for n in names])
        axes.invert_yaxis()
        widest = 1.2 * max(ndcg.values(), default=0) or 1
        axes.set_xlim(0, widest)
        axes.set_xticks([])
        for place, name in enumerate(names):
            weight = "bold" if name == "portrait" else "normal"
            axes.text(ndcg[name] + 0.01 * widest, place, f"{ndcg[name]:.4f}", va="center", weight=weight)
            axes.get_yticklabels()[place].set_fontweight(weight)
    return "".join(svg)


def _lines(task: str, trend: Sequence[Facts], versions: Sequence[int]) -> str:
    """NDCG@20 over the versions of the table; models differ by marker and dash, not by colour alone."""
    said = f"NDCG at 20 over versions {versions[0]} to {versions[-1]} of the table; the figures stand below"
    with _drawing(f"trend-{task}", said, 2.5) as (axes, svg):
        styles = ("o-", "s--", "^:", "D-.")
        for number, name in enumerate(dict.fromkeys(r["model"] for r in trend)):
            points = {versions.index(r["version"]): r["ndcg"] for r in trend if r["model"] == name}
            is_portrait = name == "portrait"
            colour, width = (_PORTRAIT, 2.2) if is_portrait else (_OTHER, 1.4)
            found = axes.plot(list(points), list(points.values()), styles[number % len(styles)], color=colour)
            found[0].set(linewidth=width, label=MODELS.get(name, name), zorder=2 + is_portrait)
        shown = range(0, len(versions), math.ceil(len(versions) / 9))
        axes.set_xticks(shown, [str(versions[place]) for place in shown])
        axes.locator_params(axis="y", nbins=4)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("version of out.evaluation")
        axes.figure.legend(loc="outside lower center", ncol=2, frameon=False)
    return "".join(svg)


@contextmanager
def _drawing(name: str, said: str, height: float) -> Iterator[tuple["Axes", list[str]]]:
    """Axes to draw on; afterwards the list holds the SVG, in the page's colours and with ids of its own.

    Takes matplotlib's objects directly: no pyplot, no backend is chosen for the process, settings end with the block.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink = {key: _INK for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")}
    with style.context(["default", {**ink, "font.size": 9.0, "svg.hashsalt": name, "svg.fonttype": "none"}]):
        figure = Figure(figsize=(4.0, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        svg: list[str] = []
        yield axes, svg
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    text = drawn.getvalue()
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text[text.index("<svg") :])
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(_COLOURS), lambda found: _COLOURS[found.group()], text)
    svg.append(text.replace("<svg", f'<svg role="img" aria-label="{html.escape(said)}"', 1))
