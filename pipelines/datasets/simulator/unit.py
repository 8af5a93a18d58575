"""A hydraulic power unit in steady state, at one operating point, healthy and with each of its faults.

Tests and the demonstration system are made of it: the unit holds its load, and a sample a second is a steady state of
pump, leakage, load and heat, slow wander and noise. `machine` is what `generic` is trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.family import Family
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

CHANNELS = ("pressure", "temperature", "flow", "vibration")
LEVELS = {"pressure": 100.0, "temperature": 45.3, "flow": 25.0, "vibration": 0.54}
LENGTHS = (3, 5, 5, 10, 20, 30, 60, 120)
HEALTHY = "healthy"
SENSOR_FAULTS = ("sensor_stuck", "sensor_drift", "sensor_spike", "sensor_dropout")
RATE_HZ = 1.0
HOTTEST_C = 115.0  # under the 120 degC that sensors of the family read


@dataclass(frozen=True, slots=True)
class Unit:
    """One machine at its operating point.

    Attributes:
        pressure_bar: At the pump outlet; `flow_l_min` delivered; `temperature_c` of the tank.
        ambient_c: Of the air at the cooler.
        efficiency: Volumetric, of the pump when new.
        held: Share of the pressure that the load holds whatever flows; the rest falls over orifices.
        noise: By channel, standard deviation of a sample relative to its level (temperature: K).
        wander: Likewise, of the slow movement from window to window.
        resolution: By channel, smallest step of its sensor.
    """

    pressure_bar: float
    temperature_c: float
    flow_l_min: float
    vibration_mm_s: float
    ambient_c: float
    efficiency: float
    held: float
    noise: Mapping[str, float]
    wander: Mapping[str, float]
    resolution: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class State:
    """The steady state that the equations give, before noise.

    Attributes:
        ripple: Added standard deviation of pressure and flow within a window, relative to their levels.
        rattle: Added standard deviation of vibration, relative.
        knock: Height of switching transients, relative to pressure.
    """

    pressure_bar: float
    temperature_c: float
    flow_l_min: float
    vibration_mm_s: float
    ripple: float = 0.0
    rattle: float = 0.0
    knock: float = 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """How far a machine is from new, in the parameters of its equations.

    Attributes:
        leak: Factor on the pump's leakage conductance.
        bypass: Share of the delivered flow that passes the load inside, behind the flow meter.
        loss: Share of the delivered flow that leaves before the flow meter.
        cooling: Factor on the cooler's heat transfer.
        filter: Added pressure drop before the load, share of the pressure.
        filling: Share of the pump's stroke that is filled.
        shake: Factor on vibration.
    """

    leak: float = 1.0
    bypass: float = 0.0
    loss: float = 0.0
    cooling: float = 1.0
    filter: float = 0.0
    filling: float = 1.0
    shake: float = 1.0
    ripple: float = 0.0
    rattle: float = 0.0
    knock: float = 0.0


# Sizes at severity 1. Source: a pump is worn out when its volumetric efficiency has lost some 20 to 30 % (practice of
# pump makers); filter indicators trip near a full bypass pressure; vibration of a cavitating pump rises several times.
CONDITIONS: Mapping[str, Callable[[float], Condition]] = {
    HEALTHY: lambda s: Condition(),
    "pump_wear": lambda s: Condition(leak=1 + 6 * s, shake=1 + 1.2 * s, ripple=0.006 * s),
    "internal_leakage": lambda s: Condition(bypass=0.30 * s, shake=1 + 0.05 * s),
    "external_leakage": lambda s: Condition(loss=0.25 * s),
    "cooler_fouling": lambda s: Condition(cooling=1 - 0.55 * s),
    "valve_lag": lambda s: Condition(knock=0.08 + 0.30 * s, shake=1 + 0.2 * s),
    "cavitation": lambda s: Condition(
        filling=1 - 0.10 * s, shake=1.5 + 3.5 * s, rattle=0.10 + 0.25 * s, ripple=0.02 * s
    ),
    "clogged_filter": lambda s: Condition(filter=0.04 + 0.14 * s, filling=1 - 0.02 * s),
    "air_in_oil": lambda s: Condition(
        filling=1 - 0.05 * s, ripple=0.02 + 0.06 * s, shake=1.1 + 0.6 * s, rattle=0.05 * s
    ),
}


def leakage_factor(temperature_c: float, reference_c: float) -> float:
    """Return how leakage grows as oil thins.

    Source: laminar gap flow is inverse to viscosity; mineral oil of ISO VG 46 thins by about 3 % a kelvin near 45 degC.
    """
    return float(np.exp(0.03 * (temperature_c - reference_c)))


def steady(unit: Unit, condition: Condition) -> State:
    """Solve flow, pressure and heat balance of a unit in a condition.

    Source: Q = Q_th - k p (gap leakage), p = p_held + c Q^2 (orifice), H = UA (T - T_ambient); P = p Q / 600 kW. As in
    Ivantysyn, Ivantysynova, "Hydrostatic Pumps and Motors".
    """
    theoretical = unit.flow_l_min / unit.efficiency
    conductance = (theoretical - unit.flow_l_min) / unit.pressure_bar
    orifice = (1 - unit.held) * unit.pressure_bar / unit.flow_l_min**2
    power = unit.pressure_bar * unit.flow_l_min / 600
    lost = unit.pressure_bar * (theoretical - unit.flow_l_min) / 600 + (1 - unit.held) * power
    transfer = lost / (unit.temperature_c - unit.ambient_c)
    temperature = unit.temperature_c
    flow, pressure = unit.flow_l_min, unit.pressure_bar
    for _ in range(8):  # the two balances move each other little: eight rounds agree to a thousandth
        leak = conductance * condition.leak * leakage_factor(temperature, unit.temperature_c)
        delivered = theoretical * condition.filling - leak * pressure
        flow = max(0.02 * theoretical, delivered * (1 - condition.loss))
        working = flow * (1 - condition.bypass)
        extra = condition.filter * unit.pressure_bar
        pressure = 0.5 * pressure + 0.5 * (
            unit.held * unit.pressure_bar * _hold(condition) + orifice * working**2 + extra
        )
        heat = pressure * leak * pressure / 600 + (1 - unit.held) * pressure * flow / 600
        heat += (condition.bypass * unit.held * unit.pressure_bar + extra) * flow / 600
        # Thermostats stop a unit before its oil burns.
        temperature = min(unit.ambient_c + heat / (transfer * condition.cooling), HOTTEST_C)
    shaken = unit.vibration_mm_s * condition.shake
    return State(pressure, temperature, flow, shaken, condition.ripple, condition.rattle, condition.knock)


def _hold(condition: Condition) -> float:
    """Return how much of its pressure a leaking load still holds."""
    return 1 - 0.5 * condition.bypass - 0.5 * condition.loss


def draw_unit(random: np.random.Generator, levels: Mapping[str, float] | None = None) -> Unit:
    """Draw a machine; `levels` fixes its operating point."""
    drawn = {
        "pressure": float(np.exp(random.uniform(np.log(40), np.log(280)))),
        "temperature": float(random.uniform(36, 58)),
        "flow": float(np.exp(random.uniform(np.log(6), np.log(180)))),
        "vibration": float(np.exp(random.uniform(np.log(0.3), np.log(3)))),
    } | dict(levels or {})
    quiet = random.uniform(0.4, 1.2)
    coarse = random.random() < 0.5
    return Unit(
        pressure_bar=drawn["pressure"],
        temperature_c=drawn["temperature"],
        flow_l_min=drawn["flow"],
        vibration_mm_s=drawn["vibration"],
        ambient_c=drawn["temperature"] - float(random.uniform(14, 26)),
        efficiency=float(random.uniform(0.92, 0.97)),
        held=float(random.uniform(0.3, 0.8)),
        noise={
            "pressure": 0.005 * quiet,
            "temperature": 0.15 * quiet,
            "flow": 0.006 * quiet,
            "vibration": 0.09 * quiet,
        },
        wander={"pressure": 0.006, "temperature": 0.6, "flow": 0.004, "vibration": 0.05},
        resolution={"pressure": 0.1, "temperature": 0.1, "flow": 0.1, "vibration": 0.1}
        if coarse and drawn["flow"] > 15
        else {"pressure": 0.01, "temperature": 0.01, "flow": 0.01, "vibration": 0.001},
    )


def sample(unit: Unit, state: State, samples: int, random: np.random.Generator) -> dict[str, Floats]:
    """Return noisy samples of a state, by channel."""
    time = np.arange(samples)
    wander = {name: random.normal(0, unit.wander[name]) for name in CHANNELS}
    swing = state.ripple * random.normal(size=samples)
    pressure = state.pressure_bar * (1 + wander["pressure"] + swing + knocks(state.knock, samples, random))
    pressure = pressure + state.pressure_bar * unit.noise["pressure"] * random.normal(size=samples)
    flow = state.flow_l_min * (1 + wander["flow"] + 0.6 * state.ripple * random.normal(size=samples))
    flow = flow + state.flow_l_min * unit.noise["flow"] * random.normal(size=samples)
    trend = random.normal(0, 0.004) * (time - time.mean())
    temperature = state.temperature_c + wander["temperature"] + trend
    temperature = temperature + unit.noise["temperature"] * random.normal(size=samples)
    shaking = 1 + wander["vibration"] + np.hypot(unit.noise["vibration"], state.rattle) * random.normal(size=samples)
    vibration = state.vibration_mm_s * np.abs(shaking)
    clean = {"pressure": pressure, "temperature": temperature, "flow": flow, "vibration": vibration}
    return {
        name: np.round(np.maximum(v, 0) / unit.resolution[name]) * unit.resolution[name] for name, v in clean.items()
    }


def knocks(height: float, samples: int, random: np.random.Generator) -> Floats:
    """Return switching transients of a valve that moves late: a dip, then an overshoot, every few seconds."""
    shape = np.zeros(samples)
    if height:
        period = int(random.integers(3, 6))
        start = int(random.integers(0, min(period, samples - 1)))
        shape[start::period] = height * random.uniform(0.6, 1.0, size=len(shape[start::period]))
        shape[start + 1 :: period] = -0.6 * height * random.uniform(0.6, 1.0, size=len(shape[start + 1 :: period]))
    return shape


def break_sensor(
    values: Mapping[str, Floats], fault: str, severity: float, random: np.random.Generator
) -> dict[str, Floats]:
    """Return the samples as a broken sensor of one channel reports them."""
    channel = CHANNELS[int(random.integers(len(CHANNELS)))]
    broken = dict(values)
    good = values[channel]
    level, place = float(good.mean()), int(random.integers(len(good)))
    if fault == "sensor_stuck":
        broken[channel] = np.full(len(good), float(good[0]) * (1 + float(random.uniform(-1, 1)) * 0.03 * severity))
    elif fault == "sensor_drift":
        sign = float(random.choice([-1.0, 1.0]))
        broken[channel] = good * (1 + sign * (0.08 + 0.30 * severity) * np.linspace(0.7, 1.0, len(good)))
    elif fault == "sensor_spike":
        height = (0.3 + 0.9 * severity) * float(random.choice([-0.8, 1.0]))
        spike = np.zeros(len(good))
        spike[place] = height * level
        broken[channel] = np.maximum(good + spike, 0)
    else:
        length = max(1, round(len(good) * (0.2 + 0.5 * severity)))
        dropped = good.copy()
        dropped[min(place, len(good) - length) :][:length] = 0.0
        broken[channel] = dropped
    return broken


def simulate(fault: str, severity: float, samples: int, seed: int, levels: Mapping[str, float] | None = None) -> Window:
    """Return one window of a machine at `levels` with a fault of a severity in 0..1.

    Raises:
        KeyError: No such fault.
    """
    random = np.random.default_rng(seed)
    return window_of(draw_unit(random, levels or LEVELS), fault, severity, samples, random)


def window_of(unit: Unit, fault: str, severity: float, samples: int, random: np.random.Generator) -> Window:
    """Return one window of a given machine."""
    of_sensor = fault in SENSOR_FAULTS
    state = steady(unit, CONDITIONS[HEALTHY if of_sensor else fault](severity))
    values = sample(unit, state, samples, random)
    return Window(break_sensor(values, fault, severity, random) if of_sensor else values, RATE_HZ)


def baseline_of(unit: Unit, family: Family, random: np.random.Generator) -> Baseline:
    """Return what a machine's own healthy windows have taught."""
    count = int(random.integers(20, 120))
    windows = [window_of(unit, HEALTHY, 0.0, int(random.choice(LENGTHS)), random) for _ in range(count)]
    table = make_feature_table(windows, [None] * count, family)
    learned = [learn(row) for row in table.raw]
    return sum(learned[1:], learned[0])
