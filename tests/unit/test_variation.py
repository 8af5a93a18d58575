"""Rules of machines that vary by nature: what is far for a steady one is near for them."""

import numpy as np
import pytest

from pipelines.machines.commissioning import WARMING, Normal, commission
from pipelines.signals.reading import STEADY_SPREADS, make_feature_table
from pipelines.signals.windows import Floats, Window
from tests.unit.moved import LEVELS, generic, samples


def windows(factors: Floats, warmer: Floats | None = None) -> list[Window]:
    """Return windows with so many times the flow each, and so many kelvin warmer."""
    found = []
    for seed, factor in enumerate(factors.tolist()):
        values = dict(samples(seed))
        values["flow"] = values["flow"] * factor
        values["temperature"] = values["temperature"] + (0.0 if warmer is None else warmer[seed])
        found.append(Window(values, 1.0))
    return found


def normal_of(learned: list[Window]) -> Normal:
    return commission(make_feature_table(learned, [None] * len(learned), generic()).raw, generic())


def read(window: Window, normal: Normal, column: str) -> float:
    table = make_feature_table([window], [normal], generic())
    return float(table.read[0, table.columns.index(column)])


STEADY = normal_of(windows(np.ones(20)))
VARYING = normal_of(windows(np.exp(np.linspace(-0.5, 0.5, 20))))


def test_levels_of_a_varying_machine_are_read_in_its_own_variation() -> None:
    """Half the flow is half to a steady machine, and little to one whose flow halves and doubles by nature."""
    (half,) = windows(np.array([0.5]))
    assert read(half, STEADY, "flow_mean") == pytest.approx(0.5, abs=0.02)
    assert read(half, VARYING, "flow_mean") > 0.9
    (same,) = windows(np.array([1.0]))
    for normal in (STEADY, VARYING):
        assert read(same, normal, "flow_mean") == pytest.approx(1.0, abs=0.05)


def test_other_channels_of_it_are_read_as_before() -> None:
    """A machine whose flow varies is not thereby forgiven its pressure, and two spreads are no variation."""
    (window,) = windows(np.array([1.0]))
    window.values["pressure"][:] *= 0.8
    assert read(window, VARYING, "pressure_mean") == pytest.approx(read(window, STEADY, "pressure_mean"), abs=1e-3)
    spread = generic().channels["flow"].spread / generic().channels["flow"].typical
    quiet = normal_of(windows(1 + spread * STEADY_SPREADS * np.resize([0.5, -0.5], 20)))
    (half,) = windows(np.array([0.5]))
    assert read(half, quiet, "flow_mean") == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("direction", [1, -1])
def test_oil_that_warms_while_it_is_learned_may_go_on(direction: int) -> None:
    """Three kelvin of steady rise in the commissioning leave ten more near; without it they are far."""
    course = direction * np.linspace(0, 3, 20)
    warming, steady = normal_of(windows(np.ones(20), course)), STEADY
    assert warming.points[0].moments is not None
    assert warming.points[0].moments.warming == pytest.approx(WARMING * 3, rel=0.1)
    (later,) = windows(np.ones(1), np.array([13.0]))
    near, far = (make_feature_table([later], [normal], generic()).distance[0] for normal in (warming, steady))
    assert near < 2
    assert far > 5


def test_heat_that_comes_and_goes_is_no_warming() -> None:
    """A cooler that switches, or one warm window, promises nothing."""
    for course in (np.resize([0.0, 3.0], 20), np.eye(1, 20, 7)[0] * 3):
        moments = normal_of(windows(np.ones(20), course)).points[0].moments
        assert moments is not None
        assert moments.warming == 0


def test_warming_is_kept_to_the_bit() -> None:
    """What the store keeps is what was learned."""
    normal = normal_of(windows(np.ones(20), np.linspace(0, 3, 20)))
    again = Normal.from_bytes(normal.to_bytes())
    assert again.to_bytes() == normal.to_bytes()
    assert again.points[0].moments is not None
    assert again.points[0].moments.warming == normal.points[0].moments.warming > 0  # type: ignore[union-attr]


def test_levels_are_those_of_the_samples() -> None:
    """The windows above are what they are taken for."""
    assert np.mean(samples(0)["flow"]) == pytest.approx(LEVELS["flow"], rel=0.01)
