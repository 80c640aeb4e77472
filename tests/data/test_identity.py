"""Joining identifiers: what becomes one person, what is refused, and that no order matters."""

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.identity import resolve

KINDS = ("user", "email", "cookie")
_KIND = {"u": "user", "e": "email", "c": "cookie"}

Edge = tuple[str, str]


def edges_of(pairs: Sequence[Edge]) -> pa.Table:
    """Edges between ids whose first letter says their kind."""
    ends = [sorted(pair) for pair in pairs]
    columns = {"left_id": [a for a, _ in ends], "right_id": [b for _, b in ends]}
    kinds = {f"{side}_kind": [_KIND[one[0]] for one in columns[f"{side}_id"]] for side in ("left", "right")}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (columns | kinds).items()})


def joined(*pairs: Edge, most: int = 20) -> tuple[dict[str, str], dict[Edge, str]]:
    """Identifier -> person, and refused edge -> reason."""
    people, refused = resolve(edges_of(pairs), KINDS, most)
    return (
        {row["identifier"]: row["user_id"] for row in people.to_pylist()},
        {(row["left_id"], row["right_id"]): row["reason"] for row in refused.to_pylist()},
    )


def test_the_best_known_kind_stands_for_the_person_and_of_several_the_smallest() -> None:
    assert joined(("c1", "u1"), ("c2", "u1"))[0] == dict.fromkeys(("c1", "c2", "u1"), "u1")
    assert joined(("c1", "e9"), ("c0", "c1"))[0] == dict.fromkeys(("c0", "c1", "e9"), "e9")
    assert joined(("c2", "c1"))[0] == dict.fromkeys(("c1", "c2"), "c1")
    assert joined() == ({}, {})


def test_every_identifier_says_its_kind_and_how_many_there_are() -> None:
    people, refused = resolve(edges_of([("c1", "u1"), ("e1", "u1"), ("c7", "c8")]), KINDS, 20)
    assert people.column("identifier").to_pylist() == ["c1", "c7", "c8", "e1", "u1"]
    assert people.column("kind").to_pylist() == ["cookie", "cookie", "cookie", "email", "user"]
    assert people.column("n_identifiers").to_pylist() == [3, 2, 2, 3, 3]
    assert refused.num_rows == 0


def test_a_cycle_is_harmless() -> None:
    assert joined(("u1", "c1"), ("c1", "c2"), ("c2", "u1"), ("c2", "c3"), ("c3", "c1")) == (
        dict.fromkeys(("c1", "c2", "c3", "u1"), "u1"),
        {},
    )


def test_two_people_on_one_tablet_stay_apart_and_keep_what_is_their_own() -> None:
    people, refused = joined(("c0", "u1"), ("c0", "u2"), ("c1", "u1"), ("c2", "u2"))
    assert people == {"c1": "u1", "u1": "u1", "c2": "u2", "u2": "u2"}
    assert refused == {("c0", "u1"): "two_people", ("c0", "u2"): "two_people"}


def test_two_people_over_a_longer_path_are_refused_as_a_whole() -> None:
    people, refused = joined(("c1", "u1"), ("c1", "c2"), ("c2", "u2"), ("c5", "u5"))
    assert people == {"c5": "u5", "u5": "u5"}
    assert refused == dict.fromkeys((("c1", "u1"), ("c1", "c2"), ("c2", "u2")), "two_people")


def test_an_edge_between_two_of_the_best_known_kind_declares_one_person() -> None:
    assert joined(("u1", "u2"), ("c0", "u1"), ("c0", "u2")) == (dict.fromkeys(("c0", "u1", "u2"), "u1"), {})


@pytest.mark.parametrize(("n_cookies", "is_refused"), [(4, False), (5, True)])
def test_more_identifiers_than_a_person_can_have_are_refused(n_cookies: int, is_refused: bool) -> None:
    large = [(f"c{n}", "u1") for n in range(n_cookies)]
    people, refused = joined(*large, ("c9", "u9"), most=5)
    assert ("c9" in people, "u1" in people) == (True, not is_refused)
    assert refused == (dict.fromkeys(large, "component_too_large") if is_refused else {})


IDS = [f"{kind}{n}" for kind in "uec" for n in range(5)]
_ENDS = st.tuples(st.sampled_from(IDS), st.sampled_from(IDS))
PAIRS = st.lists(
    _ENDS.filter(lambda ends: ends[0] < ends[1]),
    max_size=14,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(PAIRS, st.integers(2, 8), st.randoms(use_true_random=False))
def test_order_changes_nothing_and_the_rules_hold(pairs: list[Edge], most: int, draw: random.Random) -> None:
    people, refused = joined(*pairs, most=most)
    shuffled = [tuple(draw.sample(pair, 2)) for pair in draw.sample(pairs, len(pairs))]
    assert joined(*shuffled, most=most) == (people, refused)
    # Whoever stands for somebody stands for themselves, and no more are joined than the shop allows.
    assert all(people[person] == person for person in people.values())
    assert all(list(people.values()).count(person) <= most for person in people.values())
    for pair in pairs:
        same = people.get(pair[0]) is not None and people.get(pair[0]) == people.get(pair[1])
        assert same or pair in refused
    # Two of the best known kind are one person only if edges between such join them.
    known = dict(zip(IDS, IDS, strict=True))
    for _ in pairs:
        for a, b in (p for p in pairs if p[0][0] == p[1][0] == "u"):
            known[a] = known[b] = min(known[a], known[b])
    users = [one for one in people if one[0] == "u"]
    assert all(known[a] == known[b] for a in users for b in users if people[a] == people[b])


@settings(max_examples=200, deadline=None)
@given(PAIRS, st.integers(2, 8))
def test_a_component_answers_alone_as_it_does_among_others(pairs: list[Edge], most: int) -> None:
    """Taking away one person with all identifiers and edges changes nobody else."""
    people, refused = joined(*pairs, most=most)
    reached = {pairs[0][0]} if pairs else set()
    for _ in pairs:
        reached |= {one for pair in pairs if reached & set(pair) for one in pair}
    rest = [pair for pair in pairs if not reached & set(pair)]
    without, still_refused = joined(*rest, most=most)
    assert without == {one: person for one, person in people.items() if one not in reached}
    assert still_refused == {pair: reason for pair, reason in refused.items() if not reached & set(pair)}
