"""The oil circuit of physics B: pump, relief valve, filter, load, tank and cooler, quasi-steady but for the heat.

At each moment the pressure at the load is where the pump's flow is what the load and all leaks take. The oil's
temperature follows from the power that does not leave as work, with the tank's real time constant.
"""

from dataclasses import dataclass, field
from math import exp
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.machines.machine import HEALTHY, SENSOR_FAULTS, Size, Sizes, sizes
from benchmarks.machines.physics_b_loads import Demand, Schedule, Weather
from pipelines.signals.windows import Floats

# Source: as in the features: P[kW] = p[bar] * Q[l/min] / 600.
BAR_L_MIN_PER_KW = 600.0
REFERENCE_C = 45.0
# Halvings of the pressure's bracket: 350 bar end at 1e-4 bar.
HALVINGS = 22
HEAT_HALVINGS = 14  # where only the heat is asked for, 0.02 bar will do
RELIEF_OVERRUN = 0.1  # share of the relief pressure at which the whole flow passes. Source: usual data sheets
# Worst states of the faults that have no natural whole; `machine.SIZES` says them in words.
CAVITATION_FLOW, AIR_SHARE, CLOGGED_SHARE = 0.125, 0.10, 0.60
# Oil temperatures between which heat is interpolated.
GRID_C = np.array([5.0, 45.0, 85.0])
HEAT_MEMORY = 5.0  # time constants after which next to nothing of the first temperature is left
STRETCH = 240  # steps that are computed in one go
PER_STEP = 3  # moments within one step of the heat balance

PumpKind = Literal["fixed", "compensated", "servo"]


class Flows(NamedTuple):
    """State of the circuit at each moment: bar, l/min, kW; `stroke` is the share that the pump turns."""

    pump_bar: Floats
    load_bar: Floats
    line_l_min: Floats
    heat_kw: Floats
    stroke: Floats


@dataclass(frozen=True, slots=True)
class Circuit:
    """One machine's hydraulics.

    Attributes:
        pump: A servo pump holds the commanded pressure by its speed, a compensated one the set pressure by its stroke.
        geometric_l_min: The pump's flow without any leak.
        leak: The new pump's own leakage at working pressure, as a share of the geometric flow.
        work_bar: Pressure at the pump at the working point.
        work_l_min: Flow to the load there.
        constant: Share of the load pressure that does not depend on the flow, as a cylinder's force.
        set_bar: Where the pump's controller begins to hold, or the relief valve opens.
        droop: Share of the working pressure over which a controlled pump goes from full stroke to none.
        filter_bar: The filter's own drop at the working point.
        viscosity_at_40: In mm2/s.
        work_share: Share of the load's power that leaves the oil as work.
        loss_share: Mechanical losses as a share of the working power, which warm the oil, too.
    """

    pump: PumpKind
    geometric_l_min: float
    leak: float
    work_bar: float
    work_l_min: float
    constant: float
    set_bar: float
    droop: float
    filter_bar: float
    viscosity_at_40: float
    work_share: float
    loss_share: float

    def viscosity(self, temperature: Floats) -> Floats:
        """Return the oil's viscosity as a multiple of that at the reference.

        Source: Walther's equation (DIN 51563) with the slope of a mineral oil of viscosity index 100.
        """
        slope = 3.6
        kelvin = np.log10(np.maximum(temperature, -30.0) + 273.15)
        at_40, reference = np.log10(313.15), np.log10(REFERENCE_C + 273.15)
        height = np.log10(np.log10(self.viscosity_at_40 + 0.7))
        now, then = (10**10 ** (height - slope * (place - at_40)) - 0.7 for place in (kelvin, reference))
        return np.asarray(now / then, dtype=np.float64)

    @property
    def delivered(self) -> float:
        """What the new pump delivers at working pressure, in l/min."""
        return self.geometric_l_min * (1 - self.leak)

    def state(self, demand: Demand, temperature: Floats, sizes: Sizes, halvings: int = HALVINGS) -> Flows:
        """Return the state at each moment."""
        network = _Network(self, demand, self.viscosity(temperature), sizes)
        low = np.zeros(len(temperature))
        high = np.full(len(temperature), 1.5 * max(self.set_bar, self.work_bar))
        for _ in range(halvings):
            middle = 0.5 * (low + high)
            more = network.surplus(middle) > 0
            low, high = np.where(more, middle, low), np.where(more, high, middle)
        return network.flows(0.5 * (low + high))


