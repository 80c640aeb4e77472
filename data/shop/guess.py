"""What the columns of an undescribed file probably mean, from their names first and their values second."""

import datetime as dt
import re
from dataclasses import dataclass, field

from data.shop.sniff import Shape, Sniffed
from data.shop.source import Kind

WORDS = {
    "purchase": ("purchase", "buy", "transaction", "order", "sale", "checkout", "bought", "conversion"),
    "view": ("view", "pv", "click", "detail", "page_view", "product_view", "pageview", "impression"),
    "cart": ("cart", "addtocart", "add_to_cart", "basket", "add", "add_cart"),
    "favourite": ("favourite", "favorite", "fav", "wishlist", "like", "add_to_wishlist", "bookmark"),
    "search": ("search", "query"),
    "rating": ("rating", "rate", "review"),
    "redeem": ("redeem", "redemption", "coupon"),
    "return": ("return", "refund", "cancel", "returned"),
}
_EVENT_WORDS = {word: name for name, words in WORDS.items() for word in words}
_ID = r"_?(id|ids|no|nr|num|number|key|code|hash|sk)?"
_NAMES: tuple[tuple[str, str], ...] = (
    ("user_id", rf"(user|customer|cust|household|visitor|member|client|shopper|buyer|reviewer|person|account){_ID}"),
    ("item_id", r"parent_asin|asin|sku|stock_?code|upc|ean|isbn"),
    ("item_id", rf"(item|product|prod|article|movie|book|goods|track){_ID}"),
    ("session_id", rf"(user_?)?(session|basket|invoice|order|transaction|visit|receipt|ticket){_ID}"),
    ("time", r"(.*_)?(timestamp|time|datetime|date|ts|day)|.*_at|t_?dat"),
    ("time", r"(invoice|order|purchase|event|transaction|review|unix_?review)_?(date|time)"),
    ("event_type", r"(event|action|interaction|activity|behaviou?r)(_?(type|name))?|type"),
    ("rating", r"rating|stars|score|overall"),
    ("quantity", r"quantity|qty|units|pieces|count"),
    ("value", r"(sales|order|line|total|net)_?(value|amount|total|price)|total|revenue|amount|sales|spend|paid|value"),
    ("price", r"(unit|list|item|product)?_?price"),
    ("discount", r".*disc(ount)?.*"),
    ("title", r"(product|item|prod)?_?(title|name)|movie"),
    ("description", r"(product|item|detail)?_?(description|desc)|details"),
    ("category", r".*(categor|department|genre|subclass|aisle).*|(product|item|prod)_?(type|group)(_?name)?|class"),
    ("brand", r"brand(_?name)?|manufacturer|maker|vendor"),
    ("image", r"(image|img|picture|photo)(_?(url|link|path))?"),
    ("availability", r"availab.*|in_?stock|stock"),
    ("place", r"(store|shop|country|place|location|city|region|market)" + _ID),
    ("channel", r"channel|(sales_)?channel_?id|device|platform"),
    ("text", r"(review)?_?text|query|search_?(term|query|text)?|comment|review|review_?body|keywords?"),
    ("consent", r"consent|opt_?in|newsletter"),
)  # fmt: skip
_TIME_PATTERNS = (
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%Y%m%d%H%M%S", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%m %d, %Y",
)  # fmt: skip
_CATALOGUE = ("title", "category", "brand", "description", "price", "image")


@dataclass
class Guess:
    """What one source seems to be."""

    kind: Kind | None
    """None: nothing that Portrait can use was recognised."""
    roles: dict[str, list[str]] = field(default_factory=dict)
    """Role (contract column, time, rating, price, category) -> source columns, the best first."""
    time_format: str = "iso"
    """Format of the first time column."""
    doubts: list[str] = field(default_factory=list)
    """What the owner should look at, one remark each."""


