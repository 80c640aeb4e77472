"""Online learning on the lake: what each user's own days say against the release that serves, class `per_user`.

The state of a day stands on the state of the day before, so the table says with it up to which day it has learnt, and
from what. While all of that is as it was, a run goes on from there; a new release, a new catalogue, or a change in a
day that was learnt from (a late event, an erasure) makes it start over, some days before the end of the release's
window.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets import arrays
from assets.automation import on_new_data
from assets.table import table_asset
from data.build import Made, Outcome, Slice, content_of, refresh
from data.contracts.core import ITEMS
from data.contracts.features import DAILY
from data.contracts.model import ITEM_TEXTS, POPULARITY, RANKER, TEXT_EMBEDDINGS
from data.contracts.profile import ONLINE
from data.engine import Session
from data.features import as_of, days_between
from data.fingerprint import digest
from data.history import History, periods
from data.shop.config import Shop
from data.workspace import Workspace

if TYPE_CHECKING:
    from ml.online import Learnt
    from ml.ranking.index import ItemIndex
    from ml.ranking.ranker import RankerWeights
    from ml.replay import DayParts

STANDS_ON = (ITEMS, POPULARITY, RANKER)
"""What a state is learnt against: when it changes, learning starts over."""

CODE_VERSION = "1"
_STOOD = "online"
_EPOCH = date(1970, 1, 1)

_PARTS = """
select
    date_diff('day', date '1970-01-01', d.day) as day,
    u.u as user_index,
    i.i as item_index,
    d.decayed_28d,
    d.decayed_104d,
    coalesce(date_diff('second', cast(d.day as timestamp), d.first_at_utc) / 86400e0, 1e0) as first_in_day,
    coalesce(date_diff('second', cast(d.day as timestamp), d.last_at_utc) / 86400e0, 1e0) as last_in_day,
    {taken} as is_taken
from {daily} d
join user_numbers u on u.user_id = d.user_id
join item_numbers i on i.item_id = d.key
where d.facet = 'item'
order by d.day, u.u, i.i
"""


def build(shop: Shop) -> list[dg.AssetsDefinition]:
    """The states of the learner; none if the shop does not ask for them."""
    return [_online()] if shop.online_learning else []


def _online() -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        from ml.online import OnlineConfig

        until = as_of(workspace)
        if until is None:
            raise dg.Failure("features.daily holds no day yet; materialize it for the days of your data first")
        return refresh(
            workspace,
            [ONLINE],
            inputs=[
                Slice(table=DAILY, days=days_between(workspace, None, until)),
                *(*STANDS_ON, ITEM_TEXTS, TEXT_EMBEDDINGS),
            ],
            make=lambda session: {ONLINE.key: _learn(context, workspace, session, until)},
            code_version=CODE_VERSION,
            config=OnlineConfig().model_dump(),
        )

    return table_asset(
        [ONLINE],
        deps=[DAILY.key, *(t.key for t in (*STANDS_ON, ITEM_TEXTS, TEXT_EMBEDDINGS))],
        kinds={"numpy", "delta"},
        code_version=CODE_VERSION,
        body=body,
        lineage={
            ONLINE.key: {
                "user_id": [(DAILY.key, "user_id")],
                "feature": [(RANKER.key, "feature")],
                **{
                    name: [
                        (DAILY.key, "decayed_104d"),
                        (DAILY.key, "decayed_28d"),
                        (RANKER.key, "weight"),
                        (POPULARITY.key, "popularity"),
                    ]
                    for name in ("gradients", "squares", "correction")
                },
            }
        },
        automation=on_new_data(),
    )


def _learn(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, until: datetime) -> Made:
    """Go on from the published state, or start over; and say on what the new state stands."""
    from ml.online import COORDINATES, Learnt, OnlineConfig
    from ml.ranking.features import FEATURES
    from ml.ranking.index import index_items
    from ml.ranking.inputs import CandidateConfig, ReleasedGram

    history, config = History(workspace, session, periods(workspace)), OnlineConfig()
    catalogue, popularity = arrays.catalogue(workspace, session), arrays.released(workspace, session)
    index = index_items(catalogue, popularity, ReleasedGram.none(), CandidateConfig())
    start = starts_at(history)
    learnt, done = _published(history, start) or (Learnt.nothing(len(history.user_ids)), start)
    learnt = follow(history, index, arrays.weights(workspace, session), learnt, start, done, until)
    context.log.info(f"{ONLINE.key}: learnt from the days from {done.date()} on")
    user = np.flatnonzero(learnt.n.any(axis=1))
    ids = history.user_ids.take(pa.array(np.repeat(user, len(COORDINATES))))
    columns = {
        "user_id": ids,
        "feature": [FEATURES[n] for n in COORDINATES] * len(user),
        "gradients": learnt.z[user].ravel(),
        "squares": learnt.n[user].ravel(),
        "correction": learnt.correction(config)[user].ravel(),
        "as_of_utc": pa.array([until] * len(ids), pa.timestamp("us")),
    }
    stood = {"until": until.isoformat(), "on": _basis(workspace, start, until)}
    return Made(data=pa.table(columns), notes={_STOOD: json.dumps(stood), "learnt_from": done.date().isoformat()})


def _basis(workspace: Workspace, start: datetime, until: datetime) -> str:
    """Digest of everything that a state up to an instant is learnt from."""
    from ml.online import OnlineConfig

    days = Slice(table=DAILY, days=days_between(workspace, None, until))
    contents = content_of(workspace.lake, [days, *STANDS_ON])
    return digest(CODE_VERSION, start, until, contents, OnlineConfig().model_dump())


def _published(history: History, start: datetime) -> "tuple[Learnt, datetime] | None":
    """The published state and its instant, if all that it was learnt from is as it was."""
    from ml.online import COORDINATES, Learnt
    from ml.ranking.features import FEATURES

    workspace, session = history.workspace, history.session
    published = workspace.lake.published(ONLINE.key)
    stood = json.loads(published.notes.get(_STOOD, "{}")) if published else {}
    until = datetime.fromisoformat(stood["until"]) if stood else None
    if until is None or stood["on"] != _basis(workspace, start, until):
        return None
    session.attach(ONLINE, workspace.lake)
    found = session.query(
        f"select u.u, o.feature, o.gradients, o.squares from {ONLINE.key} o "
        "join user_numbers u on u.user_id = o.user_id"
    )
    place = {FEATURES[n]: column for column, n in enumerate(COORDINATES)}
    cells = found.column("u").to_numpy(), [place[name] for name in found.column("feature").to_pylist()]
    learnt = Learnt.nothing(len(history.user_ids))
    learnt.z[cells], learnt.n[cells] = found.column("gradients").to_numpy(), found.column("squares").to_numpy()
    return learnt, until


def starts_at(history: History) -> datetime:
    """The midnight from which on days are learnt from: a constant number of days before the release's window ends."""
    from ml.online import OnlineConfig

    history.session.attach(RANKER, history.workspace.lake)
    end = history.session.query(f"select max(window_end) as day from {RANKER.key}").column("day")[0].as_py()
    return datetime.combine(end - timedelta(days=OnlineConfig().warm_days), time.min)


