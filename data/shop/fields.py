"""Mapped contract columns as SQL over the text of a staged file.

What the rows become is the business of `mapping`.
"""

from collections.abc import Mapping

from data.shop.columns import Column, EventType
from data.shop.instants import instant_sql
from data.shop.source import ID_COLUMNS, Source
from data.shop.staging import Staged, literal

_SEPARATORS = {"category_path": " > ", "title": " ", "description": " "}


def field_texts(source: Source, staged: Staged, zone: str) -> dict[str, str]:
    """Render every mapped contract column as SQL over the staged text; ids of persons as they landed."""
    texts = {name: said(text) for name, text in staged.columns.items()}
    fields = {name: column_text(name, column, texts) for name, column in source.columns.items()}
    instant = instant_sql(source.time, staged.columns[source.time.column], zone) if source.time else "NULL"
    if source.kind == "items":
        fields["updated_at_utc"] = f"CAST({instant} AS TIMESTAMP)"
    if source.kind == "identities":
        fields["user_kind"], fields["other_kind"] = (literal(source.columns[c].identifier) for c in ID_COLUMNS)
        if source.time:
            fields |= {"observed_at_utc": instant, "observed_at_text": texts[source.time.column]}
    if source.kind == "events":
        fields["event_type"] = _event_type(source.event_type, texts)
        if source.time:
            fields |= {"occurred_at_utc": instant, "occurred_at_text": texts[source.time.column]}
        if source.returns:
            fields |= _returned(source, fields)
        if source.value_is == "unit_price":
            fields["value"] = _line_total(fields["value"], fields["quantity"])
    return fields


def said(text: str) -> str:
    """Render a text, null where it is what a data frame writes for nothing."""
    return f"CASE WHEN lower(trim({text})) = 'nan' THEN NULL ELSE {text} END"


def _returned(source: Source, fields: Mapping[str, str]) -> dict[str, str]:
    """Render the columns in which a negative quantity makes a return, so that they are positive: a unit price is."""
    is_return = f"{fields['event_type']} IN ('purchase', 'return') AND {_number(fields['quantity'])} < 0"
    amounts = ["quantity", "discount"] + (["value"] if source.value_is == "total" else [])
    positive = "CASE WHEN {0} AND {1} < 0 THEN substr(trim({2}), 2) ELSE {2} END"
    return {
        "event_type": f"CASE WHEN {is_return} THEN 'return' ELSE {fields['event_type']} END",
        **{n: positive.format(is_return, _number(fields[n]), fields[n]) for n in amounts if n in fields},
    }


def column_text(name: str, column: Column, texts: Mapping[str, str]) -> str:
    """Render the text of one contract column.

    Args:
        name: The contract column.
        column: Where it comes from.
        texts: Source column -> SQL expression of its text.

    Returns:
        SQL expression; null where the source says nothing.
    """
    if column.constant is not None:
        return literal(column.constant)
    parts = [_formed(texts[source], column.form) for source in column.sources]
    if name == "attributes" and column.columns:
        pairs = ", ".join(f"{literal(key)}, {part}" for key, part in zip(column.columns, parts, strict=True))
        return f"CAST(json_merge_patch('{{}}', json_object({pairs})) AS VARCHAR)"
    if len(parts) == 1:
        return parts[0]
    if name == "discount":
        return _sum(parts)
    filled = ", ".join(f"nullif(trim({part}), '')" for part in parts)
    return f"nullif(concat_ws({literal(_SEPARATORS[name])}, {filled}), '')"


def _formed(text: str, form: str) -> str:
    if form == "integer":
        is_integer = f"regexp_full_match({text}, '\\s*-?\\d+\\.0+\\s*')"
        return f"CASE WHEN {is_integer} THEN split_part(trim({text}), '.', 1) ELSE {text} END"
    if form == "decimal_comma":
        return f"replace(replace({text}, '.', ''), ',', '.')"
    return f"{form}({text})" if form in ("upper", "lower") else text


def _event_type(event_type: EventType | None, texts: Mapping[str, str]) -> str:
    assert event_type is not None, "the declaration of an events source always has one"
    if event_type.column is None:
        return literal(event_type.constant or "")
    text = texts[event_type.column]
    cases = "".join(f" WHEN {literal(value)} THEN {literal(name)}" for value, name in event_type.values.items())
    return f"CASE trim({text}){cases} ELSE {text} END" if cases else text


def _number(text: str) -> str:
    return f"try_cast({text} AS DECIMAL(18, 6))"


def _shortest(number: str) -> str:
    """Render a decimal without the zeros behind its last digit."""
    return f"rtrim(rtrim(CAST({number} AS VARCHAR), '0'), '.')"


def _line_total(price: str, quantity: str) -> str:
    """Multiply; what is no number stays as it landed, for core to name, and no quantity means one."""
    product = f"{_number(price)} * {_number(quantity)}"
    return f"CASE WHEN {quantity} IS NULL THEN {price} ELSE coalesce({_shortest(product)}, {price}) END"


def _sum(parts: list[str]) -> str:
    """Add; an empty part counts nothing, and the first part that is no number comes out as it landed."""
    bad = ", ".join(f"CASE WHEN {_number(part)} IS NULL THEN nullif(trim({part}), '') END" for part in parts)
    total = " + ".join(f"coalesce({_number(part)}, 0)" for part in parts)
    some = ", ".join(f"nullif(trim({part}), '')" for part in parts)
    return f"CASE WHEN coalesce({some}) IS NOT NULL THEN coalesce({bad}, {_shortest(total)}) END"
