"""The periods that releases learn from and are measured on."""

from data.history import WINDOW_DAYS
from ml.privacy.plan import PlanConstants


def test_the_windows_are_as_long_as_the_privacy_plan_says() -> None:
    assert PlanConstants().window_days == WINDOW_DAYS
