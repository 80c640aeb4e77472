"""When the daemon makes a table again, each policy with its reason. The one file that decides this."""

import dagster as dg

When = dg.AutomationCondition
RELEASES = dg.AssetSelection.tag("portrait/class", "release")


def on_new_data() -> dg.AutomationCondition:
    """Make a whole table again when the content of something it reads has changed and that passed its gate.

    - `changed`: a dependency that was found up to date keeps its data version and triggers nothing. Missing partitions
      do not hold a whole table back: a calendar has days that nobody has landed yet.
    - The change is remembered until the table was requested or made. Of a change and an older handling in one tick the
      change is kept (`since_last_handled` would drop it), unless the times say that the table was made after it.
    - `together`: what follows a requested table joins its run.
    - Nothing is requested while the table or a dependency is being made. The gate is inside each asset, before it
      publishes; the condition on checks is a second belt, and within one run the run itself sees to it.
    - Nothing that lands makes a release again: one that a refused batch kept from running stands as it passed, and
      holds back only if its own gate failed or it was never made.

    Returns:
        The condition, for a table without partitions.
    """
    changed = When.any_deps_match(When.data_version_changed())
    handled = When.newly_requested() | When.newly_updated() | When.initial_evaluation()
    older = When.any_deps_match(When.newly_updated()).since(When.newly_updated())
    unhandled = changed.since((handled & ~changed) | ~older).with_label("a dependency changed after the table was made")
    together = When.any_deps_match(When.will_be_requested())
    passed = When.all_checks_match(When.check_passed(), blocking_only=True)
    stands = ~When.missing() & ~When.any_checks_match(When.check_failed(), blocking_only=True)
    gates = (
        When.all_deps_match(When.will_be_requested() | passed).ignore(RELEASES)
        & When.all_deps_match(stands).allow(RELEASES)
    ).with_label("the gates of all dependencies passed")
    return (unhandled | together) & ~When.any_deps_in_progress() & ~When.in_progress() & gates
