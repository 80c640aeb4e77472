"""An attacker learns from a whole release what its event says, and no more. The long form is in tests/prove."""

import pytest

from tests.ml.privacy.cases import CASES
from tests.ml.privacy.checks import Attacked, check_distinguishing


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_an_attacker_learns_what_the_claim_says_and_no_more(case: type[Attacked]) -> None:
    check_distinguishing(case())
