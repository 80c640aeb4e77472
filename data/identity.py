"""One person, several identifiers: who is who by the shop's own edges, and whose events count for whom on which day.

An identifier's person depends on the edges of that person's identifiers and on public constants alone: components of
edges never look beyond themselves, so that adding or removing a person with all identifiers, edges and events changes
nobody else (class `per_user`, docs/decisions/004). People who share an identifier are the one exception, and are each
other's neighbours: while two people have logged in on a device, its edges are refused, and if one of them goes, it
becomes the other's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.build import Made, Outcome
from data.contracts.identity import IDENTITIES, IDENTITIES_QUARANTINE
from data.contracts.reasons import BOOKKEEPING
from data.core import landed_sql, reasons_of, wished
from data.engine import Session
from data.fingerprint import digest
from data.models import model
from data.shop.config import Shop
from data.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

TOO_LARGE = "component_too_large"
"""Reason: the edges join more identifiers than a person can have."""
TWO_PEOPLE = "two_people"
"""Reason: the edges join two identifiers of the best known kind that no edge joins directly."""
_VERSION = "1"
"""Of `resolve`; raised by hand when it answers otherwise."""


def identities_sql() -> dict[str, str]:
    """Rendered models: `checked`, `edges`, which reads it, and the quarantine, which also reads the refused edges."""
    names = {"checked": "identities_checked", "edges": "identity_edges"}
    names[IDENTITIES_QUARANTINE.key] = "identities_quarantine"
    return {key: model(f"core/{name}") for key, name in names.items()}


def what_decides(shop: Shop) -> tuple[str, dict[str, object]]:
    """Version of the code and configuration that `make_identities` works by."""
    return digest(identities_sql(), _VERSION), shop.identity.model_dump(mode="json")


def make_identities(workspace: Workspace, session: Session) -> Mapping[str, Made]:
    """Judge all landed edges and join what they join.

    Args:
        workspace: the shop.
        session: with the raw tables of its sources of identities attached.

    Returns:
        The joined identifiers and the quarantine; the notes of both count the refused edges.
    """
    people, aside = judge(workspace.shop, session)
    reasons = reasons_of(aside)
    filtered = wished(workspace.shop)
    faults = sum(n for reason, n in reasons.items() if reason not in filtered.union(BOOKKEEPING))
    landed = session.query("select count(*) as n from identities_checked").column("n")[0].as_py()
    kept = landed - faults - sum(n for reason, n in reasons.items() if reason in filtered)
    notes = {f"n_{reason}": str(n) for reason, n in reasons.items()}
    remark = f" (set aside: {reasons})" if reasons else ""
    return {
        IDENTITIES.key: Made(data=people, quarantined=faults, kept=kept, remark=remark, notes=notes),
        IDENTITIES_QUARANTINE.key: Made(data=aside, notes=notes),
    }


def judge(shop: Shop, session: Session) -> tuple[pa.Table, pa.Table]:
    """The joined identifiers, and what is set aside; `identities_checked` stays on the session.

    Args:
        shop: the shop.
        session: see `make_identities`.
    """
    sql = identities_sql()
    session.define("landed.identities", landed_sql(shop, "identities"))
    session.materialise("identities_checked", sql["checked"])
    people, refused = resolve(session.query(sql["edges"]), shop.identity.kinds, shop.identity.max_identifiers)
    session.register("edges_refused", refused)
    return people, session.query(sql[IDENTITIES_QUARANTINE.key])


def resolve(edges: pa.Table, kinds: Sequence[str], max_identifiers: int) -> tuple[pa.Table, pa.Table]:
    """Join identifiers into people, and refuse what cannot be one person.

    Of the best known kind everybody has one identifier, unless an edge joins two of them directly: then the shop says
    that they are one person. (1) An identifier of another kind with edges to two people is shared (a family's tablet):
    its edges are refused, what else each of them has stays joined. (2) Of what remains, components that still hold two
    people, over longer paths, and components of too many identifiers are refused as a whole. A cycle is harmless. Only
    the set of edges counts, not its order.

    Args:
        edges: distinct pairs: left_id, right_id, left_kind, right_kind (text, none of them null).
        kinds: kinds of identifier, the best known first.
        max_identifiers: most identifiers of one person, at least 2.

    Returns:
        (identifier, kind, user_id, n_identifiers) of every joined identifier, sorted; `user_id` is the one of the best
        known kind, of several the smallest. And (left_id, right_id, reason) of every refused edge.
    """
    ends = [np.asarray(edges.column(name).to_pylist(), dtype=object) for name in ("left_id", "right_id")]
    ids, index = np.unique(np.concatenate(ends), return_inverse=True)
    left, right = np.split(index.astype(np.int64), 2)
    rank = np.full(len(ids), len(kinds), np.int64)
    for end, name in ((left, "left_kind"), (right, "right_kind")):
        np.minimum.at(rank, end, np.array([kinds.index(kind) for kind in edges.column(name).to_pylist()], np.int64))
    refused = _refusals(left, right, rank == 0, max_identifiers)
    stands = np.array([not reason for reason in refused], bool)
    component = _components(left[stands], right[stands], len(ids))
    order = np.lexsort((np.arange(len(ids)), rank, component))
    first = order[np.concatenate(([True], np.diff(component[order]) > 0))] if len(ids) else order
    size = np.bincount(component, minlength=len(first))[component] if len(ids) else component
    joined = size > 1
    people = pa.table(
        {
            "identifier": pa.array(ids[joined], pa.string()),
            "kind": pa.array([kinds[n] for n in rank[joined]], pa.string()),
            "user_id": pa.array(ids[first[component[joined]]], pa.string()),
            "n_identifiers": pa.array(size[joined], pa.int32()),
        }
    )
    said = edges.select(["left_id", "right_id"]).append_column("reason", pa.array(refused, pa.string()))
    return people, said.filter(pa.array(~stands))


def _refusals(left: "Indices", right: "Indices", is_known: "Flags", max_identifiers: int) -> list[str]:
    """Why each edge is refused; empty where it stands."""
    n = len(is_known)
    both = is_known[left] & is_known[right]
    person = _components(left[both], right[both], n)
    mixed = is_known[left] != is_known[right]
    known = np.where(is_known[left], left, right)[mixed]
    other = np.where(is_known[left], right, left)[mixed]
    pairs = np.unique(np.stack([other, person[known]], axis=1), axis=0)
    is_shared = np.bincount(pairs[:, 0], minlength=n) > 1
    shared = is_shared[left] | is_shared[right]
    component = _components(left[~shared], right[~shared], n)
    size = np.bincount(component, minlength=n)
    held = np.unique(np.stack([component, person], axis=1)[is_known], axis=0)
    n_people = np.bincount(held[:, 0], minlength=n)
    of_edge = component[left]
    too_large, two_people = size[of_edge] > max_identifiers, n_people[of_edge] > 1
    reasons = np.select([shared, too_large, two_people], [TWO_PEOPLE, TOO_LARGE, TWO_PEOPLE], default="")
    return [str(reason) for reason in reasons]


def _components(left: "Indices", right: "Indices", n: int) -> "Indices":
    """The number of the connected component of each of n nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not n:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n)).tocsr()
    labels: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def too_large(outcome: Outcome) -> str:
    """A sentence about edges that were refused since they join too many; empty if there are none.

    Args:
        outcome: of `core.identities`.
    """
    n = outcome.published.notes.get(f"n_{TOO_LARGE}")
    if not n:
        return ""
    return (
        f"{n} edges join more identifiers than identity.max_identifiers allows a person; none of them counts. "
        f"See {TOO_LARGE} in {IDENTITIES_QUARANTINE.key}: usually a test account, or a placeholder instead of an id."
    )


def make_identity_days(workspace: Workspace, session: Session) -> Made:
    """Which identifiers have events on a day that count for another identifier of the same person.

    Args:
        workspace: the shop.
        session: with the raw tables of its events and `core.identities` attached.
    """
    session.define("landed.events", landed_sql(workspace.shop, "events"))
    return Made(data=session.query(model("core/identity_days")))
