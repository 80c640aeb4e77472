"""When the daemon makes a table again, each policy with its reason. The one file that decides this."""

import dagster as dg


def on_new_data() -> dg.AutomationCondition:
    """Make a whole table again when the content of something it reads has changed and that passed its gate.

    A dependency that was found up to date keeps its data version and triggers nothing. Missing partitions do not hold
    a whole table back: a calendar has days that nobody has landed yet. The gate is inside each asset, before it
    publishes; the condition on checks is a second belt.
    """
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    return (
        (changed | dg.AutomationCondition.newly_missing())
        .since_last_handled()
        .with_label("content of a dependency changed")
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    )