class _Network:
    """The circuit's branches at many moments; each is a flow that rises with its pressure."""

    def __init__(self, circuit: Circuit, demand: Demand, viscosity: Floats, sizes: Sizes) -> None:
        self._circuit, self._viscosity = circuit, viscosity
        self._running = demand.running
        work_load = circuit.work_bar - circuit.filter_bar
        self._force = circuit.constant * work_load * demand.force
        resistance = (1 - circuit.constant) * work_load / circuit.work_l_min**2
        # A load that moves nothing is a resistance alone, and then the resistance is what the force changes.
        factor = np.where(circuit.constant > 0, 1.0, demand.force)
        self._resistance = resistance * factor / np.maximum(demand.opening, 0.02) ** 2
        servo = circuit.pump == "servo"
        self._set = circuit.set_bar * np.where(servo, np.maximum(demand.force, 0.05), 1.0)
        thinned = 1 - CAVITATION_FLOW * sizes.of("cavitation") - AIR_SHARE * sizes.of("air_in_oil")
        self._geometric = circuit.geometric_l_min * np.maximum(thinned, 0.0)
        self._own_leak = circuit.leak * circuit.geometric_l_min / viscosity
        thin = 1 / np.sqrt(viscosity)  # gaps that have grown leak half as laminar, half as an orifice
        self._wear = sizes.of("pump_wear") * circuit.delivered * thin
        self._internal = sizes.of("internal_leakage") * circuit.work_l_min * thin
        self._external = sizes.of("external_leakage") * circuit.work_l_min
        self._clogged = CLOGGED_SHARE * circuit.work_bar * sizes.of("clogged_filter")

    def line(self, load: Floats) -> Floats:
        """Return the flow through the meter: what moves the load, and what passes its seals."""
        moved = np.sqrt(np.maximum(load - self._force, 0.0) / self._resistance)
        share = load / (self._circuit.work_bar - self._circuit.filter_bar)
        return np.asarray(moved + self._internal * np.sqrt(share * np.sqrt(share)), dtype=np.float64)

    def pump(self, load: Floats, line: Floats) -> Floats:
        """Return the pressure at the pump: the load's and the filter's."""
        share = line / self._circuit.work_l_min
        drop = (self._circuit.filter_bar + self._clogged) * (0.4 * self._viscosity * share + 0.6 * share * share)
        return np.asarray(load + drop, dtype=np.float64)

    def leaks(self, pump: Floats) -> Floats:
        """Return what flows back inside the pump."""
        share = pump / self._circuit.work_bar
        return np.asarray(self._own_leak * share + self._wear * np.sqrt(share * np.sqrt(share)), dtype=np.float64)

    def stroke(self, pump: Floats) -> Floats:
        """Return the share of its geometric flow that the pump turns."""
        if self._circuit.pump == "fixed":
            return np.ones(len(pump))
        return np.clip((self._set - pump) / (self._circuit.droop * self._circuit.work_bar), 0.0, 1.0)

    def relief(self, pump: Floats) -> Floats:
        """Return what the relief valve lets go."""
        opens = self._circuit.set_bar * (1.0 if self._circuit.pump == "fixed" else 1.15)
        over = np.maximum(pump - opens, 0.0) / (RELIEF_OVERRUN * opens)
        return np.asarray(over * self._circuit.geometric_l_min, dtype=np.float64)

    def spilt(self, pump: Floats) -> Floats:
        """Return what leaves the circuit."""
        return np.asarray(self._external * np.sqrt(pump / self._circuit.work_bar), dtype=np.float64)

    def surplus(self, load: Floats) -> Floats:
        """Return what the pump gives beyond what is taken; it falls as the pressure rises."""
        line = self.line(load)
        pump = self.pump(load, line)
        given = self._geometric * self.stroke(pump) - self.leaks(pump)
        return np.asarray(given - self.relief(pump) - self.spilt(pump) - line, dtype=np.float64)

    def flows(self, load: Floats) -> Flows:
        """Return the state at given load pressures, and nothing of it where the motor is off."""
        circuit = self._circuit
        line = self.line(load)
        pump = self.pump(load, line)
        stroke = self.stroke(pump)
        moved = np.sqrt(np.maximum(load - self._force, 0.0) / self._resistance)
        power = pump * self._geometric * stroke / BAR_L_MIN_PER_KW
        loss = circuit.loss_share * circuit.work_bar * circuit.work_l_min / BAR_L_MIN_PER_KW
        work = circuit.work_share * np.minimum(self._force, load) * moved / BAR_L_MIN_PER_KW
        away = self.spilt(pump) * pump / BAR_L_MIN_PER_KW
        heat = np.maximum(power + loss * (0.4 + 0.6 * stroke) - work - away, 0.0)
        return Flows(*(np.where(self._running, part, 0.0) for part in (pump, load, line, heat, stroke)))


