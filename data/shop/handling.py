"""What a shop.yaml may say about values that are missing, unparsable or out of range: what the contract offers."""

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator

from data.contracts.schema import Column, Frozen, Occasion, Policy

_LEARNT = ("mean", "median", "mode", "average", "frequent", "quantile", "knn", "global", "group")
"""Words of imputations that learn across users."""


class Handling(Frozen):
    """What becomes of a value; in the YAML the policy's name alone, or `{constant: 1}`."""

    policy: Policy
    """One that the contract offers for the column."""
    constant: str | None = None
    """What the policy `constant` puts there; null: the contract's constant."""


def _handling(value: Any) -> Any:
    if value is None:  # YAML reads the word null as nothing
        return {"policy": "null"}
    if isinstance(value, dict) and set(value) == {"constant"}:
        return {"policy": "constant", "constant": str(value["constant"])}
    if isinstance(value, str):
        if any(word in value.lower() for word in _LEARNT):
            raise ValueError(
                f"'{value}' is learnt across users, but what stands in one person's row may depend on that person's "
                "rows and public constants alone, or it would tell of others (see ARCHITECTURE.md); use interpolate, "
                "which reads the same person's events, or a constant"
            )
        if value not in get_args(Policy):
            raise ValueError(f"'{value}' is no policy; use one of {', '.join(get_args(Policy))}")
        return {"policy": value}
    return value


Policed = Annotated[Handling | None, BeforeValidator(_handling)]


def require_offered(place: str, chosen: Handling, column: Column | None, occasion: Occasion) -> None:
    """Refuse a policy that the contract does not offer, and a constant that the column could not hold.

    Args:
        place: The field, as `columns.quantity.missing`.
        chosen: What the shop file says there.
        column: The contract's column, if it has one.
        occasion: What is wrong with the value.

    Raises:
        ValueError: It may not say that.
    """
    offered = column.repair.allowed(occasion) if column and column.repair else ()
    if chosen.policy not in offered:
        instead = f"use one of {', '.join(offered)}" if offered else "remove it"
        raise ValueError(f"{place}: '{chosen.policy}' is not offered here; {instead}")
    if chosen.policy == "constant" and column and column.type == "text" and not chosen.constant:
        raise ValueError(f"{place}: 'constant' needs a text; write {{constant: unknown}}")
    if chosen.constant is not None and column and column.type == "double":
        assert column.minimum is not None and column.maximum is not None, "the contract bounds its numbers"
        try:
            is_allowed = column.minimum <= float(chosen.constant) <= column.maximum
        except ValueError:
            is_allowed = False
        if not is_allowed:
            bounds = f"{column.minimum:g} to {column.maximum:g}"
            raise ValueError(f"{place}: '{chosen.constant}' is no constant for it; give a number from {bounds}")
