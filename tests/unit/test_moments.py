"""Rules of how the numbers of a machine's windows are spread, and how far from that a window lies."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.machines.baseline import MEMORY
from pipelines.machines.moments import WITHIN, Moments, Scale, measure
from pipelines.signals.summary import scale
from tests.unit.moved import generic

rows = st.integers(3, 20).flatmap(
    lambda count: st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=count, max_size=count)
)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_windows_one_by_one_teach_what_they_teach_together(values: list[list[float]]) -> None:
    """Up to the memory, mean and scatter are those of all windows, however they came."""
    table = np.array(values)
    whole, found = Moments.of(table), Moments.of(table[:2])
    for row in table[2:]:
        found = found + row
    assert (found.count, found.weight) == (whole.count, whole.weight) == (len(table), len(table))
    np.testing.assert_allclose(found.mean, whole.mean, atol=1e-9)
    np.testing.assert_allclose(found.scatter, whole.scatter, atol=1e-8)
    np.testing.assert_allclose(whole.scatter, np.cov(table.T) * (len(table) - 1), atol=1e-9)
    np.testing.assert_array_equal(found.origin, table[:2].mean(axis=0))


def test_moments_forget_what_is_older_than_their_memory() -> None:
    """Beyond it the past fades: no more windows are counted, and the mean comes to stand where the machine is."""
    found = Moments.of(np.ones((20, 1)))
    for _ in range(4000):
        found = found + np.array([2.0])
    assert found.count == found.weight == MEMORY
    assert 1.99 < found.mean[0] < 2.0
    assert found.origin.tolist() == [1.0]
    assert found.scatter[0, 0] / found.weight < 0.02


def test_what_a_window_does_not_say_grows_no_steadier() -> None:
    """Windows that lack a number leave its mean and scatter as they were, however many they are; others are learned."""
    random = np.random.default_rng(1)
    both = random.normal(size=(40, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    found = first = Moments.of(both)
    for value in random.normal(size=3000):
        found = found + np.array([value, np.nan])
    assert found.mean[1] == first.mean[1]
    assert found.scatter[1, 1] / found.weight == pytest.approx(first.scatter[1, 1] / first.weight)
    assert found.scatter[0, 0] / found.weight == pytest.approx(1.0, abs=0.2)
    assert np.linalg.eigvalsh(found.scatter).min() > 0


def test_a_number_that_most_windows_lack_is_not_known() -> None:
    """More than half must show it; what a few lack is their mean."""
    table = np.array([[1.0, np.nan, 4.0], [3.0, 8.0, 6.0], [5.0, np.nan, np.nan], [7.0, 2.0, 8.0]])
    found = Moments.of(table)
    np.testing.assert_array_equal(found.mean, [4.0, np.nan, 6.0])
    assert found.scatter[2, 2] == 8.0
    assert (found.scatter[1] == 0).all()
    later = found + np.array([4.0, 5.0, 6.0])
    assert np.isnan(later.mean[1])


def test_moments_are_one_row_of_numbers() -> None:
    """Whatever their size, they come back as they were."""
    for size in (1, 4, 13):
        found = Moments.of(np.random.default_rng(size).normal(size=(9, size))).lent(np.ones((size, size)), 2.5)
        again = Moments.from_array(found.to_array())
        np.testing.assert_array_equal(again.to_array(), found.to_array())
        assert (again.count, again.weight, again.scatter.shape) == (9.0, 11.5, (size, size))


def made(mean: Sequence[float], deviations: Sequence[float], warm: tuple[int, ...] = ()) -> tuple[Moments, Scale]:
    """Return moments of very many windows, and a scale that adds nothing but what heat does."""
    centre, count = np.array(mean), 1e9
    found = Moments(count, count, centre, centre, np.diag(np.array(deviations) ** 2) * count)
    per_kelvin = np.where(np.isin(np.arange(len(mean)), warm), 0.0, 0.5)
    return found, Scale(np.zeros(len(mean)), np.full(len(mean), np.inf), warm, 3.0, per_kelvin)


def test_distance_is_in_standard_deviations_and_shares_add_up() -> None:
    """The mean square of distances where numbers do not move together; each number's part of it is its share."""
    moments, known = made([1.0, -2.0], [0.5, 2.0])
    gauge = measure(np.array([[2.0, -2.0], [2.0, 4.0], [1.0, -2.0]]), [moments] * 3, known)
    np.testing.assert_allclose(gauge.distance, np.array([2.0, 6.5, 0.0]))
    np.testing.assert_allclose(gauge.apart, np.array([[2.0, 0.0], [2.0, 3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(gauge.shares[:2], np.array([[1.0, 0.0], [4 / 13, 9 / 13]]))


def test_numbers_that_move_together_are_far_when_they_do_not() -> None:
    """Both up is as usual as either; one up and the other down is far, as far as each is near."""
    moments, known = made([0.0, 0.0], [1.0, 1.0])
    tied = Moments(moments.count, moments.weight, moments.origin, moments.mean, np.array([[1, 0.98], [0.98, 1]]) * 1e9)
    gauge = measure(np.array([[1.0, 1.0], [1.0, -1.0]]), [tied] * 2, known)
    assert gauge.distance[0] < 1
    assert gauge.distance[1] > 40
    np.testing.assert_allclose(np.abs(gauge.apart), 1)


def test_what_is_not_known_is_left_out_of_the_distance() -> None:
    """A number that the window or the machine lacks has no part in it; a window without any has no distance."""
    moments, known = made([1.0, np.nan, 0.0], [0.5, 0.0, 1.0])
    gauge = measure(np.array([[2.0, 7.0, np.nan], [np.nan, 7.0, np.nan]]), [moments] * 2, known)
    assert gauge.distance[0] == pytest.approx(4.0)
    assert np.isnan(gauge.distance[1])
    assert gauge.shares.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert np.isnan(gauge.apart).tolist() == [[False, True, True], [True, True, True]]
    assert measure(np.zeros((0, 3)), [], known).distance.shape == (0,)


def test_few_windows_are_believed_less() -> None:
    """A mean of six windows may be off by more than one of sixty: the same window is nearer to it."""
    known = made([0.0], [1.0])[1]
    few, many = (Moments(n, n, np.zeros(1), np.zeros(1), np.eye(1) * n) for n in (6.0, 60.0))
    gauge = measure(np.array([[3.0], [3.0]]), [few, many], known)
    np.testing.assert_allclose(gauge.distance, [9 / (1 + 1 / 6), 9 / (1 + 1 / 60)])


def test_heat_widens_all_that_is_no_temperature() -> None:
    """Beyond what the machine has shown, each kelvin allows the other numbers more; within it nothing is allowed."""
    moments, known = made([0.0, 40.0], [1.0, 2.0], warm=(1,))
    asked = np.array([[6.0, 40.0], [6.0, 40.0 + WITHIN * 2], [6.0, 50.0], [6.0, 30.0]])
    apart = measure(asked, [moments] * 4, known).apart
    heat = 10.0**2 - (WITHIN * 2) ** 2
    np.testing.assert_allclose(apart[:, 0], 6 / np.sqrt([1.0, 1.0, 1 + heat * 0.25, 1 + heat * 0.25]))
    np.testing.assert_allclose(apart[2:, 1], [10 / 2, -10 / np.sqrt(4 + 9)])


def test_the_scale_is_the_least_scatter_that_is_believed() -> None:
    """A machine that never varied is measured by what any healthy machine varies, and no more than by that."""
    moments, known = made([0.0], [0.0])
    floored = known._replace(floor=np.array([0.25]))
    assert measure(np.array([[1.0]]), [moments], floored).apart[0, 0] == pytest.approx(4.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_a_window_is_measured_alike_alone_and_among_others(seed: int, count: int) -> None:
    """Bit for bit: an answer does not depend on the windows that it was gathered with."""
    random = np.random.default_rng(seed)
    moments = [Moments.of(random.normal(size=(9, 13))) for _ in range(count)]
    asked = np.where(random.random((count, 13)) < 0.1, np.nan, random.normal(size=(count, 13)))
    together = measure(asked, moments, scale(generic()))
    for row in range(count):
        alone = measure(asked[row : row + 1], moments[row : row + 1], scale(generic()))
        np.testing.assert_array_equal(alone.distance[0], together.distance[row])
        np.testing.assert_array_equal(alone.shares[0], together.shares[row])
        np.testing.assert_array_equal(alone.apart[0], together.apart[row])
