"""Machines of set C: mobile and marine hydraulics, wind turbines, lubrication and water loops.

The third set of physics, independent of the others: duty cycles as events, the accumulator's gas law, Wilson's pump,
Walther's viscosity, two thermal nodes, vibration from pulsation and bearings.

Size of a fault: the share of its function that the part has lost, as `benchmarks.machines.machine` has it. Here:

- pump_wear: share of the new pump's flow at rated point lost to its gaps, half laminar and half turbulent.
- internal_leakage, external_leakage: share of the rated flow that passes the load, or leaves before the meter, at rated
  pressure; both are holes, so less at less pressure.
- cooler_fouling: share of the cooler's conductance lost; the tank's walls keep theirs.
- clogged_filter: size x 60 % of the working pressure (mean of the moving phases) lost in the filter at rated flow.
- valve_lag: size x the worst valve's time constant (two seconds or two fifths of the shortest phase), peaks of size x
  half the rated pressure as it opens late, and hunting of size x 12 % of the level.
- cavitation: size x an eighth of the flow, broad noise up to four times the pump's own.
- air_in_oil: size x 10 % free air by volume at the suction: so much less liquid delivered, a softer column.
- sensor_drift: size x the level, of a temperature size x 40 K; sensor_spike: single samples off by size x 1 to 2.5
  times as much, one in each window at least; sensor_dropout: zeros, one to five samples at a time, once in
  each window at least; sensor_stuck: the first reading for ever.

What each can show, and whether four channels tell the component (`TELLABLE`; by machine `CMachine.tells`):

- pump_wear. Open centre and loops: flow falls, more at pressure and with thin oil, a loop's pressure with it; vibration
  rises; where the load takes the power out, the fluid warms. Load sensing: the pump swivels further, so nothing but
  heat and vibration until it is at full stroke. Charging units: less flow, longer charging. Told: yes.
- internal_leakage. Loops: pressure falls at the same flow. Load sensing: flow rises, in the pauses too. Open centre:
  the meter sees nothing, the way takes longer and the fluid warms, which is also a heavier load. Charging units: the
  pump runs more often, which is also more use. Told: only in loops and by load-sensing pumps, and so yes.
- external_leakage. Flow falls, as with a worn pump, but the fluid does not warm and the pump does not shake. Load
  sensing: nothing until full stroke. Four channels tell the two apart only where wear would heat: no.
- cooler_fouling. Temperature rises and nothing else but what viscosity makes of it; a thermostat hides it until it is
  fully open. Also a hot day, or a drifting sensor: yes, against the other faults of machines.
- valve_lag. Slow or hunting pressure and flow around the switches; invisible where samples are further apart than the
  lag, and in loops whose valves stand still, but for the hunting. Told: yes where it shows.
- cavitation. Vibration many times its own, noise on pressure and flow, less flow: yes.
- clogged_filter. Pressure before it rises with the flow, a loop's flow falls. In a loop a closing valve does the same;
  it is no fault of the list: yes.
- air_in_oil. A little less flow, softer and noisier, vibration up: weak cavitation does all that. No.
- sensor_stuck, sensor_spike, sensor_dropout: the channel alone does what no machine does: yes; a coarse channel of a
  steady machine, or a machine at rest, stands still in health too.
- sensor_drift. In a loop pressure and flow hold each other; elsewhere a heavier load or a hot day looks the same. No.

Two kinds are there to mislead whoever knows twenty windows: a lock gate rests for most of an hour before it moves, and
a twin set hands over from one pump to the other, as healthy and not as quiet, for the first time after commissioning.

Source: G. E. Wilson's model of pumps as in Merritt, Hydraulic Control Systems (1967); ASTM D341; ISO 3448; ranges are
those of makers' sheets and own choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines.machine import CHANNELS, FAULTS, HEALTHY, SENSOR_FAULTS, Size, sizes
from benchmarks.machines.physics_c_duty import DAY, HOUR, Duty, Load, Weather, smooth
from benchmarks.machines.physics_c_heat import Heat, HeatHistory, course_of, harm_at
from benchmarks.machines.physics_c_kinds import (
    KINDS,
    draw_duty,
    draw_heat,
    draw_plant,
    draw_sensors,
    draw_unrest,
    draw_weather,
    log_uniform,
)
from benchmarks.machines.physics_c_plant import Harm, Plant, State
from benchmarks.machines.physics_c_sensors import Sensor, Unrest, failing, spoilt
from pipelines.signals.windows import Floats

TELLABLE: Mapping[str, bool] = {
    "pump_wear": True,
    "internal_leakage": True,
    "external_leakage": False,
    "cooler_fouling": True,
    "valve_lag": True,
    "cavitation": True,
    "clogged_filter": True,
    "air_in_oil": False,
    "sensor_stuck": True,
    "sensor_drift": False,
    "sensor_spike": True,
    "sensor_dropout": True,
}
# Hunting and switching peaks of the worst valve, as shares of the level and of the rated pressure. Source: own choice;
# valves that stick in a closed loop hunt by a tenth.
HUNTING, PEAK = 0.12, 0.5
RATES = (0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 5.0, 10.0)
WINDOWS = (5, 120)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The machine without its sensors: its four channels as they are, and how rough the flow is."""

    pressure: Floats
    temperature: Floats
    flow: Floats
    vibration: Floats
    rough: Floats
    heat: Floats
    load: Load


