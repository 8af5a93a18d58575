"""One machine of physics B: circuit, heat, vibration and sensors put together, and recorded.

The circuit is quasi-steady, the heat is not. What a size of each fault means stands in `machine.SIZES`; a part's fault
changes the circuit or the tank, and reaches the channels through them alone, but for vibration and unsteadiness, which
have no equations here and grow with the size.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.signal import lfilter  # type: ignore[import-untyped]

from benchmarks.machines.machine import HEALTHY, Size, Sizes, sizes
from benchmarks.machines.physics_b_circuit import Circuit, Flows, Heat
from benchmarks.machines.physics_b_loads import Demand, Schedule
from benchmarks.machines.physics_b_sensors import Sensors, lasting
from pipelines.signals.windows import Floats

# Longest step of the fast states; a slower one would swallow a switching. Source: own choice.
FINE_S = 0.25
WORST_LAG_S, WORST_LAG_SHARE = 4.0, 0.8
UNDER_LOAD = 0.3  # share of the working force or opening from which on a machine counts as under load


@dataclass(frozen=True, slots=True)
class Noise:
    """How a machine shakes.

    Attributes:
        level: Vibration at the working point, in mm/s.
        floor: What shakes when the motor is off, from its neighbours.
        ripple: Unsteadiness of pressure and flow, as a share.
        worn: Vibration that a wear of 1 adds, as a multiple.
        cavitating: The same of the worst cavitation.
        foaming: The same of a tenth of free air.
        switching: What a change of load adds for an instant, as a multiple.
    """

    level: float
    floor: float
    ripple: float
    worn: float
    cavitating: float
    foaming: float
    switching: float


@dataclass(frozen=True, slots=True)
class MachineB:
    """One machine of physics B.

    Attributes:
        switch_s: How long its valves take.
        sensor_s: How long its sensors take.
        before_filter: Whether the pressure is measured at the pump or behind the filter.
    """

    kind: str
    rate_hz: float
    window_samples: int
    circuit: Circuit
    heat: Heat
    noise: Noise
    sensors: Sensors
    switch_s: float
    sensor_s: float
    before_filter: bool
    faults: tuple[str, ...]
    seed: int

    @property
    def schedule(self) -> Schedule:
        """What it does over days."""
        return self.heat.schedule

    def record(
        self, seconds: float, begin_s: float = 0.0, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
    ) -> dict[str, Floats]:
        """Return samples by channel; see `machine.Machine`."""
        sized = partial(sizes, fault, size)
        fine = self._fine(seconds, begin_s)
        oil = self.heat.oil_c(fine, fault, size)
        small = sized(fine)
        demand = self._demand(fine, small)
        flows = self.circuit.state(demand, oil, small)
        random = np.random.default_rng([self.seed, seed, round(begin_s * 1000) % 2**40])
        shown = self._shown(flows, demand, oil, small, random)
        shown = {name: followed(values, self._step_s, self.sensor_s) for name, values in shown.items()}
        every = round(1 / (self.rate_hz * self._step_s))
        first = len(fine) - 1 - every * (round(seconds * self.rate_hz) - 1)
        kept = {name: values[first::every] for name, values in shown.items()}
        times = fine[first::every]
        drawn = int(random.integers(2**31))
        return self.sensors.read(kept, self.rate_hz, sized(times), drawn)

    def working(self, begin_s: float, seconds: float) -> bool:
        """Tell whether it is under load for most of the time."""
        time = begin_s + np.linspace(0.0, seconds, 50)
        demand = self.schedule.at(time)
        loaded = (demand.force > UNDER_LOAD) & (demand.opening > UNDER_LOAD) & demand.running
        return bool(loaded.mean() > 0.5)

    def oil_c(self, begin_s: float, fault: str = HEALTHY, size: Size = 0.0) -> float:
        """Return the oil's temperature at a moment."""
        return float(self.heat.oil_c(np.array([begin_s]), fault, size)[0])

    @property
    def _step_s(self) -> float:
        """Step of the fast states; the samples are every so many of them."""
        period = 1 / self.rate_hz
        return period / max(1, int(np.ceil(period / FINE_S)))

    def _fine(self, seconds: float, begin_s: float) -> Floats:
        """Return the moments of the fast states, some before the first sample so that they have swung in."""
        step = self._step_s
        before = int(np.ceil((6 * (self.switch_s + self.sensor_s) + 2 * self._worst_lag_s) / step))
        after = (round(seconds * self.rate_hz) - 1) * round(1 / (self.rate_hz * step))
        return np.asarray(begin_s + step * np.arange(-before, after + 1), dtype=np.float64)

    @property
    def _worst_lag_s(self) -> float:
        return max(WORST_LAG_S, WORST_LAG_SHARE * self.schedule.shortest_s) if "valve_lag" in self.faults else 0.0

    def _demand(self, time: Floats, small: Sizes) -> Demand:
        """Return what reaches the load through valves that take their time, longer ones with the fault."""
        lag = float(small.of("valve_lag").mean()) * self._worst_lag_s
        asked = self.schedule.at(time - 0.4 * lag)
        slow = self.switch_s + 0.6 * lag
        return Demand(
            followed(asked.opening, self._step_s, slow), followed(asked.force, self._step_s, slow), asked.running
        )

    def _shown(
        self, flows: Flows, demand: Demand, oil: Floats, small: Sizes, random: np.random.Generator
    ) -> dict[str, Floats]:
        """Return what the sensors meet, unsteady as the machine is."""
        count = len(oil)
        cavitation, air = small.of("cavitation"), small.of("air_in_oil")
        ripple = self.noise.ripple + 0.04 * cavitation + 0.03 * air
        bar = flows.pump_bar if self.before_filter else flows.load_bar
        pressure = bar * (1 + ripple * random.standard_normal(count))
        # Free air makes the column of oil a spring: pressure swings for seconds.
        pressure = pressure * (1 + 0.06 * air * lasting(count, 8.0, random))
        line = flows.line_l_min * (1 + (0.6 * ripple + 0.05 * air) * random.standard_normal(count))
        changes = np.abs(np.gradient(flows.load_bar)) / self.circuit.work_bar
        loud = 0.5 * (flows.pump_bar / self.circuit.work_bar) + 0.5 * self._speed(flows)
        faulty = 1 + self.noise.worn * small.of("pump_wear") + self.noise.cavitating * cavitation
        faulty = faulty + self.noise.foaming * air + self.noise.switching * np.minimum(changes, 0.5)
        running = demand.running * self.noise.level * loud * faulty
        vibration = np.hypot(self.noise.floor, running * (1 + 0.5 * ripple * random.standard_normal(count)))
        return {"pressure": pressure, "temperature": oil, "flow": line, "vibration": vibration}

    def _speed(self, flows: Flows) -> Floats:
        """Return how fast the motor turns: a servo's follows the flow, the others turn alike."""
        turns = 0.2 + 0.8 * flows.stroke
        return np.asarray(turns if self.circuit.pump == "servo" else np.ones(len(turns)), dtype=np.float64)


def followed(values: Floats, step_s: float, time_s: float) -> Floats:
    """Return what follows values with a time constant."""
    keeps = float(np.exp(-step_s / max(time_s, 1e-6)))
    if keeps < 1e-3:
        return values
    path, _ = lfilter([1 - keeps], [1.0, -keeps], values, zi=[keeps * values[0]])
    return np.asarray(path, dtype=np.float64)
