"""Lake tables as the arrays that `ml.ranking` reads. Imports of `ml` are inside functions: they cost seconds."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.contracts.core import ITEMS
from data.contracts.model import GRAM, ITEM_TEXTS, POPULARITY, RANKER, TEXT_EMBEDDINGS
from data.contracts.promotions import PROMOTIONS
from data.engine import Session
from data.history import History, Phase
from data.macros import render
from data.promotions import promoted_sql
from data.workspace import Workspace

if TYPE_CHECKING:
    from ml.ranking.inputs import Catalogue, ReleasedGram, ReleasedPopularity, UserItemState
    from ml.ranking.ranker import RankerWeights

_CODES = """
with keyed as (
    select
        item_id,
        {% for n in (1, 2, 3) %}
        case
            when nullif(split_part(category_path, ' > ', {{ n }}), '') is not null
                then array_to_string(list_slice(string_split(category_path, ' > '), 1, {{ n }}), ' > ')
        end as category_{{ n }},
        {% endfor %}
        nullif(brand, '') as brand
    from core.items
)
select
    {% for facet in ('category_1', 'category_2', 'category_3', 'brand') %}
    case
        when {{ facet }} is null then -1
        else dense_rank() over (order by {{ facet }} nulls last) - 1
    end as {{ facet }},
    {% endfor %}
    item_id
from keyed
order by item_id
"""


def user_item_state(history: History, phase: Phase) -> "UserItemState":
    """Every user's own items as of a phase's instant."""
    return as_state(history.state(phase))


def as_state(
    found: dict[str, npt.NDArray[np.float64]], precision: type[np.floating[Any]] = np.float32
) -> "UserItemState":
    """Arrays of `History.state` in the types that the ranker wants, or in a finer one."""
    from ml.ranking.inputs import UserItemState

    typed: dict[str, Any] = {
        name: column.astype(np.int32 if name.endswith("_index") else precision) for name, column in found.items()
    }
    return UserItemState(**typed)


def catalogue(workspace: Workspace, session: Session) -> "Catalogue":
    """The whole public catalogue in the order of item_id."""
    from ml.ranking.inputs import CATEGORY_FACETS, Catalogue

    for table in (ITEMS, ITEM_TEXTS, TEXT_EMBEDDINGS):
        session.attach(table, workspace.lake)
    codes = session.query(render(_CODES))
    session.materialise(
        "vectors", f"select *, row_number() over (order by text_hash) - 1 as r from {TEXT_EMBEDDINGS.key}"
    )
    vectors = session.query("select vector from vectors order by r").column("vector").combine_chunks()
    rows = session.query(
        f"select coalesce(v.r, -1) as r from {ITEMS.key} i left join {ITEM_TEXTS.key} t on t.item_id = i.item_id "
        "left join vectors v on v.text_hash = t.text_hash order by i.item_id"
    )
    size = len(vectors[0]) if len(vectors) else 1
    return Catalogue(
        codes=np.stack([codes.column(f).to_numpy().astype(np.int32) for f in CATEGORY_FACETS]),
        text_embeddings=vectors.values.to_numpy().reshape(-1, size) if len(vectors) else np.zeros((1, 1), np.float32),
        text_index=rows.column("r").to_numpy().astype(np.int32),
    )


def released(workspace: Workspace, session: Session, *, is_before: bool = False) -> "ReleasedPopularity":
    """The released popularity of every item of the catalogue; an item newer than the release counts 0.

    Args:
        workspace: the shop.
        session: a session.
        is_before: take the window before the latest one, which features for fitting are made with.
    """
    from ml.ranking.inputs import ReleasedPopularity

    for table in (ITEMS, POPULARITY):
        session.attach(table, workspace.lake)
    column = "popularity_before" if is_before else "popularity"
    found = session.query(
        f"select coalesce(p.{column}, 0e0) as p, coalesce(p.noise_std, 0e0) as s from {ITEMS.key} i "
        f"left join {POPULARITY.key} p on p.item_id = i.item_id order by i.item_id"
    )
    return ReleasedPopularity(
        counts=found.column("p").to_numpy(), noise_std=float(found.column("s").to_numpy().max(initial=0.0))
    )


def gram(workspace: Workspace, session: Session) -> "ReleasedGram":
    """The released Gram matrix; its items keep their places, those that have left the catalogue are dropped."""
    from ml.ranking.inputs import ReleasedGram

    for table in (ITEMS, GRAM):
        session.attach(table, workspace.lake)
    found = session.query(
        f"select g.place, g.direction, g.products, g.noise_std, i.i from {GRAM.key} g join (select item_id, "
        f"row_number() over (order by item_id) - 1 as i from {ITEMS.key}) i on i.item_id = g.item_id order by g.place"
    )
    if found.num_rows == 0:
        return ReleasedGram.none()
    place = found.column("place").to_numpy()
    products = found.column("products").combine_chunks()
    values = products.flatten().to_numpy().astype(np.float64).reshape(len(place), -1)[:, place]
    return ReleasedGram(
        item_index=found.column("i").to_numpy().astype(np.int32),
        direction=found.column("direction").to_numpy(),
        values=values,
        noise_std=float(found.column("noise_std").to_numpy()[0]),
    )


def promotions(workspace: Workspace, session: Session, instant: datetime) -> npt.NDArray[np.float32]:
    """What is promoted at an instant, of every item of the catalogue; nothing that begins later is read.

    Args:
        workspace: the shop.
        session: a session.
        instant: naive UTC.

    Returns:
        (n_items, 2) in the order of item_id, in [0, 1]: the shares of places that display the item, and in whose mailer
        it stands. All zeros for a shop without promotions.
    """
    days = [day for day in workspace.lake.day_versions(PROMOTIONS.key) if day <= instant.date()]
    session.attach(ITEMS, workspace.lake)
    session.attach(PROMOTIONS, workspace.lake, days=days)
    found = session.query(
        f"select coalesce(p.displayed, 0e0) as displayed, coalesce(p.mailed, 0e0) as mailed from {ITEMS.key} i "
        f"left join ({promoted_sql(instant)}) p on p.item_id = i.item_id order by i.item_id"
    )
    return np.stack([found.column(name).to_numpy() for name in ("displayed", "mailed")], axis=1).astype(np.float32)


def weights(workspace: Workspace, session: Session) -> "RankerWeights":
    """The released weights of the ranker; a feature that came after the release has weight 0."""
    from ml.ranking.features import FEATURES
    from ml.ranking.ranker import TASKS, RankerWeights

    session.attach(RANKER, workspace.lake)
    found = session.query(f"select task, feature, weight from {RANKER.key}").to_pylist()
    by_name = {(row["task"], row["feature"]): row["weight"] for row in found}
    return RankerWeights.from_array(np.array([[by_name.get((task, f), 0.0) for f in FEATURES] for task in TASKS]))


def weights_table(array: npt.NDArray[np.float64]) -> pa.Table:
    """(2, n_features) weights as rows of task, feature, weight."""
    from ml.ranking.features import FEATURES
    from ml.ranking.ranker import TASKS

    cells = [(task, feature, float(array[t, f])) for t, task in enumerate(TASKS) for f, feature in enumerate(FEATURES)]
    return pa.table(dict(zip(("task", "feature", "weight"), map(list, zip(*cells, strict=True)), strict=True)))
