"""When the daemon makes a table again, each policy with its reason. The one file that decides this."""

import dagster as dg


def on_new_data() -> dg.AutomationCondition:
    """Make a whole table again when the content of something it reads has changed and that passed its gate.

    - `changed`: a dependency that was found up to date keeps its data version and triggers nothing. Missing partitions
      do not hold a whole table back: a calendar has days that nobody has landed yet.
    - The change is remembered until the table was requested or made. A change that falls into the same tick as the
      handling of an earlier one is not forgotten: `since_last_handled` alone would let the handling win.
    - `newer`: and only if the dependency was materialized after the table, by their times, so that one run that makes
      both asks for nothing more.
    - `together`: what follows a requested table joins its run.
    - Nothing is requested while the table or a dependency is being made. The gate is inside each asset, before it
      publishes; the condition on checks is a second belt. A dependency in the same run has its checks there.
    """
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    handled = (
        dg.AutomationCondition.newly_requested()
        | dg.AutomationCondition.newly_updated()
        | dg.AutomationCondition.initial_evaluation()
    )
    unhandled = changed.since(handled & ~changed).with_label("content of a dependency changed")
    newer = (
        dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
        .since(dg.AutomationCondition.newly_updated())
        .with_label("a dependency is newer")
    )
    together = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    passed = dg.AutomationCondition.all_checks_match(dg.AutomationCondition.check_passed(), blocking_only=True)
    return (
        ((unhandled & newer) | together)
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
        & dg.AutomationCondition.all_deps_match(dg.AutomationCondition.will_be_requested() | passed).with_label(
            "gates of all dependencies passed"
        )
    )
