"""Heat of a machine of set C: two thermal nodes, driven by what the plant loses and by the weather.

Heat depends on viscosity and so on the temperature that it makes. A course is found a day at a time, each with a day
before it in which whatever it started from is forgotten.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.machines.machine import HEALTHY, Size, sizes
from benchmarks.machines.physics_c_duty import DAY, Duty, Weather
from benchmarks.machines.physics_c_plant import Harm, Plant
from pipelines.signals.windows import Floats

# Step of the thermal course, and what comes before a day so that nothing of the start is left. Source: own choice; the
# shortest time constant drawn is four steps, the longest an eighth of the lead.
STEP_S = 30.0
LEAD_S = DAY
# Moments of each step, at unequal distances, so that no work cycle beats with the steps. Source: own choice.
MOMENTS = (0.04, 0.33, 0.52, 0.86)
PASSES = 3


def harm_at(fault: str, size: Size, times: Floats) -> Harm:
    """Return what each part has lost at each moment; before commissioning it is as at its beginning."""
    return {} if fault == HEALTHY else {fault: np.minimum(sizes(fault, size, np.maximum(times, 0.0)).size, 1.0)}


@dataclass(frozen=True, slots=True)
class Heat:
    """Two thermal nodes: the fluid, and the tank's and pipes' metal that stands in the air.

    Attributes:
        capacities: Of fluid and metal, kJ/K.
        between: Conductance from fluid to metal, kW/K.
        outside: From metal to air, kW/K.
        cooler: Of the cooler at full opening, kW/K.
        opening: Fluid temperatures between which the thermostat opens, degC; equal ones: always open.
    """

    capacities: tuple[float, float]
    between: float
    outside: float
    cooler: float
    opening: tuple[float, float]

    def opened(self, temperature: float) -> float:
        """Return how far the thermostat is open, 0..1."""
        low, high = self.opening
        return 1.0 if high <= low else min(max((temperature - low) / (high - low), 0.0), 1.0)

    def course(
        self,
        heat: Floats,
        air: Floats,
        coolant: Floats,
        working: Floats,
        fouling: Floats,
        step_s: float,
        start_c: float,
    ) -> Floats:
        """Return the fluid's temperature at each step, the metal starting at the fluid's.

        Args:
            heat: Into the fluid, kW.
            air: Temperature of the air.
            coolant: Temperature of what cools.
            working: 1 where coolant flows.
            fouling: Share of its heat transfer that the cooler has lost.
        """
        fluid = metal = start_c
        per_fluid, per_metal = step_s / self.capacities[0], step_s / self.capacities[1]
        kept = (1.0 - fouling) * working * self.cooler
        found = []
        for power, around, cold, conducts in zip(
            heat.tolist(), air.tolist(), coolant.tolist(), kept.tolist(), strict=True
        ):
            found.append(fluid)
            passed = self.between * (fluid - metal)
            cooled = conducts * self.opened(fluid) * max(fluid - cold, 0.0)
            fluid += per_fluid * (power - passed - cooled)
            metal += per_metal * (passed - self.outside * (metal - around))
        return np.array(found)


@dataclass(frozen=True, slots=True, eq=False)
class HeatHistory:
    """A day of a machine: times in s, temperature of the fluid in degC, and saw-teeth of the accumulator so far."""

    times: Floats
    temperature: Floats
    place: Floats


def course_of(
    plant: Plant, heat: Heat, duty: Duty, weather: Weather, begin_s: float, end_s: float, fault: str, size: Size
) -> HeatHistory:
    """Return the course from `begin_s` to `end_s`, found from a lead before it."""
    times = np.arange(begin_s - LEAD_S, end_s + STEP_S, STEP_S)
    # A machine without phases changes slowly: one moment a step is enough.
    within = np.array(MOMENTS if len(duty.phases) > 1 or plant.accumulator else MOMENTS[2:3])
    moments = (times[:, None] + STEP_S * within).ravel()
    harm = harm_at(fault, size, moments)
    load = duty.at(moments, *plant.switching(harm))
    air, coolant, working = weather.air(times), weather.coolant(times), duty.at_work(times).astype(np.float64)
    often = np.repeat(air, len(within))
    fouling = np.asarray(harm_at(fault, size, times).get("cooler_fouling", 0.0)) + np.zeros_like(times)
    temperature, place = np.full(len(times), plant.rated_c), np.zeros_like(moments)
    for _ in range(PASSES):
        repeated = np.repeat(temperature, len(within))
        if plant.accumulator:
            charge_s, feed_s, _ = plant.charging(load, plant.thickness(repeated), often, harm)
            place = np.cumsum(STEP_S / len(within) / (charge_s + feed_s))
        power = plant.solve(load, repeated, often, place, harm).heat.reshape(len(times), -1).mean(axis=1)
        temperature = heat.course(power, air, coolant, working, fouling, STEP_S, plant.rated_c)
    wanted = times >= begin_s - STEP_S
    return HeatHistory(times[wanted], temperature[wanted], place[:: len(within)][wanted])
