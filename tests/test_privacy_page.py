"""What docs/privacy.md says of constants and exceptions is what the code does."""

import re

from data.evaluation_report import EXCEPTIONS
from data.settings import REPOSITORY
from ml.privacy.plan import PlanConstants

PAGE = (REPOSITORY / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_every_constant_of_the_plan_stands_on_the_page_with_its_value():
    said = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, re.MULTILINE))
    assert said == {name: str(value) for name, value in PlanConstants().model_dump().items()}


def test_every_exception_stands_on_the_page():
    assert all(f"{name}:" in PAGE for name in EXCEPTIONS)
