"""Rules of how the loads of a machine are found in its windows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.machines.operating_points import GAP, LEAST_SHARE, find_points, nearest


def test_loads_are_found_the_most_frequent_first() -> None:
    """Two levels further apart than one load varies are two loads, whatever order the windows came in."""
    levels = np.log(np.array([[100.0, 20], [30, 20], [104, 20], [31, 20], [96, 20], [101, 21], [29, 20]]))
    assert [group.tolist() for group in find_points(levels)] == [[0, 2, 4, 5], [1, 3, 6]]
    assert [group.tolist() for group in find_points(levels[::-1])] == [[1, 2, 4, 6], [0, 3, 5]]


def test_a_load_that_varies_without_steps_is_one() -> None:
    """Neighbours that lead from one end to the other make one load; a gap between them makes two."""
    ramp = np.arange(12.0)[:, None] * 0.9 * GAP
    assert [len(group) for group in find_points(ramp)] == [12]
    torn = ramp + np.where(np.arange(12) < 7, 0.0, 0.2 * GAP)[:, None]
    assert [len(group) for group in find_points(torn)] == [7, 5]


def test_a_load_seldom_seen_is_left_to_people() -> None:
    """Fewer than three windows, or fewer than 12 %, are no operating point; where none is, all windows are one."""
    twenty, forty = np.zeros((20, 1)), np.zeros((40, 1))
    twenty[:2], forty[: int(LEAST_SHARE * 40)] = 1.0, 1.0
    assert [len(group) for group in find_points(twenty)] == [18]
    assert [len(group) for group in find_points(forty)] == [36]
    twenty[2], forty[4] = 1.0, 1.0
    assert [len(group) for group in find_points(twenty)] == [17, 3]
    assert [len(group) for group in find_points(forty)] == [35, 5]
    assert [len(group) for group in find_points(np.arange(7.0)[:, None])] == [7]


def test_what_tells_no_load_joins_none() -> None:
    """A window without pressure and flow is no bridge between two loads; where too few have them all are one."""
    levels = np.array([[0.0, 0], [1, 1], [0, 0], [1, 1], [0, 0], [1, 1], [np.nan, np.nan]])
    assert [group.tolist() for group in find_points(levels)] == [[0, 2, 4], [1, 3, 5]]
    assert [group.tolist() for group in find_points(levels[:6] * [1, np.nan])] == [[0, 2, 4], [1, 3, 5]]
    seldom = np.full((6, 2), np.nan)
    seldom[0] = 0.0
    for nothing in (np.full((6, 2), np.nan), np.zeros((6, 0)), seldom):
        assert [group.tolist() for group in find_points(nothing)] == [list(range(6))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.8, 1.0, 2.0]), min_size=6, max_size=20), st.randoms())
def test_loads_do_not_depend_on_the_order_of_windows(levels: list[float], random: object) -> None:
    """The same windows in any order are the same loads."""
    order = list(range(len(levels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    at = np.array(levels)
    one = [sorted(at[group]) for group in find_points(at[:, None])]
    other = [sorted(at[order][group]) for group in find_points(at[order][:, None])]
    assert sorted(one) == sorted(other)
    assert [len(group) for group in one] == [len(group) for group in other]


def test_the_nearest_point_is_the_one_that_knows_the_window() -> None:
    """A point that cannot measure a window is not near it; where none can the first stands for all."""
    nan = np.nan
    assert nearest([np.array([2.0, nan, nan, 1.0]), np.array([1.0, 9.0, nan, 1.0])]).tolist() == [1, 1, 0, 0]
