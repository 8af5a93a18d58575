"""Draws hydraulic machines of physics B widely: power units, presses, moulding machines, rigs, drives, lubrication."""

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from benchmarks.machines.machine import FAULTS, HEALTHY, sizes
from benchmarks.machines.physics_b_circuit import REFERENCE_C, Circuit, Heat, PumpKind, Tank
from benchmarks.machines.physics_b_loads import Phase, Schedule, Weather
from benchmarks.machines.physics_b_machine import MachineB, Noise
from benchmarks.machines.physics_b_sensors import Sensor, Sensors
from pipelines.signals.windows import Floats

RATES_HZ = (0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 5.0, 10.0)
RANGES_BAR = (10.0, 25.0, 40.0, 60.0, 100.0, 160.0, 250.0, 400.0, 600.0)
RANGES_L_MIN = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1000.0)
RANGES_MM_S = (5.0, 10.0, 25.0, 50.0, 100.0)
BITS_12 = 4095.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What machines of one kind have in common: ranges from which each is drawn.

    Attributes:
        constant: Share of the load that is force; 0 for a resistance.
        work_share: Of the load's power, what leaves as work.
    """

    name: str
    bar: tuple[float, float]
    l_min: tuple[float, float]
    pumps: tuple[PumpKind, ...]
    loads: tuple[str, ...]
    constant: tuple[float, float]
    work_share: tuple[float, float]


KINDS = (
    Kind(
        "power unit",
        (40, 250),
        (5, 200),
        get_args(PumpKind)[:2],
        ("constant", "steps", "random"),
        (0.2, 0.8),
        (0.2, 0.7),
    ),
    Kind("press", (100, 350), (20, 600), get_args(PumpKind), ("cycle",), (0.5, 0.85), (0.5, 0.8)),
    Kind("moulding machine", (60, 220), (30, 400), get_args(PumpKind), ("cycle",), (0.3, 0.8), (0.4, 0.7)),
    Kind("test rig", (20, 350), (1, 60), get_args(PumpKind)[:2], ("steps", "cycle", "constant"), (0, 0), (0, 0)),
    Kind("drive", (50, 250), (20, 300), get_args(PumpKind)[:2], ("constant", "random"), (0.4, 0.8), (0.6, 0.8)),
    Kind("lubrication", (5, 25), (2, 600), ("fixed",), ("constant",), (0, 0), (0, 0)),
    Kind("lift", (30, 180), (10, 150), ("fixed",), ("cycle", "steps"), (0.5, 0.85), (0.4, 0.7)),
)


def draw(random: np.random.Generator) -> MachineB:
    """Draw one machine."""
    kind = KINDS[int(random.integers(len(KINDS)))]
    seed = int(random.integers(2**31))
    rate_hz = float(random.choice(RATES_HZ))
    samples = round(_log(random, 5, 120))
    pump = kind.pumps[int(random.integers(len(kind.pumps)))]
    schedule = _schedule(kind, pump, samples / rate_hz, random, seed)
    circuit = _circuit(kind, pump, random)
    weather = Weather(float(random.uniform(8, 30)), float(random.uniform(0.5, 6)), float(random.uniform(0, 3)), seed)
    heat = _heat(circuit, schedule, weather, random)
    noise = _noise(random)
    return MachineB(
        kind=kind.name,
        rate_hz=rate_hz,
        window_samples=samples,
        circuit=circuit,
        heat=heat,
        noise=noise,
        sensors=_sensors(circuit, noise, random, samples),
        switch_s=_log(random, 0.05, 0.4),
        sensor_s=_log(random, 0.02, 0.3),
        before_filter=bool(random.random() < 0.6),
        faults=_faults(schedule, samples / rate_hz, rate_hz),
        seed=seed,
    )


def _log(random: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly over decades."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _faults(schedule: Schedule, window_s: float, rate_hz: float) -> tuple[str, ...]:
    """Return the faults that can show: valves that lag do so where a window holds a switching and sees it in time."""
    switches = schedule.kind in ("cycle", "steps") and schedule.shortest_s < window_s and rate_hz >= 1.0
    return tuple(fault for fault in FAULTS if fault != "valve_lag" or switches)


def _schedule(kind: Kind, pump: PumpKind, window_s: float, random: np.random.Generator, seed: int) -> Schedule:
    """Draw what a machine does."""
    load = str(random.choice(kind.loads))
    phases: tuple[Phase, ...] = (Phase(600.0, 1.0, 1.0),)
    if load == "steps":
        phases = _phases(int(random.integers(2, 5)), (60.0, 240.0), pump, random)
    elif load == "cycle":
        period = _log(random, 8, 90) if random.random() < 0.6 else _log(random, 60, 600)
        phases = _phases(int(random.integers(3, 7)), (0.5 * period / 5, 1.5 * period / 5), pump, random)
    elif load == "random":
        phases = (_phase(60.0, 0.4, pump, random), Phase(60.0, 1.0, 1.0))
    first = float(random.uniform(18, 24))
    return Schedule(
        kind=load,
        phases=phases,
        scatter=float(random.uniform(0, 0.04)),
        unrest=float(random.uniform(0, 0.03)),
        every_s=_log(random, 4, 60),
        start_h=float(random.uniform(7, 16)),
        night=(first, float(random.uniform(4, 6.9))) if random.random() < 0.25 else None,
        cold=bool(random.random() < 0.15),
        seed=seed,
    )


def _phases(count: int, seconds: tuple[float, float], pump: PumpKind, random: np.random.Generator) -> tuple[Phase, ...]:
    """Draw the stretches of a cycle; the first is the working point, another may be idling."""
    others = [
        _phase(float(random.uniform(*seconds)), float(random.uniform(0.3, 0.95)), pump, random)
        for _ in range(count - 1)
    ]
    if len(others) > 1 and random.random() < 0.4:
        idle = Phase(others[-1].seconds, *((1.0, 0.06) if pump == "fixed" else (0.06, 0.6)))
        others[-1] = idle
    return (Phase(float(random.uniform(*seconds)) * 1.3, 1.0, 1.0), *others)


def _phase(seconds: float, force: float, pump: PumpKind, random: np.random.Generator) -> Phase:
    """Draw one stretch: a fixed pump's load is moved at one speed, a controlled one's valve opens more or less."""
    return Phase(seconds, 1.0 if pump == "fixed" else float(random.uniform(0.4, 1.0)), force)


def _circuit(kind: Kind, pump: PumpKind, random: np.random.Generator) -> Circuit:
    """Draw a circuit that has its working point where it is drawn."""
    bar, l_min = _log(random, *kind.bar), _log(random, *kind.l_min)
    leak = float(random.uniform(0.03, 0.12))
    droop = float(random.uniform(0.02, 0.06)) if pump == "compensated" else 0.01
    margin = 1.0 if pump == "fixed" else float(random.uniform(1.1, 1.7))
    geometric = l_min * margin / (1 - leak)
    stroke = (l_min + leak * geometric) / geometric
    return Circuit(
        pump=pump,
        geometric_l_min=geometric,
        leak=leak,
        work_bar=bar,
        work_l_min=l_min,
        constant=float(random.uniform(*kind.constant)),
        set_bar=bar * (float(random.uniform(1.1, 1.35)) if pump == "fixed" else 1 + droop * stroke),
        droop=droop,
        filter_bar=bar * _log(random, 0.005, 0.04),
        viscosity_at_40=float(random.choice([32.0, 46.0, 68.0])),
        work_share=float(random.uniform(*kind.work_share)),
        loss_share=float(random.uniform(0.05, 0.15)),
    )


def _heat(circuit: Circuit, schedule: Schedule, weather: Weather, random: np.random.Generator) -> Heat:
    """Draw a tank and a cooler that hold a temperature which is usual for oil."""
    oil_c = max(float(random.uniform(38, 60)), weather.mean_c + 12.0)
    time = np.linspace(0, 20 * max(schedule.period_s, 60.0), 2001)
    awake = replace(schedule, night=None, cold=False)
    flows = circuit.state(awake.at(time), np.full(len(time), oil_c), sizes(HEALTHY, 0.0, time))
    passes = float(flows.heat_kw.mean()) / (oil_c - weather.mean_c)
    walls = passes * float(random.uniform(0.1, 0.25))
    always = bool(random.random() < 0.7)
    opened, band = float(random.uniform(0.6, 0.9)), float(random.uniform(8, 16))
    cooler = (passes - walls) / (1.0 if always else opened)
    constant_s = _log(random, 600, 7200) * passes / (cooler + walls)
    return Heat(
        circuit, Tank(cooler, walls, constant_s, None if always else oil_c - opened * band, band), schedule, weather
    )


def _noise(random: np.random.Generator) -> Noise:
    """Draw how a machine shakes."""
    level = _log(random, 0.2, 10.0)
    return Noise(
        level=level,
        floor=level * _log(random, 0.02, 0.15),
        ripple=_log(random, 0.001, 0.02),
        worn=float(random.uniform(0.3, 1.5)),
        cavitating=4.0,
        foaming=float(random.uniform(1.0, 2.5)),
        switching=float(random.uniform(0.0, 2.0)),
    )


def _sensors(circuit: Circuit, noise: Noise, random: np.random.Generator, samples: int) -> Sensors:
    """Draw the sensors: the next range above the greatest value, coarse ones and fine ones."""
    most_bar = _range(RANGES_BAR, 1.15 * max(circuit.set_bar, circuit.work_bar))
    most_l_min = _range(RANGES_L_MIN, 1.1 * circuit.geometric_l_min)
    most_mm_s = _range(RANGES_MM_S, 2.5 * noise.level)
    coarse = most_bar >= 100 and random.random() < 0.4
    steps_bar = float(random.uniform(0.5, 1.0)) if coarse else _step(most_bar, random)
    return Sensors(
        {
            "pressure": _sensor(most_bar, steps_bar, circuit.work_bar, random),
            "temperature": Sensor(
                most=120.0,
                resolution=float(random.choice([0.01, 0.03, 0.1, 0.5])),
                offset=float(random.normal(0, 0.8)),
                gain=1.0,
                white=_log(random, 0.005, 0.15),
                share=0.0,
                coloured=_log(random, 0.005, 0.1),
                lasts_s=_log(random, 5, 600),
                level=REFERENCE_C,
            ),
            "flow": _sensor(most_l_min, _step(most_l_min, random), circuit.work_l_min, random),
            "vibration": replace(
                _sensor(most_mm_s, _step(most_mm_s, random), noise.level, random),
                share=_log(random, 0.01, 0.12),
                offset=abs(float(random.normal(0, 0.01))) * noise.level,
            ),
        },
        samples,
    )


def _range(known: tuple[float, ...], least: float) -> float:
    """Return the next range that is sold."""
    return next((most for most in known if most >= least), max(least, known[-1]))


def _step(most: float, random: np.random.Generator) -> float:
    """Draw the resolution of a converter: 12 bits of the range, 16 of it, or what a display shows."""
    return most / float(random.choice([BITS_12, BITS_12 * 16, 1000.0]))


def _sensor(most: float, resolution: float, level: float, random: np.random.Generator) -> Sensor:
    """Draw a sensor of a range."""
    coloured = level * _log(random, 0.001, 0.008) if random.random() < 0.6 else 0.0
    return Sensor(
        most=most,
        resolution=resolution,
        offset=float(random.normal(0, 0.003)) * most,
        gain=float(random.normal(1, 0.01)),
        white=most * _log(random, 2e-5, 1e-3),
        share=_log(random, 5e-4, 5e-3),
        coloured=coloured,
        lasts_s=_log(random, 5, 600),
        level=level,
    )


def nominal(machine: MachineB) -> Floats:
    """Return pressure and flow at the working point, as the circuit solves for it."""
    one = np.ones(1)
    from benchmarks.machines.physics_b_loads import Demand

    state = machine.circuit.state(
        Demand(one, one, np.ones(1, dtype=np.bool_)), np.full(1, REFERENCE_C), sizes(HEALTHY, 0.0, one)
    )
    return np.concatenate([state.pump_bar, state.line_l_min])
