"""The items and the persons of a made-up shop: who they are before anything happens."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.synth.draws import Floats, Integers, bits, normal, uniform
from data.synth.plan import Plan

NEVER = np.iinfo(np.int64).max
_DEPARTMENTS = {
    "Kitchen": ("Kettle", "Pan", "Bowl", "Knife", "Teapot", "Grater"),
    "Pantry": ("Honey", "Coffee", "Rice", "Olives", "Biscuits", "Pasta"),
    "Bathroom": ("Soap", "Towel", "Shampoo", "Brush", "Mirror", "Lotion"),
    "Garden": ("Rake", "Planter", "Hose", "Seeds", "Lantern", "Gloves"),
    "Wardrobe": ("Scarf", "Jumper", "Socks", "Belt", "Cap", "Coat"),
    "Office": ("Notebook", "Pen", "Lamp", "Folder", "Desk", "Chair"),
    "Toys": ("Puzzle", "Kite", "Blocks", "Doll", "Drum", "Train"),
    "Outdoors": ("Tent", "Flask", "Rope", "Compass", "Hammock", "Stove"),
}
_LOOKS = (
    "Amber",
    "Blue",
    "Coral",
    "Dark",
    "Emerald",
    "Frosted",
    "Golden",
    "Ivory",
    "Jade",
    "Lilac",
    "Plain",
    "Scarlet",
)
_STUFFS = ("Bamboo", "Ceramic", "Cotton", "Glass", "Linen", "Oak", "Steel", "Wool", "Paper", "Copper")
_BRANDS = ("Alder", "Birchwood", "Cobalt", "Dunmore", "Everly", "Fenwick", "Grove", "Harbour", "Ibis", "Juniper")
_TOWNS = ("Aachen", "Bern", "Cork", "Delft", "Espoo", "Faro", "Ghent", "Haarlem")
_AGES = ("18-29", "30-44", "45-59", "60+")


@dataclass(frozen=True)
class Items:
    """The catalogue; arrays run over items."""

    item_id: NDArray[np.str_]
    title: NDArray[np.str_]
    department: NDArray[np.str_]
    category: NDArray[np.str_]
    category_code: Integers
    brand: NDArray[np.str_]
    price: Floats
    factors: Floats
    """(n_items, rank), unit vectors."""
    popularity: Floats
    """Shares, summing to 1."""
    item_class: Integers
    """Position in `plan.classes`."""
    cycle_days: Floats
    """0 where the class has no rhythm."""

    @cached_property
    def cumulative(self) -> Floats:
        """Distribution function of the popularity."""
        return np.cumsum(self.popularity)

    @cached_property
    def repeatable(self) -> Integers:
        """Items that somebody may make a habit."""
        return np.nonzero(self.cycle_days > 0)[0]

    @cached_property
    def cumulative_repeatable(self) -> Floats:
        """Distribution function of the popularity among `repeatable`."""
        shares = self.popularity[self.repeatable]
        return np.asarray(np.cumsum(shares) / max(shares.sum(), 1e-300))


@dataclass(frozen=True)
class Persons:
    """Some users; arrays run over them."""

    number: Integers
    """0 .. n_users - 1."""
    factors: Floats
    """(n, rank): taste before the drift, and for ever without one."""
    factors_after: Floats
    """(n, rank): taste after the drift."""
    drift_second: Integers
    """Seconds after the start at which the taste changes; `NEVER` without."""
    is_bot: NDArray[np.bool_]
    rate: Floats
    """Mean sessions a day, habits aside."""
    login_second: Integers
    """Seconds after the start of the first login; 0: known from the start; `NEVER`."""


def make_items(plan: Plan) -> Items:
    """Make the catalogue.

    Args:
        plan: The shop.

    Returns:
        Its items, in the order of their codes, which says nothing about popularity.
    """
    names = [(department, noun) for department, nouns in _DEPARTMENTS.items() for noun in nouns]
    number = np.arange(plan.n_items)
    code = (bits(plan.seed, "category", number) % np.uint64(len(names))).astype(np.int64)
    center = _unit(normal(plan.seed, "centre", np.arange(len(names))[:, None], np.arange(plan.rank)))
    own = _unit(normal(plan.seed, "item", number[:, None], np.arange(plan.rank)))
    rank = np.empty(plan.n_items, np.int64)
    rank[np.argsort(bits(plan.seed, "popularity", number), kind="stable")] = number
    weight = (rank + 1.0) ** -plan.zipf_exponent
    ends = np.cumsum([c.share for c in plan.classes]) / sum(c.share for c in plan.classes)
    place = (np.argsort(np.argsort(bits(plan.seed, "class", np.arange(len(names))))) + 0.5) / len(names)
    item_class = np.searchsorted(ends, place)[code]
    cycles = np.array([c.cycle_days or 0.0 for c in plan.classes])
    return Items(
        item_id=np.char.add("", (100_001 + number).astype(str)),
        title=_titles(plan, number, [noun for _, noun in names], code),
        department=np.array([department for department, _ in names])[code],
        category=np.array([noun for _, noun in names])[code],
        category_code=code,
        brand=_picked(_BRANDS, plan, "brand", number),
        price=np.asarray(np.round(np.exp(2.5 + 0.8 * normal(plan.seed, "price", number)), 2), np.float64),
        factors=_unit(plan.category_weight * center[code] + own),
        popularity=weight / weight.sum(),
        item_class=item_class,
        cycle_days=cycles[item_class],
    )


def make_persons(plan: Plan, first: int, last: int) -> Persons:
    """Make the users `first` .. `last` - 1 of a shop; the same ones whatever the bounds."""
    number = np.arange(first, last, dtype=np.int64)
    axes = np.arange(plan.rank)
    is_bot = _chosen_bots(plan, number)
    drifts = (uniform(plan.seed, "drifts", number) < plan.drift_share) & ~is_bot
    spread = plan.activity_sigma * normal(plan.seed, "activity", number) - plan.activity_sigma**2 / 2
    rate = plan.sessions_per_day * np.where(is_bot, plan.bot_factor, np.exp(spread))
    begins_anonymous = uniform(plan.seed, "anonymous", number) < plan.anonymous_share
    never = begins_anonymous & ((uniform(plan.seed, "never", number) < plan.never_login_share) | is_bot)
    second = (uniform(plan.seed, "login", number) * 0.8 * plan.n_days * 86_400).astype(np.int64) + 1
    before = _unit(normal(plan.seed, "user", number[:, None], axes))
    after = _unit(normal(plan.seed, "user after", number[:, None], axes))
    return Persons(
        number=number,
        factors=before,
        factors_after=np.where(drifts[:, None], after, before),
        drift_second=np.where(drifts, plan.drift_second, NEVER),
        is_bot=is_bot,
        rate=rate,
        login_second=np.where(never, NEVER, np.where(begins_anonymous, second, 0)),
    )


def customer_ids(number: Integers) -> NDArray[np.str_]:
    """Return the ids of users who are logged in."""
    return np.char.add("", (5_000_001 + number).astype(str))


def cookie_ids(plan: Plan, number: Integers) -> NDArray[np.str_]:
    """Return the ids of their browsers."""
    drawn = bits(plan.seed, "cookie", number)
    return np.array([f"ck{int(value):016x}" for value in drawn.ravel()], dtype="U18").reshape(drawn.shape)


def attributes(plan: Plan, number: Integers) -> dict[str, NDArray[np.str_]]:
    """Return what customers said of themselves; it means nothing for their taste."""
    return {
        "town": _picked(_TOWNS, plan, "town", number),
        "age_group": _picked(_AGES, plan, "age", number),
    }


def _titles(plan: Plan, number: Integers, nouns: list[str], code: Integers) -> NDArray[np.str_]:
    look, stuff = _picked(_LOOKS, plan, "look", number), _picked(_STUFFS, plan, "stuff", number)
    return np.char.add(np.char.add(np.char.add(look, " "), np.char.add(stuff, " ")), np.array(nouns)[code])


def _picked(words: tuple[str, ...], plan: Plan, purpose: str, number: Integers) -> NDArray[np.str_]:
    return np.array(words)[(bits(plan.seed, purpose, number) % np.uint64(len(words))).astype(np.int64)]


def _chosen_bots(plan: Plan, number: Integers) -> NDArray[np.bool_]:
    """Say who is a bot: everybody below the share, and one user for certain."""
    certain = int(bits(plan.seed, "bot") % np.uint64(plan.n_users))
    chosen = (uniform(plan.seed, "bots", number) < plan.bot_share) | (number == certain)
    return np.asarray(chosen)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
