"""Rules of the simulators: the unit in steady state, and machines drawn widely."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.datasets.simulator import (
    CHANNELS,
    CONDITIONS,
    HEALTHY,
    LEVELS,
    SENSOR_FAULTS,
    Machine,
    draw_machine,
    draw_unit,
    simulate,
    simulate_recordings,
    steady,
)
from pipelines.datasets.simulator.faults import damage_of, draw_signature, parts_of
from pipelines.datasets.simulator.load import Load
from pipelines.datasets.simulator.plant import Plant, State, draw_plant, state_of
from pipelines.datasets.simulator.timeline import FEWEST, MET, MOST, mean_load, timeline_of
from pipelines.machines.family import read_family
from pipelines.signals.windows import Floats

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


# --- the unit in steady state


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


# --- machines drawn widely


def fixed_plant(seed: int) -> Plant:
    """Return a machine with a fixed pump and no thermostat, whose relief valve never opens."""
    return replace(draw_plant(np.random.default_rng(seed)), reserve=0.0, relief=9.0, thermostat_k=0.0)


def rated(plant: Plant, fault: str, size: float) -> State:
    """Return what a plant does at rated load and rated temperature with a fault."""
    one = np.ones((1, 1))
    load = Load(one, one, np.zeros((1, 1), dtype=np.int64), one > 0)
    damage = damage_of(parts_of(fault, draw_signature(np.random.default_rng(1))), np.full((1, 1), size))
    return state_of(plant, load, damage, np.full((1, 1), plant.temperature_c))


@pytest.mark.parametrize("seed", range(4))
def test_a_new_machine_of_any_size_runs_at_its_rated_load(seed: int) -> None:
    """The equations of a machine without a fault give the levels that it was drawn at, whatever its pump."""
    plant = draw_plant(np.random.default_rng(seed))
    state = rated(plant, HEALTHY, 0.0)
    assert state.pressure_bar[0, 0] == pytest.approx(plant.pressure_bar)
    assert state.flow_l_min[0, 0] == pytest.approx(plant.flow_l_min)
    assert state.vibration_mm_s[0, 0] == pytest.approx(plant.vibration_mm_s)


def test_a_size_is_the_share_of_the_function_that_is_lost() -> None:
    """Wear of 0.3 leaks three tenths of the rated flow at rated pressure; a leak of 0.3 takes as much of what comes."""
    plant = replace(fixed_plant(2), held=1.0, yielding=0.0)  # the load holds its pressure, so that flows can be told
    assert rated(plant, "pump_wear", 0.3).flow_l_min[0, 0] == pytest.approx(0.7 * plant.flow_l_min)
    assert rated(plant, "external_leakage", 0.3).flow_l_min[0, 0] == pytest.approx(0.7 * plant.flow_l_min)
    stiff = replace(plant, efficiency=1.0)  # no gap, so that pressure does not cost flow
    clogged = rated(stiff, "clogged_filter", 0.3).pressure_bar[0, 0]
    assert clogged == pytest.approx(plant.pressure_bar * (1 + 0.3 * 0.6), rel=0.01)


def test_a_compensated_pump_hides_wear_until_its_stroke_is_full() -> None:
    """Flow and pressure stay while the pump has reserve, and fall once it has none; heat tells of the wear."""
    plant = replace(fixed_plant(3), reserve=1.4)
    new, worn, done = (rated(plant, "pump_wear", size) for size in (0.0, 0.2, 0.9))
    assert worn.flow_l_min[0, 0] == pytest.approx(new.flow_l_min[0, 0])
    assert worn.heat_kw[0, 0] > new.heat_kw[0, 0]
    assert done.flow_l_min[0, 0] < 0.9 * new.flow_l_min[0, 0]
    assert done.pressure_bar[0, 0] < new.pressure_bar[0, 0]


def steady_machine(seed: int) -> Machine:
    """Return a machine that holds one load in air that holds its temperature."""
    machine = draw_machine(np.random.default_rng(seed), FAMILY)
    duty = replace(machine.duty, pressures=np.ones(1), flows=np.ones(1), points=np.zeros(1, dtype=np.int64))
    duty = replace(duty, ends_s=np.array([3600.0]), begin_s=0.0, cycle=None, work_h=(0.0, 24.0))
    air = replace(machine.air, swing_c=0.0, weather_c=0.0)
    calm = {name: replace(sensor, white=0.0, coloured=0.0, wander=0.0) for name, sensor in machine.sensors.items()}
    plant = replace(machine.plant, reserve=0.0, thermostat_k=0.0, held=0.8)  # the load holds most of its pressure
    return replace(machine, plant=plant, duty=duty, air=air, sensors=calm, rate_hz=1.0, window_samples=20)


def change(machine: Machine, fault: str, size: float) -> dict[str, float]:
    """Return by channel how far a fault moves the mean of a recording."""
    sound, faulty = machine.record(20, 0.0), machine.record(20, 0.0, fault, size)
    return {name: float(faulty[name].mean() - sound[name].mean()) for name in sound}


@pytest.mark.parametrize("fault", PHYSICS)
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_of_any_machine_move_what_physics_says(fault: str, seed: int) -> None:
    """What a fault does to a machine of any size has the directions that it has in the steady unit."""
    moved = change(steady_machine(seed), fault, 0.4)
    for name, sign in zip(("pressure", "temperature", "flow", "vibration"), PHYSICS[fault], strict=True):
        assert moved[name] * sign >= 0, name
    assert any(moved.values())


def test_the_same_call_gives_the_same_samples() -> None:
    """A recording is repeated bit for bit; another seed changes its noise, another time its state."""
    machine = draw_machine(np.random.default_rng(5), FAMILY)
    first, again = (machine.record(60, 100.0, "pump_wear", 0.3, 1) for _ in range(2))
    assert all((first[name] == again[name]).all() for name in CHANNELS)
    assert any((first[name] != machine.record(60, 100.0, "pump_wear", 0.3, 2)[name]).any() for name in CHANNELS)


def test_oil_warms_with_its_time_constant() -> None:
    """After a start with cold oil, one time constant brings two thirds of the way to where it ends."""
    machine = steady_machine(6)
    plant = replace(machine.plant, warming_s=1200.0, thickening=0.0, efficiency=0.999)
    duty = replace(machine.duty, clock_h=8.0, work_h=(8.0, 24.0))
    oil = replace(machine, plant=plant, duty=duty, rate_hz=0.1).record(8 * 1200)["temperature"]
    done = (oil[120] - oil[0]) / (oil[-1] - oil[0])
    assert oil[-1] > oil[0] + 3
    assert 0.5 < done < 0.75


def test_a_fault_that_grows_ends_where_it_was_sent() -> None:
    """A size that is a function of time is followed through the recording."""
    machine = steady_machine(7)

    def growing(time: Floats) -> Floats:
        return np.clip(time / 3600, 0, 0.8)

    flow = machine.record(3600, 0.0, "external_leakage", growing)["flow"]
    assert flow[:60].mean() > 1.5 * flow[-60:].mean()


def test_sensor_faults_of_any_machine_change_one_channel_alone() -> None:
    """A broken sensor lies about its own channel, and about the same one all the time."""
    machine = steady_machine(8)
    sound = machine.record(60)
    for fault in SENSOR_FAULTS:
        faulty = machine.record(60, 0.0, fault, 0.8)
        changed = [name for name in CHANNELS if (sound[name] != faulty[name]).any()]
        assert len(changed) <= 1, fault
        assert changed or fault == "sensor_stuck"  # without noise, a stuck sensor shows what it should


def test_test_windows_come_later_and_under_loads_that_commissioning_met() -> None:
    """A timeline begins with 6 to 60 windows of commissioning; nine in ten later ones are of loads seen there."""
    random = np.random.default_rng(9)
    met = []
    for _ in range(12):
        machine = draw_machine(random, FAMILY)
        found = timeline_of(machine, ["pump_wear", "sensor_drift"], 10, random)
        assert FEWEST <= found.commissioning <= MOST
        assert len(found.windows) == found.commissioning + 10
        assert len({window.samples for window in found.windows}) == 1
        first = mean_load(machine, found.begin[: found.commissioning])
        later = mean_load(machine, found.begin[found.commissioning :])
        met.append(np.abs(later[:, None] - first[None]).max(axis=2).min(axis=1) <= 2 * MET)
    assert np.mean(met) > 0.9


def test_recordings_are_plausible_and_balanced() -> None:
    """Every sample lies in the family's range; half or more of the windows are healthy; groups are machines."""
    found = simulate_recordings(FAMILY, 12, 20, 1)
    for window in found.windows:
        for name, values in window.values.items():
            assert FAMILY.channels[name].low <= values.min() <= values.max() <= FAMILY.channels[name].high
    assert 0.45 < (found.labels["fault"] == "healthy").mean() < 0.7
    assert len(np.unique(found.groups)) == 12
    assert simulate_recordings(FAMILY, 12, 20, 1).fingerprint == found.fingerprint
    assert all(baseline is not None for baseline in found.baselines)


def test_machines_are_drawn_over_two_decades() -> None:
    """Pressure, flow and sampling of the machines differ by a factor of a hundred; some never repeat a load."""
    random = np.random.default_rng(2)
    machines = [draw_machine(random, FAMILY) for _ in range(120)]
    for values in (
        [machine.plant.pressure_bar for machine in machines],
        [machine.plant.flow_l_min for machine in machines],
        [machine.rate_hz for machine in machines],
    ):
        assert max(values) > 60 * min(values)
    assert 0.2 < np.mean([machine.plant.reserve > 0 for machine in machines]) < 0.5
    assert 0.2 < np.mean([machine.duty.cycle is not None for machine in machines]) < 0.6
