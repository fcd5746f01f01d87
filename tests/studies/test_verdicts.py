"""The verdict on a difference and its interval."""

import pytest

from reports.claims import CHANCE, FAILS, HOLDS, LESS, LOSS
from studies.claim_list import claims
from studies.verdicts import UNKNOWN, verdict_of


@pytest.mark.parametrize(("difference", "interval", "at_least", "verdict"), [
    (0.02, (0.01, 0.03), 0, HOLDS),
    (0.02, (-0.01, 0.05), 0, CHANCE),
    (-0.02, (-0.05, 0.01), 0, CHANCE),
    (-0.02, (-0.03, -0.01), 0, FAILS),
    (0.06, (0.01, 0.11), 0.05, HOLDS),
    (0.04, (0.01, 0.11), 0.05, LESS),
    (0.04, (0.01, 0.045), 0.05, LESS),    # as much as 0.05 is excluded, and 0 is, too
    (-0.02, (-0.03, -0.01), 0.05, FAILS),
    (0.02, (-0.01, 0.04), 0.05, FAILS),   # as much as 0.05 is excluded
    (0.02, (-0.01, 0.06), 0.05, CHANCE),
    (-0.002, (-0.008, 0.004), -0.01, HOLDS),
    (-0.002, (-0.018, 0.014), -0.01, CHANCE),
    (-0.03, (-0.04, -0.02), -0.01, FAILS),
    (-0.023, (-0.046, -0.005), -0.01, LOSS),  # 0 is excluded, and as little as 0.01 is not
    (-0.008, (-0.015, -0.002), -0.01, LOSS),
    (-0.005, (-0.009, -0.001), -0.01, HOLDS),
    (0.02, None, 0, UNKNOWN),
    (float("nan"), (0, 1), 0, UNKNOWN),
])
def test_verdict_needs_the_difference_and_its_interval(difference, interval, at_least, verdict):
    assert verdict_of(difference, interval, at_least) == verdict


@pytest.mark.parametrize(("difference", "interval", "verdict"), [
    (0.006, (-0.003, 0.017), HOLDS),
    (0.0, (-0.01, 0.01), HOLDS),
    (0.02, (0.01, 0.03), HOLDS),
    (-0.002, (-0.008, 0.004), CHANCE),
    (-0.012, (-0.026, -0.001), FAILS),
    (0.001, (-0.009, -0.001), FAILS),
    (0.02, None, UNKNOWN),
])
def test_what_is_at_least_equal_has_no_margin(difference, interval, verdict):
    assert verdict_of(difference, interval, 0, equal=True) == verdict
    fine, = (claim for claim in claims() if claim.equal)
    assert (fine.title, fine.at_least) == ("Fine is at least equal to global", 0)
