"""The words of other shops: what their columns, event types and files are usually called."""

import re

from data.shop.source import Kind

EVENT_WORDS = {
    "purchase": (
        "purchase", "purchased", "buy", "bought", "transaction", "order", "ordered", "sale", "sold", "checkout",
        "conversion", "pay", "paid", "order_completed", "purchase_complete", "checkout_complete", "complete_purchase",
        "product_purchased",
    ),
    "view": (
        "view", "viewed", "pv", "click", "clicked", "detail", "page_view", "pageview", "product_view", "item_view",
        "view_item", "product_viewed", "detail_view", "view_product", "view_content", "impression", "visit", "play",
        "listen", "watch", "read", "product_click",
    ),
    "cart": (
        "cart", "addtocart", "add_to_cart", "add_cart", "cart_add", "basket", "add_to_basket", "add_to_bag", "add",
        "product_added", "added_to_cart",
    ),
    "favourite": (
        "favourite", "favorite", "fav", "wishlist", "like", "liked", "add_to_wishlist", "addtowishlist", "bookmark",
        "save", "collect", "star",
    ),
    "search": ("search", "searched", "query", "view_search_results", "site_search", "products_searched"),
    "rating": ("rating", "rate", "rated", "review", "reviewed"),
    "redeem": ("redeem", "redeemed", "redemption", "coupon"),
    "return": ("return", "returned", "refund", "refunded", "cancel", "cancelled", "canceled"),
}  # fmt: skip
"""Event type -> what it is called elsewhere, in lower case with underscores."""
_EVENT_TYPES = {word: name for name, words in EVENT_WORDS.items() for word in words}
_NO_COUNTERPART = frozenset((
    "remove_from_cart", "removefromcart", "cart_remove", "product_removed", "remove_from_wishlist", "remove_cart",
    "delete_from_cart", "unlike", "login", "log_in", "logout", "log_out", "signup", "sign_up", "register",
    "session_start", "session_end", "scroll", "page_leave", "begin_checkout", "checkout_started", "add_payment_info",
    "add_shipping_info", "first_visit", "user_engagement",
))  # fmt: skip
_ID = r"_?(id|ids|no|nr|num|number|key|code|hash|sk|uuid|guid)?"
_THINGS = (
    "item|product|prod|article|movie|film|book|goods|track|song|artist|album|business|restaurant|hotel|listing|recipe|"
    "app|game|video|course|offer|anime"
)
_PEOPLE = (
    "user|customer|cust|household|visitor|member|client|shopper|buyer|reviewer|person|account|subscriber|guest|"
    "consumer|player|uid|user_?pseudo|full_?visitor|steam|loyalty(_?card)?"
)
_NAMES: tuple[tuple[str, str], ...] = (
    ("user_id", rf"({_PEOPLE}){_ID}|author_?(steam_?)?id"),
    ("item_id", r"asin|parent_asin|sku|stock_?code|upc|ean|isbn|(sku|asin|isbn|ean|upc)_?(id|code)"),
    ("item_id", rf"({_THINGS}){_ID}"),
    ("cookie_id", r"(cookie|device|anonymous|anon|browser|fingerprint)_?(user_?)?(id|uuid|key)"),
    ("event_id", r"(event|review|interaction|hit|message|log|activity)_?(id|uuid|guid)"),
    ("session_id", r"(user_?)?(session|basket|invoice|order|transaction|visit|receipt|ticket|bill|cart)" + _ID),
    ("time", r"(.*_)?(time_?stamp|time|datetime|date|ts|day)(_?(utc|gmt|ms|local))?|.*_at(_utc)?|t_?dat"),
    ("time", r"(invoice|order|purchase|event|transaction|review|unix_?review)_?(date|time)"),
    ("event_type", r"(event|action|interaction|activity|behaviou?r)(_?(type|name|category))?|type"),
    ("rating", r"(user_?)?(rating|stars|score)|overall"),
    ("quantity", r"(item_?|order_?)?(quantity|qty|units)|pieces|count"),
    ("value", r"(sales|order|line|total|net)_?(value|amount|total|price)|total|revenue|amount|sales|spend|paid|value"),
    ("price", r"(unit|list|item|product|sale|retail)?_?price(_?(usd|eur|gbp|each))?"),
    ("discount", r".*disc(ount)?.*"),
    ("title", r"(product|item|prod|app|business|book|movie|article|game|anime)?_?(title|name)|movie"),
    ("description", r"(product|item|detail|short|long)?_?(description|desc)|details"),
    ("category", r".*(categor|department|genre|subclass|aisle).*|(product|item|prod)_?(type|group)(_?name)?|class"
                 r"|cat(_?id)?"),
    ("brand", r"brand(_?(name|id))?|manufacturer|maker|vendor|developer|publisher|author"),
    ("image", r"(product_?|item_?|im)?(image|img|picture|photo|url)?(image|img|picture|photo)(_?(url|link|path))?"),
    ("availability", r"availab.*|in_?stock|stock"),
    ("place", r"(store|shop|country|place|location|city|region|market)" + _ID),
    ("channel", r"channel|(sales_)?channel_?id|device(_?type)?|platform"),
    ("text", r"(review|search|tip)?_?text|query|search_?(term|query|text|string|word)?s?|comment|review|review_?body"
             r"|keywords?"),
    ("consent", r"consent|opt_?in|newsletter"),
)  # fmt: skip
_FILES: tuple[tuple[Kind, str, str], ...] = (
    ("events", "rating", r"ratings?|reviews?|stars"),
    ("events", "search", r"search(es)?|quer(y|ies)"),
    ("events", "view", r"(page)?views?|clicks?|browsing|impressions?|plays?|listens?"),
    ("events", "cart", r"carts?|baskets?"),
    ("events", "favourite", r"favou?rites?|wishlists?|likes|bookmarks"),
    ("events", "redeem", r"redemptions?|redeem(ed)?"),
    ("events", "return", r"returns?|refunds?"),
    ("events", "purchase", r"purchases?|buys|orders?|transactions?|sales|invoices?|receipts?|tills?|checkouts?"),
    ("items", "", r"items?|products?|prod|catalogu?e?|articles?|movies?|books?|goods|meta|metadata|business(es)?|skus?|"
                  r"games?|apps?|assortment"),
    ("users", "", r"users?|customers?|members?|people|visitors?|clients?|households?|demographics?|persons?|accounts?"),
)  # fmt: skip


