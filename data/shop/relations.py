"""What the files of a shop are to each other: whose ids an events file shares with the catalogue, what wants a join."""

import datetime as dt

from data.shop.groups import Group
from data.shop.guess import Guess, determines
from data.shop.guess_promotions import first_week

Found = tuple[Group, Guess]


def align_items(found: list[Found]) -> None:
    """Let events name their items by the column that the catalogue has, where they have several."""
    codes = {guess.roles["item_id"][0].lower() for _, guess in found if guess.kind == "items"}
    for _, guess in found:
        columns = guess.roles.get("item_id", [])
        if guess.kind == "events" and len(columns) > 1:
            columns.sort(key=lambda column: column.lower() not in codes)
            best, *others = columns
            guess.doubts = [doubt for doubt in guess.doubts if not doubt.startswith("item_id: taken")]
            guess.doubts.append(f"item_id: taken from {best}; {', '.join(others)} may be it instead")


def set_vague_aside(found: list[Found]) -> None:
    """Leave out tables of users and items that nothing calls shopping, when other files are plainly events."""
    if any(guess.kind == "events" and not guess.is_vague for _, guess in found):
        for _, guess in found:
            if guess.is_vague:
                guess.kind, guess.reason = None, "nothing says what its rows mean; map it by hand if they are events"


def link_events(found: list[Found]) -> list[str]:
    """Let events name people by the other id too, where a file joins it to theirs and says who had proved it.

    Args:
        found: All groups of the folder.

    Returns:
        Kinds of identifier of the shop, the best known first; none where nothing joins any.
    """
    joined = {guess.roles["other_id"][0]: guess.identifier for _, guess in found if guess.joins}
    for group, guess in found:
        shared = [name for name in group.sniffed.shape.names if name in joined]
        if not shared or guess.kind == "identities" or "item_id" not in guess.roles:
            continue
        people = [name for name in guess.roles.get("user_id", []) if name not in joined]
        if guess.kind == "events" and people:
            guess.roles |= {"user_id": people, "other_id": shared[:1]}
        elif guess.kind == "events" or guess.roles.keys() & {"time", "event_type"}:
            guess.kind, guess.roles["user_id"] = "events", shared[:1]
        else:
            continue
        guess.identifier = joined[shared[0]]
        guess.doubts = [doubt for doubt in guess.doubts if not doubt.startswith("user_id: taken")]
    return ["user", *sorted(set(joined.values()), key=("email", "cookie").index)] if joined else []


def own_items(group: Group, guess: Guess) -> Guess:
    """Make a catalogue of what events say about their items; what differs between rows of an item is no part of it.

    Args:
        group: The events.
        guess: Their columns.

    Returns:
        A guess of kind items. A title or a text of a review is nobody's catalogue; what was paid is no list price.
    """
    item = guess.roles["item_id"][0]
    is_opinion = "rating" in guess.roles or "text" in guess.roles
    roles = {"item_id": [item]}
    for role in ("title", "description", "category", "brand", "image"):
        columns = []
        for column in guess.roles.get(role, []):
            agrees = determines(group.sniffed, item, column)
            if agrees or (agrees is None and not is_opinion):
                columns.append(column)
        if columns:
            roles[role] = columns
    return Guess("items", roles, doubts=["there is no catalogue file: these are the events' own items"])


def week_one(found: list[Found]) -> dt.date | None:
    """Find the day on which week 1 begins: events of the folder may tell the week, by the name that promotions use.

    Args:
        found: All groups of the folder.

    Returns:
        The day; None where no events tell it.
    """
    weeks = {guess.roles["week"][0] for _, guess in found if guess.kind == "promotions" and "week" in guess.roles}
    for group, guess in found:
        for week in sorted(weeks & set(group.sniffed.shape.names)):
            if guess.kind == "events" and "time" in guess.roles:
                return first_week(group.sniffed, week, guess.roles["time"][0], guess.time_format)
    return None


def wanted_join(found: list[Found]) -> str | None:
    """Say which two files would be events together.

    Args:
        found: All groups of the folder.

    Returns:
        One sentence with the query that joins them, or None when no two files share what is missing.
    """
    for people, left in found:
        for things, right in found:
            if "user_id" not in left.roles or "item_id" not in right.roles or "user_id" in right.roles:
                continue
            for key in left.roles.get("session_id", []):
                if key in right.roles.get("session_id", []):
                    users, items = people.members[0].name, things.members[0].name
                    query = f"COPY (FROM '{items}' JOIN '{users}' USING ({key})) TO 'joined.parquet'"
                    return (
                        f"{users} names the users and {items} the items, both by {key}, and a source is one file; join "
                        f'them first, for example with python -c "import duckdb; duckdb.sql(\\"{query}\\")"'
                    )
    return None
