"""Rules of the machines of set C: energy goes where it must, and each fault moves what it must and nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.machines import physics_c
from benchmarks.machines.machine import CHANNELS, FAULTS, HEALTHY, SENSOR_FAULTS, Machine
from benchmarks.machines.physics_c import TELLABLE, CMachine, draw_kind
from benchmarks.machines.physics_c_duty import Load, chance, smooth
from benchmarks.machines.physics_c_kinds import KINDS, OILS, WATER
from benchmarks.machines.physics_c_plant import BAR_L_MIN_PER_KW, State
from benchmarks.machines.physics_c_sensors import failing
from pipelines.machines.family import read_family
from pipelines.signals.windows import Floats

HOUR_S = 3600.0
DRAWN = {kind: draw_kind(kind, np.random.default_rng(7)) for kind in KINDS}
ONE = np.ones(1)


def state(machine: CMachine, fault: str = HEALTHY, size: float = 0.0, flow: float = 0.9, load: float = 0.7) -> State:
    """Return a machine's hydraulics at one moment of work, at the temperature that it was laid out for."""
    place = np.zeros(1)  # an accumulator begins to be charged
    asked = Load(ONE, ONE, flow * ONE, load * ONE, 0.0 * ONE)
    warm, air = machine.plant.rated_c * ONE, 20.0 * ONE
    return machine.plant.solve(asked, warm, air, place, {fault: size} if size else {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_is_what_the_family_takes(kind: str) -> None:
    """Samples have the wanted number, are finite and lie within the family's plausible range, with every fault."""
    machine, channels = DRAWN[kind], read_family("generic").channels
    assert isinstance(machine, Machine)
    assert 5 <= machine.window_samples <= 120
    for fault in (HEALTHY, machine.faults[0], *SENSOR_FAULTS):
        values = machine.record(machine.window_samples / machine.rate_hz, 100.0, fault, 0.3, seed=3)
        for name in CHANNELS:
            assert values[name].shape == (machine.window_samples,)
            assert (values[name] >= channels[name].low).all()
            assert (values[name] <= channels[name].high).all()


def test_the_same_call_gives_the_same_samples() -> None:
    """What a machine is asked for does not depend on what it was asked for before; another seed is other noise."""
    one, other = (physics_c.draw(np.random.default_rng(5)) for _ in range(2))
    other.record(60.0, 9 * HOUR_S, "pump_wear", 0.5)
    first, second = (machine.record(200.0, HOUR_S, seed=4) for machine in (one, other))
    assert all(np.array_equal(first[name], second[name]) for name in CHANNELS)
    third = one.record(200.0, HOUR_S, seed=5)
    assert not all(np.array_equal(first[name], third[name]) for name in CHANNELS)


def test_a_moment_is_the_same_however_it_is_cut() -> None:
    """The true state of a moment is one and the same within a short recording and a long one."""
    machine = DRAWN["crane winch"]
    long = HOUR_S + np.arange(0.0, 600.0, 2.0)
    whole, part = machine.truth(long), machine.truth(long[100:150])
    assert np.array_equal(whole.pressure[100:150], part.pressure)
    assert np.array_equal(whole.temperature[100:150], part.temperature)
    windows = machine.record_windows(np.array([0.0, 60.0, 90_000.0]), 6)
    assert windows["flow"].shape == (3, 6)


def test_chance_is_even_and_its_noise_smooth() -> None:
    """Numbers of events spread evenly over 0..1 without order; smooth noise makes no jump."""
    numbers = chance(3, 1, np.arange(20_000.0))
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    assert np.abs(np.diff(smooth(3, 1, np.linspace(0.0, 50.0, 50_001)))).max() < 0.01


def test_viscosity_meets_the_tables() -> None:
    """Walther's line passes what makers print: VG 46 has 46 mm2/s at 40 degC and some 500 at 0; water falls by half."""
    assert OILS[46].viscosity(40.0) == pytest.approx(46.0, rel=1e-6)
    assert 400.0 < float(OILS[46].viscosity(0.0)) < 700.0
    assert float(WATER.viscosity(60.0)) == pytest.approx(0.47, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_energy_goes_somewhere(kind: str) -> None:
    """What warms the fluid is no more than shaft and host give, and no less than what pump and line lose."""
    machine = DRAWN[kind]
    plant, at = machine.plant, state(DRAWN[kind])
    shaft = plant.shaft_kw(at.pressure, at.flow, ONE, ONE)
    delivered = at.pressure * at.flow / BAR_L_MIN_PER_KW
    assert (at.heat <= shaft + plant.host_kw + 1e-9).all()
    if plant.circuit != "demand":  # a pump that swivels back takes less than this shaft
        assert (shaft > delivered).all()
        assert (at.heat >= shaft - delivered + plant.host_kw - 1e-9).all()


def test_heat_in_is_heat_out_once_warm() -> None:
    """After a long time at one load, cooler and walls carry off what comes in; a fouled cooler by more degrees."""
    machine = DRAWN["steering gear"]
    heat, steps = machine.heat, np.ones(4000)
    warm = [
        heat.course(40.0 * steps * heat.cooler, 15.0 * steps, 10.0 * steps, steps, fouling * steps, 30.0, 20.0)
        for fouling in (0.0, 0.3)
    ]
    for fouling, course in zip((0.0, 0.3), warm, strict=True):
        end = float(course[-1])
        walls = (end - 15.0) / (1.0 / heat.between + 1.0 / heat.outside)
        cooled = (1.0 - fouling) * heat.cooler * heat.opened(end) * (end - 10.0)
        assert walls + cooled == pytest.approx(40.0 * heat.cooler, rel=0.01)
    assert warm[1][-1] > warm[0][-1] + 0.5


def test_a_fault_of_thirty_percent_costs_thirty_percent() -> None:
    """At rated pressure a worn pump delivers 0.3 less, a hole takes 0.3, and a filter adds 0.3 x 60 % of the work."""
    plant = DRAWN["steering gear"].plant
    rated = plant.rated_bar * ONE
    assert plant.supply(rated, ONE, ONE, {}) == pytest.approx(plant.rated_l)
    assert plant.supply(rated, ONE, ONE, {"pump_wear": 0.3}) == pytest.approx(0.7 * plant.rated_l)
    assert plant.outer(rated, {"external_leakage": 0.3}) == pytest.approx(0.3 * plant.rated_l)
    assert plant.inner(rated, {"internal_leakage": 0.3}) == pytest.approx(0.3 * plant.rated_l)
    added = plant.clogging(plant.rated_l * ONE, ONE, {"clogged_filter": 0.3})
    assert added == pytest.approx(0.18 * plant.work * plant.rated_bar)


# Fault, kind, and the sides to which pressure, flow and vibration must go: +1, 0 within a hundredth, -1.
MOVES = [
    ("pump_wear", "steering gear", (0, -1, 1)),
    ("pump_wear", "water loop", (-1, -1, 1)),
    ("internal_leakage", "water loop", (-1, 1, None)),
    ("internal_leakage", "excavator", (0, None, 0)),
    ("internal_leakage", "steering gear", (0, 0, 0)),
    ("external_leakage", "lubrication loop", (-1, -1, None)),
    ("external_leakage", "steering gear", (0, -1, 0)),
    ("cavitation", "crane winch", (0, -1, 1)),
    ("air_in_oil", "water loop", (-1, -1, 1)),
    ("clogged_filter", "steering gear", (1, None, None)),
    ("clogged_filter", "water loop", (1, -1, None)),
    ("cooler_fouling", "crane winch", (0, 0, 0)),
]


@pytest.mark.parametrize(("fault", "kind", "sides"), MOVES)
def test_a_fault_moves_what_it_must(fault: str, kind: str, sides: tuple[int | None, ...]) -> None:
    """Channels go where physics sends them, and those that it leaves alone stay; None is where either may be."""
    well, ill = (state(DRAWN[kind], fault, size, flow=0.5, load=1.0) for size in (0.0, 0.3))
    for side, name in zip(sides, ("pressure", "flow", "vibration"), strict=True):
        change = float((getattr(ill, name) / getattr(well, name))[0] - 1.0)
        if side == 0:
            assert abs(change) < 0.01, name
        elif side is not None:
            assert side * change > 0.003, name


def test_a_load_sensing_pump_hides_a_leak_until_full_stroke() -> None:
    """At half flow the load gets what it asks for, worn or leaking; at full flow it does not; the shaft pays before."""
    machine = DRAWN["excavator"]
    for fault in ("pump_wear", "external_leakage"):
        assert state(machine, fault, 0.3, flow=0.5).flow == pytest.approx(state(machine, flow=0.5).flow)
        assert (state(machine, fault, 0.3, flow=1.0).flow < 0.95 * state(machine, flow=1.0).flow).all()
    assert (state(machine, "pump_wear", 0.3, flow=0.5).heat > state(machine, flow=0.5).heat).all()


def course(machine: CMachine, fault: str = HEALTHY, size: float = 0.0) -> tuple[NDArray[np.bool_], Floats]:
    """Return whether the pump runs, and the pressure, over six hours."""
    truth = machine.truth(np.arange(0.0, 6 * HOUR_S, 3.0), fault, size)
    return truth.flow > 0, truth.pressure


def test_an_accumulator_is_charged_between_its_two_pressures() -> None:
    """Pressure goes to and fro between the switching points, by the gas law; a leak makes the pump run for longer."""
    machine = DRAWN["pitch and brake unit"]
    store = machine.plant.store
    on, pressure = course(machine)
    assert pressure.min() >= 0.99 * store.low
    assert pressure.max() <= 1.01 * store.high
    leaking, _ = course(machine, "internal_leakage", 0.3)
    assert leaking.mean() > on.mean() + 0.2
    volumes = store.gas(np.array([store.low, store.high]), 20.0 * np.ones(2))
    assert store.pressure(volumes, 20.0 * np.ones(2)) == pytest.approx([store.low, store.high])


def test_a_slow_valve_shows_in_transients() -> None:
    """A valve that lags brings the load later: the mean stays, steps from sample to sample get smaller."""
    duty = DRAWN["crane winch"].duty
    times = np.arange(0.0, 20 * duty.cycle_s, 0.5)
    quick, slow = duty._phases(times, 0.15, 1.0)[0], duty._phases(times, 3.0, 1.0)[0]
    assert np.abs(np.diff(slow)).max() < 0.4 * np.abs(np.diff(quick)).max()
    assert slow.mean() == pytest.approx(quick.mean(), rel=0.05)


@pytest.mark.parametrize("fault", SENSOR_FAULTS)
def test_a_failing_sensor_touches_its_channel_alone(fault: str) -> None:
    """The three others show what they would; the fourth does what its fault is."""
    machine = DRAWN["water loop"]
    well, ill = machine.record(600.0, HOUR_S, seed=2), machine.record(600.0, HOUR_S, fault, 0.3, seed=2)
    name, _ = failing(machine.seed, fault, 2)
    assert not np.array_equal(well[name], ill[name])
    assert all(np.array_equal(well[other], ill[other]) for other in CHANNELS if other != name)


def test_a_fault_that_grows_begins_with_nothing() -> None:
    """A size that is a function of time is that of each moment."""
    machine = DRAWN["steering gear"]

    def grown(times: Floats) -> Floats:
        return np.asarray(0.3 * times / (24 * HOUR_S))

    times = np.array([0.0, 23 * HOUR_S])
    well, ill = machine.truth(times), machine.truth(times, "pump_wear", grown)
    assert ill.flow[0] == pytest.approx(well.flow[0], rel=1e-3)
    assert ill.flow[1] < 0.97 * well.flow[1]


def test_what_can_be_told_is_said_of_every_fault() -> None:
    """Each fault has its answer, and a machine's own list names faults of the benchmark only."""
    assert set(TELLABLE) == set(FAULTS)
    for machine in DRAWN.values():
        assert set(machine.faults) <= set(FAULTS)
        assert all(isinstance(machine.tells(fault), bool) for fault in FAULTS)
    assert "valve_lag" not in DRAWN["water loop"].faults
