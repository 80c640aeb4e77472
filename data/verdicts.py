"""What a gate finds: measures of a batch, one verdict per expectation, and the words that both are told in."""

from collections.abc import Mapping, Sequence

from data.contracts.schema import Frozen, Severity, Table

UNLIMITED_DAYS = 1e6
"""Stands for no limit on the age of data: three thousand years."""


class Measure(Frozen):
    """One fact about a batch and the interval it must lie in."""

    name: str
    """Name of the check."""
    value: float
    """Observed value."""
    minimum: float | None = None
    """Smallest allowed value, inclusive."""
    maximum: float | None = None
    """Largest allowed value, inclusive."""
    seen: Mapping[str, float | str] = {}
    """What else was observed; never a value of a person."""


class Verdict(Frozen):
    """Outcome of one expectation."""

    check: str
    """Name of the expectation, unique in its table."""
    passed: bool
    """Whether the data met it."""
    broke: str | None
    """Why the check itself could not run; None if it ran. A check that broke has not passed."""
    observed: Mapping[str, float | str]
    """Counts and aggregates; never a value of a person."""
    severity: Severity = "critical"
    """Whether it blocks if it did not pass."""

    @property
    def blocks(self) -> bool:
        """Whether it refuses the batch."""
        return not self.passed and self.severity == "critical"


class GateFailed(Exception):
    """A batch was refused; nothing of it was published."""


def failures(contract: Table, verdicts: Sequence[Verdict]) -> str | None:
    """One sentence about all verdicts that block, or None."""
    said = "; ".join(said_of(contract, v) for v in verdicts if v.blocks)
    return f"{contract.key}: the batch is refused and nothing of it is published: {said}" if said else None


def said_of(contract: Table, verdict: Verdict) -> str:
    """What an expectation found, in words that tell bad data from a check that could not run."""
    seen = verdict.observed
    if verdict.broke:
        return f"{verdict.check} broke and says nothing about the data ({verdict.broke})"
    if verdict.check == "quarantine_share":
        share, limit = float(seen.get("observed_value", 0)), contract.max_quarantine_share or 0
        remedy = "" if verdict.passed else "; correct the rows, or their mapping in the shop file"
        return f"quarantine_share is {100 * share:.1f} percent, at most {100 * limit:g} may be set aside{remedy}"
    if "not_judged" in seen:
        return f"{verdict.check} was not judged: {seen['not_judged']}"
    if "first_days" in seen:
        return (
            f"{verdict.check} found {seen['observed_value']:g} days unlike the weeks before them ({seen['first_days']})"
        )
    if "unexpected_count" in seen:
        return f"{verdict.check} found {seen['unexpected_count']:g} of {seen.get('element_count', 0):g} rows at fault"
    return f"{verdict.check} found {', '.join(f'{v}' for v in seen.values()) or 'nothing'}"


def worst(before: Sequence[Verdict], now: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts of several batches of one run: of each check the one that did not pass, else the latest."""
    earlier = {v.check: v for v in before if not v.passed}
    return [earlier.get(v.check, v) if v.passed else v for v in now]
