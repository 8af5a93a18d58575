"""Rules of the simulator."""

import numpy as np
import pytest

from pipelines.datasets.simulator import (
    CONDITIONS,
    LEVELS,
    SENSOR_FAULTS,
    draw_unit,
    simulate,
    simulate_recordings,
    steady,
)
from pipelines.machines.family import read_family

FAMILY = read_family("generic")
# What each fault does to pressure, temperature, flow and vibration: -1 falls, 1 rises, 0 is not asked.
PHYSICS = {
    "pump_wear": (-1, 1, -1, 1),
    "internal_leakage": (-1, 0, 0, 0),
    "external_leakage": (-1, 0, -1, 0),
    "cooler_fouling": (0, 1, -1, 0),
    "cavitation": (0, 0, -1, 1),
    "clogged_filter": (1, 1, -1, 0),
    "air_in_oil": (0, 0, -1, 1),
}


def test_every_fault_of_the_family_can_be_simulated() -> None:
    """The simulator knows exactly the classes of the family's head."""
    assert {*CONDITIONS, *SENSOR_FAULTS} == set(FAMILY.heads["fault"].classes)


@pytest.mark.parametrize("fault", PHYSICS)
def test_faults_move_what_physics_says(fault: str) -> None:
    """Each fault moves pressure, temperature, flow and vibration in its own direction, further when more severe."""
    unit = draw_unit(np.random.default_rng(3), LEVELS)
    states = [steady(unit, CONDITIONS[fault](severity)) for severity in (0.3, 0.6, 1.0)]
    normal = steady(unit, CONDITIONS["healthy"](0.0))
    names = ("pressure_bar", "temperature_c", "flow_l_min", "vibration_mm_s")
    for name, sign in zip(names, PHYSICS[fault], strict=True):
        path = [getattr(state, name) * sign for state in (normal, *states)]
        assert path == sorted(path)
        assert not sign or path[-1] > path[0]


def test_a_healthy_machine_stays_at_its_levels() -> None:
    """The balance of a new machine is the operating point it was drawn at."""
    unit = draw_unit(np.random.default_rng(4), LEVELS)
    state = steady(unit, CONDITIONS["healthy"](0.0))
    assert state.pressure_bar == pytest.approx(LEVELS["pressure"], rel=1e-3)
    assert state.flow_l_min == pytest.approx(LEVELS["flow"], rel=1e-3)
    assert state.temperature_c == pytest.approx(LEVELS["temperature"], abs=0.1)


def test_the_same_seed_gives_the_same_window() -> None:
    """A seed repeats a window bit for bit, and another seed does not."""
    first, again, other = (simulate("cavitation", 0.5, 20, seed) for seed in (5, 5, 6))
    assert all((first.values[name] == again.values[name]).all() for name in first.values)
    assert any((first.values[name] != other.values[name]).any() for name in first.values)


def test_sensor_faults_change_one_channel_alone() -> None:
    """A broken sensor lies about its own channel; the machine itself stays healthy."""
    for fault in SENSOR_FAULTS:
        broken = simulate(fault, 0.8, 30, 8)
        sound = simulate("healthy", 0.0, 30, 8)
        changed = [name for name in sound.values if (sound.values[name] != broken.values[name]).any()]
        assert len(changed) == 1, fault


def test_recordings_are_plausible_and_balanced() -> None:
    """Every sample lies in the family's range; half of the windows are healthy; groups are machines."""
    found = simulate_recordings(FAMILY, 12, 20, 1)
    for window in found.windows:
        for name, values in window.values.items():
            assert FAMILY.channels[name].low <= values.min() <= values.max() <= FAMILY.channels[name].high
    assert 0.35 < (found.labels["fault"] == "healthy").mean() < 0.65
    assert len(np.unique(found.groups)) == 12
    assert simulate_recordings(FAMILY, 12, 20, 1).fingerprint == found.fingerprint
    assert any(baseline is None for baseline in found.baselines)
    assert any(baseline is not None for baseline in found.baselines)
