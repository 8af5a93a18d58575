"""Rules of what a system's baseline learns, forgets and reports."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.machines.baseline import MEMORY, SETTLED, Baseline, drifts, learn
from pipelines.signals.windows import Floats


def taught(levels: Floats) -> Baseline:
    first, *rest = (learn(np.array([level])) for level in levels)
    return sum(rest, first)


numbers = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=60)


@given(numbers, st.randoms(use_true_random=False))
def test_changes_merge_in_any_order(levels: list[float], random: object) -> None:
    """Up to the memory, whatever order concurrent windows are merged in, and in whatever lumps, nothing is lost."""
    shuffled = list(levels)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    cuts = [0, *sorted(random.sample(range(1, len(levels)), 2)), len(levels)]  # type: ignore[attr-defined]
    lumps = [taught(np.array(shuffled[first:last])) for first, last in pairwise(cuts)]
    one, other = taught(np.array(levels)), sum(lumps[1:], lumps[0])
    assert one.count == other.count == len(levels)
    np.testing.assert_allclose(one.total, other.total, atol=1e-6)
    np.testing.assert_allclose(one.squares, other.squares, atol=1e-3)


def test_memory_is_bounded_and_follows() -> None:
    """Beyond its memory a baseline fades: it counts no more windows, and comes to stand where the machine now is."""
    moved = taught(np.concatenate([np.full(1000, 10.0), np.full(4000, 20.0)]))
    assert moved.count == MEMORY
    assert 19.9 < moved.total / moved.count < 20


def test_drift_is_reported_against_the_first_level() -> None:
    """A level that has moved by more than its scatter is a drift from where it first settled; noise is none."""
    noise = np.random.default_rng(1).normal(0, 0.1, 5000)
    steady = taught(8 + noise)
    assert drifts(steady, {"flow": 0}) == {}
    slow = taught(8 + noise - np.linspace(0, 3, 5000))
    (first, now) = drifts(slow, {"flow": 0})["flow"]
    assert abs(first - 8) < 0.2
    assert now < 5.5
    assert drifts(taught(8 + noise[: int(SETTLED) - 1]), {"flow": 0}) == {}
    for level in (51.9967, 0.1, 1e-3):  # sums of what never varies differ in their last digits alone
        assert drifts(taught(np.full(200, level)), {"flow": 0}) == {}


def test_a_missing_channel_teaches_nothing() -> None:
    """A feature that a window lacks is not counted."""
    both = learn(np.array([1.0, np.nan])) + learn(np.array([3.0, 5.0]))
    assert both.count.tolist() == [2, 1]
    assert both.total.tolist() == [4, 5]