@dataclass(frozen=True, slots=True)
class Twin:
    """A second pump that takes over in turn: after how long, and its speed and vibration as shares of the first's."""

    every_s: float
    speed: float
    vibration: float

    def turns(self, times: Floats) -> NDArray[np.bool_]:
        """Return when the second pump runs; the first begins."""
        return np.asarray(np.floor(times / self.every_s) % 2.0 == 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class CMachine:
    """One machine of set C.

    Attributes:
        kind: Of `KINDS`.
        rate_hz: Samples a second.
        window_samples: How its owner cuts windows.
        seed: Of everything that chance decides in it.
        fluid_lag_s: Time constant of the temperature sensor in its pocket.
        twin: The second pump of a set of two.
    """

    kind: str
    rate_hz: float
    window_samples: int
    seed: int
    plant: Plant
    heat: Heat
    duty: Duty
    weather: Weather
    sensors: Mapping[str, Sensor]
    unrest: Unrest
    fluid_lag_s: float
    twin: Twin | None = None

    def record(
        self, seconds: float, begin_s: float = 0.0, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
    ) -> dict[str, Floats]:
        """Return samples by channel, from `begin_s` after commissioning began.

        Units: bar, degC, l/min, mm/s.
        """
        taken = self.record_windows(np.array([begin_s]), max(1, round(seconds * self.rate_hz)), fault, size, seed)
        return {name: values[0] for name, values in taken.items()}

    def record_windows(
        self, begins_s: Floats, samples: int, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
    ) -> dict[str, Floats]:
        """Return windows that begin at the given, rising times: a week of one a minute in some seconds.

        Shapes: `begins_s` `float64[N]` -> `float64[N, samples]` by channel.
        """
        times = (begins_s[:, None] + np.arange(samples) / self.rate_hz).ravel()
        parts = [self._read(part, fault, size, seed) for part in _by_day(times)]
        shape = (len(begins_s), samples)
        read = {name: np.concatenate([part[name] for part in parts]) for name in CHANNELS}
        if fault in SENSOR_FAULTS:
            name, sign = failing(self.seed, fault, seed)
            lost = sizes(fault, size, times).size
            random = np.random.default_rng([self.seed, seed, round(times[0] * 10.0), 5])
            heat = name == "temperature"
            read[name] = spoilt(self.sensors[name], fault, read[name], lost, self.window_samples, heat, sign, random)
        return {name: values.reshape(shape) for name, values in read.items()}

    def working(self, begin_s: float, seconds: float) -> bool:
        """Tell whether it is under load for most of a span."""
        return bool(self.duty.under_load(begin_s + seconds * np.linspace(0.0, 1.0, 21)).mean() > 0.5)

    @property
    def faults(self) -> tuple[str, ...]:
        """Return the faults that can show at all at some size below 1 while it works."""
        return tuple(fault for fault in FAULTS if self._shows(fault))

    def _shows(self, fault: str) -> bool:
        if fault == "cooler_fouling":
            return self.heat.cooler > 0
        if fault == "valve_lag":
            return len(self.duty.phases) > 1 and self.rate_hz * self.plant.worst_lag_s >= 1.0
        if fault == "external_leakage" and self.plant.circuit == "demand":
            # The pump makes up for it until it is at full stroke.
            return max(phase.flow for phase in self.duty.phases) > 0.75
        return True

    def tells(self, fault: str) -> bool:
        """Return whether this machine's channels can tell the component of a fault that shows."""
        if fault == "internal_leakage":
            return self.plant.circuit in ("loop", "demand")
        if fault == "pump_wear":
            return self.plant.circuit != "demand"
        if fault == "valve_lag":
            return self.rate_hz * self.plant.worst_lag_s > 3.0
        return TELLABLE[fault]

    def truth(self, times: Floats, fault: str = HEALTHY, size: Size = 0.0) -> Truth:
        """Return the state at rising times of one day, before sensors and the fluid's unrest."""
        day = float(times[0] // DAY)
        # A failing sensor leaves the machine as it is.
        course = _course(self, day, *((HEALTHY, 0.0) if fault in SENSOR_FAULTS else (fault, size)))
        temperature = np.interp(times, course.times, course.temperature)
        shown = np.interp(times - self.fluid_lag_s, course.times, course.temperature)
        place = np.interp(times, course.times, course.place)
        harm = harm_at(fault, size, times)
        load = self.duty.at(times, *self.plant.switching(harm))
        second = self.twin.turns(times) if self.twin else np.zeros(len(times), dtype=np.bool_)
        if self.twin:
            load = replace(load, speed=load.speed * np.where(second, self.twin.speed, 1.0))
        state = self.plant.solve(load, temperature, self.weather.air(times), place, harm)
        pressure, flow = self._switched(times, load, state, harm)
        vibration = state.vibration * np.where(second, self.twin.vibration, 1.0) if self.twin else state.vibration
        return Truth(pressure, shown, flow, vibration, state.rough, state.heat, load)

    def _switched(self, times: Floats, load: Load, state: State, harm: Harm) -> tuple[Floats, Floats]:
        """Return pressure and flow with what a slow valve makes of them: peaks as it opens late, and hunting."""
        lag = np.asarray(harm.get("valve_lag", 0.0))
        # The period wanders, as stiction does.
        phase = 2.0 * np.pi * (times / (3.0 * self.plant.worst_lag_s) + 0.5 * smooth(self.seed, 9, times / 40.0))
        hunts = HUNTING * lag * np.sin(phase) * (load.flow > 0.05)
        peaks = PEAK * lag * load.peak * self.plant.rated_bar * (load.flow > 0.05)
        return np.maximum(state.pressure * (1.0 + hunts) + peaks, 0.0), np.maximum(state.flow * (1.0 - hunts), 0.0)

    def _read(self, times: Floats, fault: str, size: Size, seed: int) -> dict[str, Floats]:
        """Return what whole sensors show at rising times of one day."""
        truth = self.truth(times, fault, size)
        random = np.random.default_rng([self.seed, seed, round(times[0] * 10.0)])
        both, against, shaking = self.unrest.coloured(len(times), self.rate_hz, random)
        rough = truth.rough * random.standard_normal((3, len(times)))
        values = {
            "pressure": truth.pressure * (1.0 + self.unrest.pressure * both + rough[0]),
            "temperature": truth.temperature,
            "flow": truth.flow * (1.0 + self.unrest.flow * against + rough[1]),
            "vibration": truth.vibration * np.exp(self.unrest.vibration * shaking + rough[2]),
        }
        return {name: self.sensors[name].read(values[name], random) for name in CHANNELS}


def _by_day(times: Floats) -> list[Floats]:
    """Return rising times cut at the days' ends."""
    return np.split(times, np.flatnonzero(np.diff(times // DAY)) + 1)


# Days kept: of one machine, four days by every fault and size that is asked for. 70 kB each.
@lru_cache(maxsize=256)
def _course(machine: CMachine, day: float, fault: str, size: Size) -> HeatHistory:
    return course_of(
        machine.plant, machine.heat, machine.duty, machine.weather, day * DAY, (day + 1) * DAY, fault, size
    )


def draw_kind(kind: str, random: np.random.Generator) -> CMachine:
    """Draw one machine of a kind."""
    ranges = KINDS[kind]
    seed = int(random.integers(1, 2**31))
    duty = draw_duty(ranges, seed, random)
    weather = draw_weather(ranges, duty, random)
    plant = draw_plant(ranges, duty, random)
    return CMachine(
        kind=kind,
        rate_hz=float(random.choice(RATES)),
        window_samples=round(log_uniform(random, WINDOWS)),
        seed=seed,
        plant=plant,
        heat=draw_heat(ranges, plant, duty, weather, random),
        duty=duty,
        weather=weather,
        sensors=draw_sensors(plant, random),
        unrest=draw_unrest(random),
        fluid_lag_s=log_uniform(random, (3.0, 90.0)),
        twin=_draw_twin(random) if kind == "twin pump set" else None,
    )


def _draw_twin(random: np.random.Generator) -> Twin:
    louder = log_uniform(random, (1.25, 1.8))
    return Twin(
        every_s=log_uniform(random, (8.0 * HOUR, 40.0 * HOUR)),
        speed=float(random.uniform(0.97, 1.03)),
        vibration=louder if random.random() < 0.5 else 1.0 / louder,
    )


def draw(random: np.random.Generator) -> CMachine:
    """Draw one machine of any kind."""
    return draw_kind(str(random.choice(sorted(KINDS))), random)
