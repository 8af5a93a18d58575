"""Rules of the benchmark's own machines: energy goes the right way, and a fault moves the channels that it must."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.machines import physics_b
from benchmarks.machines.judging import Judge, Verdict
from benchmarks.machines.machine import CHANNELS, FAULTS, HEALTHY, Machine, is_working, sizes
from benchmarks.machines.physics_b_circuit import REFERENCE_C, Flows
from benchmarks.machines.physics_b_loads import Demand, hashed, wander
from benchmarks.machines.physics_b_machine import MachineB
from benchmarks.machines.recorded import summed
from benchmarks.machines.simulated import Outcome, figures
from benchmarks.machines.telling import told
from benchmarks.machines.trials import Trial
from pipelines.machines.family import read_family

HOUR_S = 3600.0
DRAWN = [physics_b.draw(np.random.default_rng(seed)) for seed in range(24)]
STEADY = next(m for m in DRAWN if m.circuit.pump == "fixed" and m.schedule.kind == "constant" and not m.schedule.night)
HELD = next(m for m in DRAWN if m.circuit.pump == "compensated")


def state(machine: MachineB, fault: str = HEALTHY, size: float = 0.0, oil_c: float = REFERENCE_C) -> Flows:
    """Return the circuit at its working point."""
    one = np.ones(1)
    demand = Demand(one, one, np.ones(1, dtype=np.bool_))
    return machine.circuit.state(demand, np.full(1, oil_c), sizes(fault, size, one))


def levels(machine: MachineB, fault: str = HEALTHY, size: float = 0.0, begin_s: float = HOUR_S) -> dict[str, float]:
    """Return the mean of each channel over some minutes."""
    values = machine.record(max(300.0, 10 / machine.rate_hz), begin_s, fault, size)
    return {name: float(part.mean()) for name, part in values.items()}


@pytest.mark.parametrize("machine", DRAWN, ids=lambda machine: machine.kind)
def test_a_machine_is_what_the_family_takes(machine: MachineB) -> None:
    """Samples have the wanted number, are finite and lie within the family's plausible range, with every fault."""
    assert isinstance(machine, Machine)
    assert 5 <= machine.window_samples <= 120
    channels = read_family("generic").channels
    for fault in (HEALTHY, *machine.faults):
        values = machine.record(machine.window_samples / machine.rate_hz, 100.0, fault, 0.3, seed=3)
        assert tuple(values) == CHANNELS
        for name, part in values.items():
            assert part.shape == (machine.window_samples,)
            assert (part >= channels[name].low).all()
            assert (part <= channels[name].high).all()


def test_the_same_call_gives_the_same_samples() -> None:
    """A machine is drawn once; what it is asked for does not depend on what it was asked for before."""
    one, other = (physics_b.draw(np.random.default_rng(5)) for _ in range(2))
    other.record(60.0, 9 * HOUR_S, "pump_wear", 0.5)
    first, second = (machine.record(200.0, HOUR_S, seed=4) for machine in (one, other))
    assert all(np.array_equal(first[name], second[name]) for name in CHANNELS)
    third = one.record(200.0, HOUR_S, seed=5)
    assert not all(np.array_equal(first[name], third[name]) for name in CHANNELS)


@pytest.mark.parametrize("machine", DRAWN, ids=lambda machine: machine.kind)
def test_the_circuit_works_where_it_was_drawn(machine: MachineB) -> None:
    """At the working point the flow balance gives the pressure and the flow that were drawn."""
    found = state(machine)
    assert found.pump_bar[0] == pytest.approx(machine.circuit.work_bar, rel=0.01)
    assert found.line_l_min[0] == pytest.approx(machine.circuit.work_l_min, rel=0.01)


@pytest.mark.parametrize("machine", DRAWN, ids=lambda machine: machine.kind)
def test_no_heat_comes_from_nothing(machine: MachineB) -> None:
    """The heat is never more than the pump puts in, and a machine that does no work keeps all of it."""
    found = state(machine)
    given = found.pump_bar * machine.circuit.geometric_l_min * found.stroke / 600.0
    losses = machine.circuit.loss_share * machine.circuit.work_bar * machine.circuit.work_l_min / 600.0
    assert 0 < found.heat_kw[0] <= given[0] + losses
    idle = replace(machine, circuit=replace(machine.circuit, work_share=0.0))
    assert state(idle).heat_kw[0] >= found.heat_kw[0]