def follow(
    history: History,
    index: "ItemIndex",
    weights: "RankerWeights",
    learnt: "Learnt",
    start: datetime,
    done: datetime,
    until: datetime,
) -> "Learnt":
    """Learn from the days of the shop from one midnight to another.

    Args:
        history: the shop's history.
        index: the item side of the releases.
        weights: the released weights.
        learnt: state as of `done`.
        start: midnight at which the replay begins, whatever has been learnt from already.
        done: midnight up to which days are learnt from already.
        until: midnight up to which they are to be.

    Returns:
        The state as of `until`.
    """
    from ml.online import learn

    midnight, since = ((instant.date() - _EPOCH).days for instant in (start, done))
    before = arrays.as_state(history.state_at(start), np.float64)
    return learn(day_parts(history, start.date(), until.date()), before, midnight, index, weights, learnt, since)


def corrections(history: History) -> "npt.NDArray[np.float64] | None":
    """What is added to each user's released weights of the next purchases; None if the shop does not ask for it.

    Returns:
        (n_users, n_features) in the order of the history's users and of the ranker's features.
    """
    from ml.ranking.features import FEATURES

    if not history.workspace.shop.online_learning:
        return None
    history.session.attach(ONLINE, history.workspace.lake)
    found = history.session.query(
        f"select u.u, o.feature, o.correction from {ONLINE.key} o join user_numbers u on u.user_id = o.user_id"
    )
    added = np.zeros((len(history.user_ids), len(FEATURES)))
    feature = [FEATURES.index(name) for name in found.column("feature").to_pylist()]
    added[found.column("u").to_numpy(), feature] = found.column("correction").to_numpy()
    return added


def corrections_at(
    history: History, index: "ItemIndex", weights: "RankerWeights", end: datetime
) -> "npt.NDArray[np.float64] | None":
    """As `corrections`, for a release whose window ends at an instant, as of that instant."""
    from ml.online import Learnt, OnlineConfig

    if not history.workspace.shop.online_learning:
        return None
    config = OnlineConfig()
    nothing, start = Learnt.nothing(len(history.user_ids)), end - timedelta(days=config.warm_days)
    return follow(history, index, weights, nothing, start, start, end).spread(config)


def day_parts(history: History, start: date, stop: date) -> "DayParts":
    """What users did with items on the days [start, stop); what is no item of the catalogue is left out."""
    from ml.replay import DayParts

    session, lake = history.session, history.workspace.lake
    session.attach(DAILY, lake, days=[d for d in lake.day_versions(DAILY.key) if start <= d < stop])
    found = session.query(_PARTS.format(daily=DAILY.key, taken=history.taken))
    session.attach(DAILY, lake)
    column = {name: found.column(name).to_numpy(zero_copy_only=False) for name in found.column_names}
    day = column["day"].astype(np.int32)
    return DayParts(
        day=day,
        user_index=column["user_index"].astype(np.int32),
        item_index=column["item_index"].astype(np.int32),
        decayed_28d=column["decayed_28d"],
        decayed_104d=column["decayed_104d"],
        first_at=day + column["first_in_day"],
        last_at=day + column["last_in_day"],
        is_taken=column["is_taken"].astype(np.bool_),
    )
