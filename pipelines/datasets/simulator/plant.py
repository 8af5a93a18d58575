"""Pump, load, cooler and oil of a machine in equations: flow, pressure and heat under a load, and how the oil warms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.datasets.simulator.faults import Damage
from pipelines.datasets.simulator.load import Air, Duty, Load
from pipelines.signals.features import BAR_L_MIN_PER_KW
from pipelines.signals.windows import Floats

# Source: mineral oil of ISO VG 46 thins by about 3 % a kelvin near 45 degC; gap leakage is inverse to viscosity.
THINNING = 0.03
# Source: thermostats stop a machine before its oil burns, and sensors of the family read 120 degC.
HOTTEST_C = 110.0
# The oil's temperature is followed from five time constants back, in twelfths of one: what it was before then is
# forgotten to within 1 %.
BACK, STEPS = 5, 12

DamageAt = Callable[[Floats], Damage]


@dataclass(frozen=True, slots=True)
class Plant:
    """A machine at its rated load.

    Attributes:
        pressure_bar: At the pump outlet; `flow_l_min` delivered, `vibration_mm_s` of the pump.
        temperature_c: Of the tank after hours at rated load in air of `air_c`.
        efficiency: Volumetric, of the new pump.
        held: Share of the pressure that the load holds whatever flows; the rest falls over orifices.
        yielding: How much of the held pressure a leaking load gives up, 1 being as much as leaks.
        relief: Pressure at which the relief valve opens, share of the rated.
        reserve: Most that a pressure-compensated pump delivers, share of what it must; 0 for a fixed pump.
        thickening: How much more pressure orifices and lines take of colder oil, share a kelvin.
        warming_s: Time constant of the oil.
        thermostat_k: Width over which a thermostat opens the cooler, 0 where there is none.
    """

    pressure_bar: float
    flow_l_min: float
    vibration_mm_s: float
    temperature_c: float
    air_c: float
    efficiency: float
    held: float
    yielding: float
    relief: float
    reserve: float
    thickening: float
    warming_s: float
    thermostat_k: float

    @property
    def theoretical_l_min(self) -> float:
        """Flow of a pump without gaps."""
        return self.flow_l_min / self.efficiency


class State(NamedTuple):
    """What the equations give, before noise; `heat_kw` goes into the oil."""

    pressure_bar: Floats
    flow_l_min: Floats
    vibration_mm_s: Floats
    heat_kw: Floats


def state_of(plant: Plant, load: Load, damage: Damage, temperature: Floats) -> State:
    """Solve the balance of pump, leakage and load.

    Source: Q = Q_th - k p (gap leakage) and p = p_held + e Q + c Q^2 (filter, orifice) meet in a quadratic; a
    compensated pump holds p until it is at full stroke. As in Ivantysyn, Ivantysynova, "Hydrostatic Pumps and Motors".
    """
    rated, full = plant.pressure_bar, plant.flow_l_min
    thin = np.exp(np.clip(THINNING * (temperature - plant.temperature_c), -1.5, 1.5))
    thick = np.exp(np.clip(plant.thickening * (plant.temperature_c - temperature), -0.5, 0.5))
    conductance = ((plant.theoretical_l_min - full) + damage.wear * full) / rated * thin
    turn = np.maximum(load.flow, 0.02)
    share = turn if plant.reserve else 1.0  # valves throttle what a compensated pump would give
    orifice = load.pressure * (1 - plant.held) * rated / (full * share) ** 2 * thick
    held = load.pressure * plant.held * rated * (1 - plant.yielding * np.maximum(damage.bypass, damage.loss))
    clogging = damage.clogging * load.pressure * rated / full
    reach = plant.theoretical_l_min * (plant.reserve or turn) * (1 - damage.void)
    working = orifice * (1 - damage.bypass) ** 2
    flow = _delivered(reach, conductance, held, clogging, working, 1 - damage.loss)
    if plant.reserve:
        target = load.pressure * rated
        open_to = np.maximum(target - clogging * full * turn - load.pressure * plant.held * rated, 0.0)
        asked = np.sqrt(open_to / orifice) + damage.bypass * full * turn
        flow = np.where(asked / (1 - damage.loss) <= reach - conductance * target, asked, flow)
        pressure = np.where(flow == asked, target, held + clogging * flow + working * flow**2)
    else:
        pressure = held + clogging * flow + working * flow**2
    limit = plant.relief * rated
    flow = flow * np.sqrt(np.minimum(1.0, limit / np.maximum(pressure, 1e-9)))
    pressure = np.minimum(pressure, limit)
    heat = conductance * pressure**2 + (1 - plant.held + damage.bypass * plant.held) * pressure * flow
    heat = heat + clogging * flow**2
    shake = plant.vibration_mm_s * (0.4 + 0.6 * pressure / rated) * np.sqrt(turn) * (1 + damage.shake)
    runs = load.runs
    # Source: own choice; what shakes a machine at rest is its neighbours.
    quiet = 0.03 * plant.vibration_mm_s
    return State(
        np.where(runs, pressure, 0.0),
        np.where(runs, flow, 0.0),
        np.where(runs, shake, quiet),
        np.where(runs, heat, 0.0) / BAR_L_MIN_PER_KW,
    )


def _delivered(
    reach: Floats, conductance: Floats, held: Floats, clogging: Floats, orifice: Floats, kept: Floats
) -> Floats:
    """Return the flow through the meter at which pump and load agree on the pressure."""
    free = np.maximum(kept * (reach - conductance * held), 0.0)
    linear = 1 + kept * conductance * clogging
    square = kept * conductance * orifice
    found: Floats = 2 * free / (linear + np.sqrt(linear**2 + 4 * square * free))
    return found


def cooling_kw(plant: Plant) -> float:
    """Return the heat that the cooler takes per kelvin at rated load, which keeps the rated temperature."""
    lost = plant.pressure_bar * (plant.theoretical_l_min - plant.flow_l_min)
    lost += (1 - plant.held) * plant.pressure_bar * plant.flow_l_min
    return lost / BAR_L_MIN_PER_KW / (plant.temperature_c - plant.air_c)


def opened(plant: Plant, temperature: Floats) -> Floats:
    """Return how far the thermostat lets oil through the cooler, 1 being as at rated load; up to twice that.

    The tank's own surface still gives off a tenth.
    """
    if not plant.thermostat_k:
        return np.ones_like(temperature)
    return np.clip(1 + 2 * (temperature - plant.temperature_c) / plant.thermostat_k, 0.1, 2.0)


def oil_temperatures(
    plant: Plant, duty: Duty, air: Air, damage_at: DamageAt, begin: Floats, span_s: float
) -> tuple[float, Floats]:
    """Follow the oil of W recordings that begin at some time and last `span_s`, each from well before it begins.

    Source: C dT/dt = H - UA (T - T_air), stepped by the exact solution for a constant right-hand side; heat is the mean
    over four moments of each step, so that a load cycle shorter than a step counts with its mean.

    Returns:
        step_s: Between knots; the first knot lies `BACK * warming_s` before `begin`.
        temperatures: At the knots.

    Shapes: `begin` `float64[W]` -> `float64[W, K]`.
    """
    step = plant.warming_s / STEPS
    transfer = cooling_kw(plant)
    knots = BACK * STEPS + int(np.ceil(span_s / step)) + 2
    moments = step * np.array([0.05, 0.286, 0.522, 0.758])
    steps = (np.arange(knots) - BACK * STEPS) * step
    time = begin[:, None, None] + steps[:, None] + moments  # [W, K, 4]
    load, around = duty.at(time), air.at(begin[:, None] + steps)
    now = around[:, :1] + 0.8 * (plant.temperature_c - plant.air_c)
    found = np.empty((len(begin), knots))
    for knot in range(knots):
        found[:, knot] = now[:, 0]
        damage = damage_at(time[:, knot])
        asked = load.step(knot)
        heat = state_of(plant, asked, damage, now).heat_kw.mean(axis=1, keepdims=True)
        fouling = np.broadcast_to(damage.fouling, asked.pressure.shape)[:, :1]
        share = opened(plant, now) * (1 - fouling)
        end = around[:, knot : knot + 1] + heat / (transfer * share)
        now = np.minimum(end + (now - end) * np.exp(-share / STEPS), HOTTEST_C)
    return step, found


def at_times(step_s: float, first: Floats, knots: Floats, time: Floats) -> Floats:
    """Interpolate between knots.

    Shapes: `first` `float64[W]` time of the first knot, `knots` `float64[W, K]`, `time` `float64[W, L]` -> the same.
    """
    place = (time - first[:, None]) / step_s
    before = np.clip(place.astype(np.int64), 0, knots.shape[1] - 2)
    low = np.take_along_axis(knots, before, axis=1)
    high = np.take_along_axis(knots, before + 1, axis=1)
    found: Floats = low + (place - before) * (high - low)
    return found


def draw_plant(random: np.random.Generator) -> Plant:
    """Draw a machine of any size.

    Source: own choice of ranges. Levels over two decades, from lubrication circuits (2 bar) to presses (350 bar) and
    from dosing (0.5 l/min) to large presses (800 l/min); pumps are 85 to 97 % efficient by volume (gear to piston,
    makers' data sheets); a tank holds the flow of one to five minutes and warms with a time constant of ten minutes to
    two hours; ISO 20816 grades vibration from 0.3 to 11 mm/s.
    """
    air = float(random.uniform(8, 34))
    return Plant(
        pressure_bar=float(np.exp(random.uniform(np.log(2), np.log(350)))),
        flow_l_min=float(np.exp(random.uniform(np.log(0.5), np.log(800)))),
        vibration_mm_s=float(np.exp(random.uniform(np.log(0.2), np.log(8)))),
        temperature_c=air + float(random.uniform(8, 36)),
        air_c=air,
        efficiency=float(random.uniform(0.85, 0.97)),
        held=float(random.uniform(0.2, 0.8)),
        yielding=float(random.uniform(0.3, 1.0)),
        relief=float(random.uniform(1.1, 1.6)),
        reserve=float(random.uniform(1.02, 1.5)) if random.random() < 0.35 else 0.0,
        thickening=float(random.uniform(0.0, 0.008)),
        warming_s=float(np.exp(random.uniform(np.log(600), np.log(7200)))),
        thermostat_k=float(random.uniform(6, 16)) if random.random() < 0.25 else 0.0,
    )
