"""Ten thousand releases with and without a worst-case user in a hundred: each tells an attacker no more than it claims.

Every release function runs as a whole, bounding to noise to post-processing. The table of bounds is the evidence.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from data.settings import REPOSITORY
from tests.ml.privacy.cases import LONG_CASES
from tests.ml.privacy.checks import check_distinguishing

RUNS = int(os.environ.get("PORTRAIT_DISTINGUISHING_RUNS", "10000"))
CONFIDENCE = 4.4


def attacked(number: int) -> tuple[str, float, float, float]:
    """Name of the case, what it claims, what was found, seconds."""
    import torch

    torch.set_num_threads(1)
    started, case = time.monotonic(), LONG_CASES[number]()
    found = check_distinguishing(case, runs=RUNS, confidence=CONFIDENCE)
    return type(case).__name__, case.claim, found, time.monotonic() - started


@pytest.mark.prove
def test_no_release_tells_more_or_much_less_than_it_claims() -> None:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(attacked, range(len(LONG_CASES))))
    assert len(write_evidence(found).read_text(encoding="utf-8").splitlines()) > len(LONG_CASES)


def write_evidence(found: list[tuple[str, float, float, float]]) -> Path:
    day = datetime.now(UTC).date().isoformat()
    head = f"""\
# What an attacker learns from a release, {day}

`make prove`, file `tests/prove/test_distinguishing.py`: each release function as a whole, {RUNS:,} times with and
{RUNS:,} times without a worst-case user, among 99 others whom the attacker knows. He guesses by a fixed rule; each of
his two error rates has a one-sided Clopper-Pearson bound at {CONFIDENCE:g} standard deviations, and the two bounds give
the lower bound in Gaussian differential privacy (Nasr et al., USENIX Security 2023). It must lie between 0.7 and 1.0 of
what the event of the release claims. `SampledRanker` is held to its advantage instead: the delta of its event at
epsilon 0. `Quantile` is not the worst that an exponential mechanism allows, so it cannot reach 1.

| release | claimed | lower bound | ratio | seconds |
|---|---:|---:|---:|---:|
"""
    rows = [f"| {n} | {claim:.3f} | {low:.3f} | {low / claim:.2f} | {s:.0f} |\n" for n, claim, low, s in found]
    path = REPOSITORY / "docs" / "evidence" / f"distinguishing-{day}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(rows), encoding="utf-8")
    return path