def plain(text: str) -> str:
    """Write a name in lower case with underscores: `reviewerID` and `Reviewer Id` are both `reviewer_id`."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text.strip())
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def event_word(text: str) -> str | None:
    """Return the event type that a shop's own word means, if it is a usual one."""
    return _EVENT_TYPES.get(text.strip().lower()) or _EVENT_TYPES.get(plain(text))


def has_no_counterpart(text: str) -> bool:
    """Tell a usual event word that is no event type of Portrait, such as `remove_from_cart`."""
    return plain(text) in _NO_COUNTERPART


def role_of(name: str) -> str | None:
    """Tell what a column named so usually holds.

    Args:
        name: Column name; nested values are named by their path, `user.id`.

    Returns:
        A contract column, or time, rating, price, category, consent; None when the name says nothing.
    """
    last = plain(name)
    candidates = [last]
    if "." in name:
        *_, parent, child = map(plain, name.split("."))
        # In nested objects user.id means what user_id means, and event.product.id what product_id means.
        candidates.append(f"{parent}_{child}")
        if re.fullmatch(rf"{_THINGS}|context|properties|data|payload", parent):
            candidates.append(child)
    for candidate in candidates:
        for role, pattern in _NAMES:
            if re.fullmatch(pattern, candidate):
                return role
    return None


def names_user(name: str) -> bool:
    """Tell whether a column is named like the id of a person."""
    return role_of(name) == "user_id"


def kind_of_file(name: str) -> tuple[Kind, str] | None:
    """Tell what a file or folder named so usually holds.

    Args:
        name: File or folder name without its ending.

    Returns:
        (kind, event type or ""), by the last word that says something; None when none does.
    """
    for word in reversed(plain(name).split("_")):
        for kind, event_type, pattern in _FILES:
            if re.fullmatch(pattern, word):
                return kind, event_type
    return None