def test_a_third_of_a_worn_pump_is_a_third_of_its_flow() -> None:
    """The size of wear is the share of the new pump's delivered flow that is lost at working pressure."""
    circuit = replace(STEADY.circuit, set_bar=STEADY.circuit.work_bar, pump="compensated", droop=1e-3)
    throttled = replace(STEADY, circuit=replace(circuit, geometric_l_min=circuit.geometric_l_min * 0.5, leak=0.0))
    opened = Demand(np.full(1, 0.1), np.ones(1), np.ones(1, dtype=np.bool_))
    for size in (0.15, 0.3):
        small = sizes("pump_wear", size, np.ones(1))
        found = throttled.circuit.state(opened, np.full(1, REFERENCE_C), small)
        turned = found.stroke * throttled.circuit.geometric_l_min
        lost = turned - found.line_l_min
        assert lost[0] == pytest.approx(size * throttled.circuit.delivered, rel=0.02)


def test_leaks_lower_what_they_must() -> None:
    """At a fixed pump a leak before the meter lowers flow and pressure, one after it the pressure alone."""
    well = state(STEADY)
    for fault in ("pump_wear", "external_leakage"):
        found = state(STEADY, fault, 0.3)
        assert found.line_l_min[0] < 0.95 * well.line_l_min[0]
        assert found.pump_bar[0] < well.pump_bar[0]
    inside = state(STEADY, "internal_leakage", 0.3)
    assert inside.line_l_min[0] >= well.line_l_min[0]
    assert inside.pump_bar[0] < well.pump_bar[0]


def test_a_controlled_pump_hides_its_wear_in_heat() -> None:
    """A pump that holds its pressure makes up for its wear, and what it makes up warms the oil."""
    circuit = replace(HELD.circuit, geometric_l_min=2 * HELD.circuit.geometric_l_min)
    strong = replace(HELD, circuit=circuit)
    well, worn = state(strong), state(strong, "pump_wear", 0.3)
    assert worn.pump_bar[0] == pytest.approx(well.pump_bar[0], rel=0.05)
    assert worn.heat_kw[0] > 1.2 * well.heat_kw[0]


def test_a_clogged_filter_drops_pressure() -> None:
    """The drop at working flow is the stated share of the working pressure, and more in cold oil."""
    well, clogged = state(STEADY), state(STEADY, "clogged_filter", 0.3)
    share = clogged.line_l_min[0] / STEADY.circuit.work_l_min
    added = clogged.pump_bar[0] - clogged.load_bar[0] - (well.pump_bar[0] - well.load_bar[0])
    assert added == pytest.approx(0.18 * STEADY.circuit.work_bar * share, rel=0.15)
    cold = state(STEADY, "clogged_filter", 0.3, oil_c=10.0)
    assert cold.pump_bar[0] - cold.load_bar[0] > clogged.pump_bar[0] - clogged.load_bar[0]


def test_a_fouled_cooler_shows_in_the_heat_alone() -> None:
    """The oil is warmer; flow and pressure change by no more than thinner oil makes them, and nothing shakes."""
    well, fouled = (levels(STEADY, fault, 0.3) for fault in (HEALTHY, "cooler_fouling"))
    assert fouled["temperature"] > well["temperature"] + 2
    assert fouled["pressure"] == pytest.approx(well["pressure"], rel=0.15)
    assert fouled["vibration"] == pytest.approx(well["vibration"], rel=0.15)


def test_a_cavitating_pump_shakes() -> None:
    """Cavitation and free air shake the machine and take little of its flow."""
    well = levels(STEADY)
    for fault, least in (("cavitation", 1.8), ("air_in_oil", 1.1)):
        found = levels(STEADY, fault, 0.3)
        assert found["vibration"] > least * well["vibration"]
        assert found["flow"] > 0.9 * well["flow"]


def test_a_fault_grows_with_time() -> None:
    """A size may be a function of the time since commissioning began."""
    week = 7 * 24 * HOUR_S
    begun, ended = (
        STEADY.record(60.0, begin, "pump_wear", lambda time: 0.3 * time / week)["flow"].mean() for begin in (0.0, week)
    )
    assert ended < 0.97 * begun


def test_oil_warms_with_a_real_time_constant() -> None:
    """After a cold start the oil is at two thirds of its way after about one time constant."""
    cold = replace(STEADY.heat.schedule, cold=True)
    machine = replace(STEADY, heat=replace(STEADY.heat, schedule=cold, paths={}))
    constant = machine.heat.tank.time_constant_s
    first, later, last = (machine.oil_c(share * constant) for share in (0.0, 1.0, 6.0))
    assert first < 35
    assert 0.4 < (later - first) / (last - first) < 0.95


def test_a_machine_at_rest_is_still() -> None:
    """With the motor off there is neither pressure nor flow, and the oil cools."""
    night = replace(STEADY.heat.schedule, night=(20.0, 5.0), start_h=12.0)
    machine = replace(STEADY, heat=replace(STEADY.heat, schedule=night, paths={}))
    asleep = levels(machine, begin_s=14 * HOUR_S)
    awake = levels(machine, begin_s=4 * HOUR_S)
    assert not is_working(machine, 14 * HOUR_S, 60.0)
    assert is_working(machine, 4 * HOUR_S, 60.0)
    assert asleep["flow"] < 0.05 * awake["flow"]
    assert asleep["pressure"] < 0.05 * awake["pressure"]
    assert asleep["vibration"] < 0.3 * awake["vibration"]
    assert asleep["temperature"] < awake["temperature"]