@dataclass(frozen=True, slots=True)
class Tank:
    """Where the heat goes.

    Attributes:
        cooler_kw_k: What the cooler passes a kelvin when it is clean.
        walls_kw_k: What the walls pass.
        time_constant_s: Of the oil at work.
        opens_c: Where a cooler with a thermostat begins to open, or None for one that always cools.
        band_k: Over which it opens.
    """

    cooler_kw_k: float
    walls_kw_k: float
    time_constant_s: float
    opens_c: float | None
    band_k: float

    @property
    def capacity_kj_k(self) -> float:
        """Heat that warms the oil by one kelvin."""
        return self.time_constant_s * (self.cooler_kw_k + self.walls_kw_k)

    def open(self, oil_c: float) -> float:
        """Return how far the cooler is open."""
        return 1.0 if self.opens_c is None else min(max((oil_c - self.opens_c) / self.band_k, 0.0), 1.0)

    def settled(self, heat: Floats, air_c: float, clean: float, on: float) -> float:
        """Return the temperature at which what is made is passed on.

        Shapes: `heat` `float64[K]` in kW at the temperatures of `GRID_C`.
        """
        low, high = -30.0, 200.0
        for _ in range(30):
            oil = 0.5 * (low + high)
            passed = self.walls_kw_k + on * clean * self.cooler_kw_k * self.open(oil)
            low, high = (oil, high) if np.interp(oil, GRID_C, heat) > passed * (oil - air_c) else (low, oil)
        return low

    def follow(self, first_c: float, step_s: float, heat: Floats, air: Floats, clean: Floats, on: Floats) -> Floats:
        """Return the oil's temperature after each step.

        Shapes: `heat` `float64[K, S]` in kW at the temperatures of `GRID_C`, the others `float64[S]`.
        """
        oil, path = first_c, []
        low, mid, high = GRID_C.tolist()
        rows = zip(*heat.tolist(), air.tolist(), clean.tolist(), on.tolist(), strict=True)
        for cold, warm, hot, air_c, share, running in rows:
            if oil < mid:
                power = cold + (warm - cold) * (max(oil, low - 20) - low) / (mid - low)
            else:
                power = warm + (hot - warm) * (min(oil, high + 20) - mid) / (high - mid)
            passed = self.walls_kw_k + running * share * self.cooler_kw_k * self.open(oil)
            rest = air_c + max(power, 0.0) / passed
            oil = rest + (oil - rest) * exp(-step_s * passed / self.capacity_kj_k)
            path.append(oil)
        return np.array(path)


@dataclass(frozen=True, slots=True)
class Heat:
    """The oil's temperature over time, from what the machine does.

    Attributes:
        paths: Of each fault and size the stretches that have been asked for.
    """

    circuit: Circuit
    tank: Tank
    schedule: Schedule
    weather: Weather
    paths: dict[tuple[str, Size, int], Floats] = field(default_factory=dict, compare=False, repr=False)

    @property
    def step_s(self) -> float:
        """Step of the heat balance."""
        return float(np.clip(self.tank.time_constant_s / 40, 15.0, 120.0))

    def oil_c(self, time: Floats, fault: str, size: Size) -> Floats:
        """Return the oil's temperature at given moments.

        Args:
            time: In seconds, rising.
            fault: One of the faults, there for as long as the oil remembers.
            size: Its size.
        """
        if fault in SENSOR_FAULTS:  # the oil knows nothing of them
            fault, size = HEALTHY, 0.0
        place = time / self.step_s
        first, last = int(np.floor(place[0] / STRETCH)), int(np.floor(place[-1] / STRETCH))
        parts = []
        for stretch in range(first, last + 1):
            if (fault, size, stretch) not in self.paths:
                self.paths[fault, size, stretch] = self._path(fault, size, stretch)
            parts.append(self.paths[fault, size, stretch])
        ends = np.arange(first * STRETCH, (last + 1) * STRETCH + 1)
        path = np.concatenate([parts[0][:1], *(part[1:] for part in parts)])
        return np.asarray(np.interp(place, ends, path), dtype=np.float64)

    def _path(self, fault: str, size: Size, stretch: int) -> Floats:
        """Return the temperature at the steps of one stretch, first and last included."""
        step = self.step_s
        memory = int(np.ceil(HEAT_MEMORY * self.tank.time_constant_s / step))
        places = np.arange(stretch * STRETCH - memory, (stretch + 1) * STRETCH)
        # Moments that do not keep step with the load cycle, so that they see all of it.
        within = (np.arange(PER_STEP) + 0.618 * places[:, None] % 1.0) / PER_STEP
        moments = ((places[:, None] + within) * step).ravel()
        demand, small = self.schedule.at(moments), sizes(fault, size, moments)
        states = (self.circuit.state(demand, np.full(len(moments), oil), small, HEAT_HALVINGS) for oil in GRID_C)
        heat = np.stack([state.heat_kw.reshape(-1, PER_STEP).mean(axis=1) for state in states])
        air = self.weather.at(np.asarray(places * step, dtype=np.float64), self.schedule)
        clean = 1 - np.minimum(small.of("cooler_fouling"), 1.0).reshape(-1, PER_STEP).mean(axis=1)
        on = demand.running.reshape(-1, PER_STEP).mean(axis=1)
        first = self.tank.settled(heat.mean(axis=1), float(air.mean()), float(clean.mean()), float(on.mean()))
        return self.tank.follow(first, step, heat, air, clean, on)[-STRETCH - 1 :]