def guess(sniffed: Sniffed) -> Guess:
    """Guess the kind of a source and the meaning of its columns.

    Args:
        sniffed: Shape and sample of one of its files.

    Returns:
        The guess; its doubts say where names or values left a choice.
    """
    found = Guess(None)
    roles = found.roles
    for name in sniffed.shape.names:
        role = _role(name, sniffed.shape)
        if role:
            roles.setdefault(role, []).append(name)
    _check_times(found, sniffed)
    if not sniffed.shape.has_header:
        _by_values(found, sniffed)
    if "user_id" in roles and ("item_id" in roles or "time" in roles):
        found.kind = "events"
        if "item_id" not in roles and "text" not in roles:
            found.kind = None
    elif "item_id" in roles and any(role in roles for role in _CATALOGUE):
        found.kind = "items"
    elif "user_id" in roles and _is_unique(sniffed.values[roles["user_id"][0]]):
        found.kind = "users"
    for role in ("user_id", "item_id", "time", "session_id"):
        if len(roles.get(role, [])) > 1:
            found.doubts.append(f"{role}: taken from {roles[role][0]}; {', '.join(roles[role][1:])} may be it instead")
    return found


def event_word(text: str) -> str | None:
    """Return the event type that a shop's own word means, if it is a usual one."""
    return _EVENT_WORDS.get(text.strip().lower())


def time_format(values: list[str], is_named: bool = False) -> tuple[str, bool] | None:
    """Guess how times are written.

    Args:
        values: Texts of one column.
        is_named: Whether the column is named like a time; then seconds before September 2001 count too.

    Returns:
        (format, whether another format would read them too), or None when they are no times.
    """
    if not values:
        return None
    if all(re.match(r"\d{4}-\d{2}-\d{2}", value) for value in values):
        return "iso", False
    seconds = r"([3-9]\d{8}|[12]\d{9})(\.\d+)?" if is_named else r"[12]\d{9}(\.\d+)?"
    if all(re.fullmatch(seconds, value) for value in values):
        return "unix_s", False
    if all(re.fullmatch(r"\d{13}", value) and value[0] in "12" for value in values):
        return "unix_ms", False
    fitting = [pattern for pattern in _TIME_PATTERNS if all(_parses(value, pattern) for value in values)]
    return (fitting[0], len(fitting) > 1) if fitting else None


def _parses(value: str, pattern: str) -> bool:
    try:
        return 1990 <= dt.datetime.strptime(value.strip(), pattern).year <= 2100
    except ValueError:
        return False


def _role(name: str, shape: Shape) -> str | None:
    if not shape.has_header:
        return None
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    plain = re.sub(r"[^a-z0-9]+", "_", last.lower()).strip("_")
    # In nested objects user.id means what user_id means, and event.product.id what product_id means.
    candidates = [plain, "_".join(plain.split("_")[-2:])] if "." in name else [plain]
    for candidate in candidates:
        for role, pattern in _NAMES:
            if re.fullmatch(pattern, candidate):
                return role
    return None


def _check_times(found: Guess, sniffed: Sniffed) -> None:
    """Keep the columns that are named like a time and read as one."""
    read = {name: time_format(sniffed.values[name], is_named=True) for name in found.roles.pop("time", [])}
    times = {name: form for name, form in read.items() if form}
    if times:
        # An instant tells more than a day.
        ordered = sorted(times, key=lambda name: -max(map(len, sniffed.values[name])))
        found.roles["time"] = ordered
        found.time_format, is_ambiguous = times[ordered[0]]
        if is_ambiguous:
            found.doubts.append(f"time: {found.time_format} reads all samples, and so does another order of its parts")


def _by_values(found: Guess, sniffed: Sniffed) -> None:
    """Give roles to the columns of a file without names, and say that this is a guess."""
    free: list[str] = []
    for name, values in sniffed.values.items():
        form = time_format(values)
        if form and "time" not in found.roles:
            found.roles["time"], found.time_format = [name], form[0]
        elif values and all(event_word(value) for value in values):
            found.roles.setdefault("event_type", []).append(name)
        elif values and all(re.fullmatch(r"[0-5](\.\d)?", value) for value in values):
            found.roles.setdefault("rating", []).append(name)
        elif values:
            free.append(name)
    for role, name in zip(("user_id", "item_id"), free, strict=False):
        found.roles[role] = [name]
        found.doubts.append(f"{role}: {name} is a guess from its place, the file names no columns")


def _is_unique(values: list[str]) -> bool:
    return len(set(values)) == len(values) > 0