def test_the_sensors_faults_are_in_one_channel() -> None:
    """A broken sensor changes its own channel and no other."""
    seconds = 60 / STEADY.rate_hz
    for fault in (name for name in FAULTS if name.startswith("sensor_")):
        well, broken = (STEADY.record(seconds, HOUR_S, name, 0.3, 8) for name in (HEALTHY, fault))
        far = [name for name in CHANNELS if abs(broken[name] - well[name]).max() > 0.1 * abs(well[name]).mean()]
        assert len(far) <= 1


def test_draws_are_wide() -> None:
    """Levels lie over two decades, and every kind of pump and load is there."""
    many = [physics_b.draw(np.random.default_rng(seed)) for seed in range(150)]
    for level in ("work_bar", "work_l_min"):
        values = [getattr(machine.circuit, level) for machine in many]
        assert max(values) / min(values) > 40
    assert {machine.circuit.pump for machine in many} == {"fixed", "compensated", "servo"}
    assert {machine.schedule.kind for machine in many} == {"constant", "steps", "cycle", "random"}


def test_chance_is_a_function_of_the_time() -> None:
    """What looks drawn is the same in any order, and evenly spread."""
    place = np.arange(2000)
    assert np.array_equal(hashed(7, place)[::-1], hashed(7, place[::-1]))
    assert hashed(7, place).mean() == pytest.approx(0.5, abs=0.03)
    time = np.linspace(0, 100, 1000)
    assert np.abs(np.diff(wander(7, time, 10.0))).max() < 0.05


def test_what_channels_tell_is_measured() -> None:
    """A fault that moves a channel is told, one that moves nothing is not."""
    random = np.random.default_rng(0)
    values = 10 + random.standard_normal((90, 4, 20))
    labels = np.repeat([HEALTHY, "pump_wear", "cooler_fouling"], 30)
    values[labels == "pump_wear", 2] -= 5
    shares = told(values, labels, 1.0)
    assert shares["pump_wear"].shown > 0.9
    assert shares["pump_wear"].told > 0.9
    assert shares["cooler_fouling"].shown < 0.5


# --- what is counted


def verdict(alarms: list[bool], named: tuple[str, ...] = ()) -> Verdict:
    """Return what a judge said that is sure of itself."""
    said = np.array(alarms, dtype=np.bool_)
    return Verdict(said.astype(np.float64), said, said, {}, [named if alarm else () for alarm in alarms])


def test_figures_count_what_channels_can_show() -> None:
    """Found counts faults of 30 % that channels show; right counts those found whose component they tell."""
    empty = np.zeros((0, 4, 5))
    trial = Trial(
        kind="press",
        rate_hz=1.0,
        learning=empty,
        poisoned=empty,
        healthy=empty,
        broken=empty,
        fault=np.array(["pump_wear", "pump_wear", "cooler_fouling", "clogged_filter", "pump_wear"]),
        size=np.array([0.3, 0.3, 0.3, 0.3, 0.6]),
        known=20,
        kinds=np.array(["pump_wear", "cooler_fouling", "clogged_filter"]),
        shown=np.array([True, False, True]),
        told=np.array([True, False, False]),
    )
    healthy, broken = verdict([True] + [False] * 19), verdict([True, False, True, True, True], ("pump",))
    item = Outcome(trial, verdict([False, True]), healthy, broken, verdict([False]), verdict([True] * 5))
    found = figures([item], Judge(read_family("generic"), {}))
    assert found.far == pytest.approx(0.05)
    assert found.usable == 1.0
    assert found.shown == pytest.approx(2 / 3)
    assert found.found == {0.3: pytest.approx(0.75), 0.6: 1.0}
    assert found.right == 1.0
    assert found.early == 0.5
    assert (found.spoilt_far, found.spoilt_found) == (0.0, 1.0)
    assert (found.showing, found.telling) == (0.75, 0.5)


def test_means_of_recordings_leave_out_those_without_enough() -> None:
    """Pooled figures count every window; means of machines only those with enough windows of either kind."""
    large = np.repeat([False, True], 20)
    small = np.array([False, True])
    found = summed("loop", [(large, large.astype(np.float64), large), (small, np.array([1.0, 0.0]), ~small)])
    assert found.far == pytest.approx(1 / 21)
    assert found.mar == pytest.approx(1 / 21)
    assert (found.mean_far, found.mean_mar, found.mean_auc) == (0.0, 0.0, 1.0)
