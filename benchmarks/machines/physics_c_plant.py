"""Hydraulics of a machine of set C: fluid, pump, and four kinds of circuit.

The pump follows Wilson: a displaced flow less a laminar leakage (pressure over viscosity) and a turbulent one (root of
the pressure); its torque is the ideal one and viscous, Coulomb and constant friction. Viscosity follows Walther (ASTM
D341). Coefficients are given as shares at the rated point, so that one equation serves 0.5 and 800 l/min.
Faults come as `Harm`, the share of its function that each part has lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.machines.physics_c_duty import Load
from pipelines.signals.windows import Floats

Harm = Mapping[str, Floats | float]

# Source: P[kW] = p[bar] * Q[l/min] / 600 (1e5 Pa / (6e4 l/min per m3/s) / 1e3 W).
BAR_L_MIN_PER_KW = 600.0
# Drop over a fully clogged filter as a share of the working pressure. Source: the definition of fault sizes.
CLOGGED = 0.6
# Free air by volume at size 1. Source: the definition of fault sizes.
FREE_AIR = 0.1
# Delivered flow that the worst cavitation costs. Source: the definition of fault sizes; the curves of pumps against
# suction head are given up at 3 % (the NPSH3 of ISO 9906).
CAVITATED = 0.125
# Half steps of the search for the pressure of a loop: 1/8192 of its range, below any sensor's noise.
HALVINGS = 14


@dataclass(frozen=True, slots=True)
class Fluid:
    """A hydraulic fluid: two viscosities (mm2/s at degC), density (kg/l), specific heat (kJ/kg K)."""

    name: str
    cold: tuple[float, float]
    warm: tuple[float, float]
    density: float
    heat: float

    def viscosity(self, temperature: Floats | float) -> Floats:
        """Return the kinematic viscosity in mm2/s. Source: Walther; ASTM D341: lg lg (v + 0.7) = A - B lg T."""
        (first, v_first), (second, v_second) = self.cold, self.warm
        kelvin = np.log10(273.15 + np.array([first, second]))
        twice = np.log10(np.log10(np.array([v_first, v_second]) + 0.7))
        slope = (twice[1] - twice[0]) / (kelvin[1] - kelvin[0])
        place = np.log10(273.15 + np.clip(temperature, -40.0, 150.0))
        return np.asarray(10.0 ** (10.0 ** (twice[0] + slope * (place - kelvin[0]))) - 0.7)


@dataclass(frozen=True, slots=True)
class Accumulator:
    """Gas volume in l, precharge in bar at 20 degC, switching pressures in bar, polytropic exponent of the gas."""

    volume: float
    precharge: float
    low: float
    high: float
    exponent: float

    def gas(self, pressure: Floats | float, air: Floats) -> Floats:
        """Return the gas volume at a pressure: p V^n constant, the precharge in proportion to the absolute heat."""
        ratio = self.precharge * (273.15 + air) / 293.15 / np.asarray(pressure)
        return np.asarray(self.volume * ratio ** (1.0 / self.exponent))

    def pressure(self, volume: Floats, air: Floats) -> Floats:
        """Return the pressure at a gas volume."""
        return np.asarray(self.precharge * (273.15 + air) / 293.15 * (self.volume / volume) ** self.exponent)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What the machine does at each moment.

    Attributes:
        pressure: At the pump's outlet, bar.
        flow: Through the meter in the pressure line, l/min.
        vibration: RMS velocity at the pump's housing, mm/s.
        heat: Heat that stays in the fluid, kW.
        rough: Scatter of pressure and flow from sample to sample beyond the healthy one, as a share.
    """

    pressure: Floats
    flow: Floats
    vibration: Floats
    heat: Floats
    rough: Floats


@dataclass(frozen=True, slots=True)
class Plant:
    """Hydraulics of one machine.

    Attributes:
        circuit: "fixed" (open centre: all flow passes, the load makes the pressure), "demand" (load sensing or
            constant pressure: the pump gives what is asked for), "loop" (the line's own resistance makes the
            pressure) or "charge" (the pump charges an accumulator between two pressures).
        rated_bar: Rated pressure.
        rated_l: Rated flow, l/min, delivered by the new pump at rated pressure, speed and viscosity.
        work: Working pressure as a share of the rated one: the mean over the phases that move.
        rated_c: Temperature that the unit was laid out for.
        laminar: Share of the displaced flow that leaks in proportion to pressure over viscosity.
        turbulent: Share that leaks with the root of the pressure.
        friction: Viscous, Coulomb and constant share of the rated power.
        useful: Share of the load's power that leaves as work; the rest warms the fluid.
        host_kw: Heat that others put into the fluid (bearings, moulds, brakes).
        viscous: Share of a loop's drop that is laminar.
        relief: Pressure of the relief valve as a share of the rated one.
        margin: What a load-sensing pump holds above the load, as a share of the rated pressure.
        shutoff: Head of a centrifugal pump without flow, as a share of the rated one; 0 for a displacement pump.
        worst_lag_s: Time constant of the worst valve.
        vibrations: At rated load: of bearings, of pulsation, and of the surroundings, mm/s.
    """

    circuit: str
    rated_bar: float
    rated_l: float
    work: float
    rated_c: float
    fluid: Fluid
    laminar: float
    turbulent: float
    friction: tuple[float, float, float]
    useful: float
    host_kw: float
    viscous: float
    relief: float
    margin: float
    shutoff: float
    worst_lag_s: float
    vibrations: tuple[float, float, float]
    accumulator: Accumulator | None

    @property
    def rated_kw(self) -> float:
        """Hydraulic power at the rated point."""
        return self.rated_bar * self.rated_l / BAR_L_MIN_PER_KW

    def thickness(self, temperature: Floats | float) -> Floats:
        """Return the viscosity as a share of that at the rated temperature."""
        return np.asarray(self.fluid.viscosity(temperature) / self.fluid.viscosity(self.rated_c))

    def supply(self, pressure: Floats, speed: Floats, thick: Floats, harm: Harm) -> Floats:
        """Return the flow that the pump delivers against a pressure, l/min."""
        share = np.maximum(pressure, 0.0) / self.rated_bar
        root = np.sqrt(share)
        thin = share / np.maximum(thick, 0.05)
        # Wear opens both kinds of gap; at the rated point they cost the share lost.
        leak = harm.get("pump_wear", 0.0) * (0.5 * np.minimum(thin, 3.0) + 0.5 * root)
        leak = leak + speed * (CAVITATED * harm.get("cavitation", 0.0) + FREE_AIR * harm.get("air_in_oil", 0.0))
        if self.shutoff:
            ideal = np.sqrt(np.maximum(self.shutoff * speed**2 - share, 0.0) / (self.shutoff - 1.0))
        else:
            new = 1.0 - self.laminar - self.turbulent
            ideal = (speed - self.laminar * np.minimum(thin, 4.0) - self.turbulent * root) / new
        return np.asarray(self.rated_l * np.maximum(ideal - leak, 0.0))

    def shaft_kw(self, pressure: Floats, flow: Floats, speed: Floats, thick: Floats) -> Floats:
        """Return the power that the shaft takes."""
        share = pressure / self.rated_bar
        viscous, coulomb, constant = self.friction
        # The ideal torque is of the displaced flow, leakage included; a centrifugal pump pays for its flow.
        displaced = np.where(self.shutoff > 0, flow / self.rated_l, speed / (1.0 - self.laminar - self.turbulent))
        losses = viscous * np.minimum(thick, 8.0) * speed**2 + coulomb * share * speed + constant * speed
        return np.asarray(self.rated_kw * (share * displaced + losses))

    def clogging(self, flow: Floats, thick: Floats, harm: Harm) -> Floats:
        """Return what a clogged filter adds to the pressure before it: cake resistance, linear in the flow."""
        clogged = CLOGGED * self.work * self.rated_bar * np.asarray(harm.get("clogged_filter", 0.0))
        return np.asarray(clogged * flow / self.rated_l * np.clip(thick, 0.3, 3.0) ** 0.6)

    def outer(self, pressure: Floats, harm: Harm) -> Floats:
        """Return what leaves the machine before the meter: a hole, so the root of the pressure. l/min."""
        share = np.sqrt(np.maximum(pressure, 0.0) / self.rated_bar)
        return np.asarray(self.rated_l * np.asarray(harm.get("external_leakage", 0.0)) * share)

    def inner(self, pressure: Floats, harm: Harm) -> Floats:
        """Return what passes the load within actuators or motors. l/min."""
        share = np.sqrt(np.maximum(pressure, 0.0) / self.rated_bar)
        return np.asarray(self.rated_l * np.asarray(harm.get("internal_leakage", 0.0)) * share)

    @property
    def store(self) -> Accumulator:
        """The accumulator of a unit that has one."""
        assert self.accumulator is not None
        return self.accumulator

    def switching(self, harm: Harm) -> tuple[Floats, Floats]:
        """Return the valve's time constant in s, and how much longer than new the actuators need for their way."""
        lag = 0.15 + self.worst_lag_s * np.asarray(harm.get("valve_lag", 0.0)) + np.asarray(harm.get("air_in_oil", 0.0))
        # Only where the pump's flow sets the speed; a load-sensing pump gives more instead.
        leaks = 0.9 * np.asarray(harm.get("internal_leakage", 0.0)) * (self.circuit == "fixed")
        return np.asarray(lag), np.asarray(1.0 / (1.0 - leaks))

    def solve(self, load: Load, temperature: Floats, air: Floats, place: Floats, harm: Harm) -> State:
        """Return the state at each moment.

        Args:
            load: What is asked of the plant.
            temperature: Of the fluid.
            air: Of the surroundings.
            place: Saw-teeth of the accumulator since some time before; only a unit with one reads it.
            harm: What each part has lost.
        """
        thick = self.thickness(temperature)
        if self.circuit == "charge":
            return self._charge(load, thick, air, place, harm)
        return {"fixed": self._fixed, "demand": self._demand, "loop": self._loop}[self.circuit](load, thick, harm)

    def _fixed(self, load: Load, thick: Floats, harm: Harm) -> State:
        """All the pump's flow passes the open centre or the motor; the load makes the pressure."""
        line = 0.03 * self.rated_bar * load.speed**2 * np.clip(thick, 0.5, 6.0) ** 0.4
        # A hoist on leaking seals still carries its load; only the way takes longer, which the duty knows.
        behind = load.load * self.rated_bar + line
        rough_flow = self.supply(behind, load.speed, thick, harm)
        pressure = np.minimum(behind + self.clogging(rough_flow, thick, harm), self.relief * self.rated_bar)
        pressure = pressure * (load.run > 0)
        flow = np.maximum(self.supply(pressure, load.speed, thick, harm) - self.outer(pressure, harm), 0.0) * load.run
        passing = np.minimum(self.inner(pressure, harm), 0.95 * flow) * (load.flow > 0.1)
        work = load.load * self.rated_bar * (flow - passing) * (load.flow > 0.1)
        return self._state(load, pressure, flow, work, thick, harm)

    def _demand(self, load: Load, thick: Floats, harm: Harm) -> State:
        """The pump swivels to what is asked for, up to its full stroke; what it cannot give is missing at the load."""
        margin = self.margin * self.rated_bar
        behind = load.load * self.rated_bar
        asked = load.flow * self.rated_l + self.inner(behind, harm)
        pressure = behind + margin + self.clogging(np.minimum(asked, self.rated_l), thick, harm)
        pressure = np.minimum(pressure, self.relief * self.rated_bar) * load.run
        full = np.maximum(self.supply(pressure, load.speed, thick, harm) - self.outer(pressure, harm), 0.0)
        flow = np.minimum(asked, full) * load.run
        # Short of flow the pump loses its margin first: the balance of its controller stands open.
        short = np.clip(1.0 - full / np.maximum(asked, 1e-9), 0.0, 1.0) * load.run
        pressure = np.maximum(pressure - short * (margin + 0.5 * behind), 0.0)
        work = behind * np.maximum(flow - self.inner(behind, harm), 0.0)
        leaking = self.outer(pressure, harm) + self.rated_l - self.supply(pressure, np.ones_like(flow), thick, harm)
        stroke = np.clip((flow + leaking) / self.rated_l, 0.05, 1.0)
        return self._state(load, pressure, flow, work, thick, harm, stroke)

    def _loop(self, load: Load, thick: Floats, harm: Harm) -> State:
        """The line's resistance, laminar and turbulent, meets the pump's curve; found by halving.

        The pressure sought is that behind the filter, at the load.
        """
        low, high = np.zeros_like(thick), np.full_like(thick, 2.0 * self.rated_bar)
        for _ in range(HALVINGS):
            behind = 0.5 * (low + high)
            more = self._surplus(behind, load, thick, harm)[0] > 0
            low, high = np.where(more, behind, low), np.where(more, high, behind)
        behind = 0.5 * (low + high) * (load.run > 0)
        _, pressure, flow = self._surplus(behind, load, thick, harm)
        pressure = np.minimum(pressure, self.relief * self.rated_bar) * (load.run > 0)
        work = behind * np.maximum(flow - self.inner(behind, harm), 0.0)
        return self._state(load, pressure, flow * (load.run > 0), work, thick, harm)

    def _surplus(self, behind: Floats, load: Load, thick: Floats, harm: Harm) -> tuple[Floats, Floats, Floats]:
        """Return what the pump gives beyond what the loop takes, the pump's pressure and the meter's flow."""
        closing = np.maximum(load.load, 1e-3)
        laminar, turbulent = self.viscous * closing * thick, (1.0 - self.viscous) * closing
        share = behind / self.rated_bar
        through = 2.0 * share / (laminar + np.sqrt(laminar**2 + 4.0 * turbulent * share) + 1e-12)
        flow = through * self.rated_l + self.inner(behind, harm)
        pressure = behind + self.clogging(flow, thick, harm)
        given = self.supply(pressure, load.speed, thick, harm) - self.outer(pressure, harm)
        return np.where(pressure > self.relief * self.rated_bar, -1.0, given - flow), pressure, flow

    def charging(self, load: Load, thick: Floats, air: Floats, harm: Harm) -> tuple[Floats, Floats, Floats]:
        """Return how long the pump charges and the accumulator feeds, s, and the flow while charging, l/min."""
        store = self.store
        swept = store.gas(store.low, air) - store.gas(store.high, air)
        middle = np.full_like(thick, 0.5 * (store.low + store.high))
        taken = load.flow * self.rated_l + self.inner(middle, harm)
        line = middle + self.clogging(np.full_like(thick, self.rated_l), thick, harm)
        given = np.maximum(self.supply(line, np.ones_like(thick), thick, harm) - self.outer(line, harm), 0.0)
        # Where consumers take what the pump gives, it runs on and on, just below the upper pressure.
        gain = np.maximum(given - taken, 0.02 * self.rated_l)
        return 60.0 * swept / gain, 60.0 * swept / np.maximum(taken, 1e-3 * self.rated_l), given

    def _charge(self, load: Load, thick: Floats, air: Floats, place: Floats, harm: Harm) -> State:
        """The pump runs from the lower to the upper pressure, then the accumulator feeds the consumers."""
        store = self.store
        charge_s, feed_s, given = self.charging(load, thick, air, harm)
        part, charges = place % 1.0, charge_s / (charge_s + feed_s)
        on = (part < charges) & (load.run > 0)
        filled = np.where(on, part / charges, 1.0 - (part - charges) / np.maximum(1.0 - charges, 1e-9))
        small, large = store.gas(store.high, air), store.gas(store.low, air)
        pressure = store.pressure(large + (small - large) * np.clip(filled, 0.0, 1.0), air)
        flow = np.where(on, given, 0.0)
        pressure = pressure + np.where(on, self.clogging(flow, thick, harm), 0.0)
        running = on.astype(np.float64)
        work = load.flow * self.rated_l * pressure
        running_load = Load(running, running, load.flow, load.load, load.peak)
        return self._state(running_load, pressure, flow, work, thick, harm)

    def _state(
        self,
        load: Load,
        pressure: Floats,
        flow: Floats,
        work: Floats,
        thick: Floats,
        harm: Harm,
        stroke: Floats | float = 1.0,
    ) -> State:
        """Add heat and vibration to pressure (bar), flow (l/min) and `work`, the load's power in bar l/min."""
        on = load.run > 0
        shaft = self.shaft_kw(pressure, flow, load.speed * stroke, thick) * on
        lost = self.outer(pressure, harm) * pressure / BAR_L_MIN_PER_KW * on
        heat = (
            shaft - lost - self.useful * work / BAR_L_MIN_PER_KW + self.host_kw * load.run * np.minimum(load.speed, 1.2)
        )
        wear, cavitation, air = (np.asarray(harm.get(name, 0.0)) for name in ("pump_wear", "cavitation", "air_in_oil"))
        bearing, pulsation, floor = self.vibrations
        share = np.maximum(pressure / self.rated_bar, 0.0)
        ripple = pulsation * np.sqrt(share) * load.speed * (1.0 + 0.8 * wear)
        noise = bearing * load.speed**1.3 * (1.0 + 1.0 * wear) * np.clip(thick, 0.5, 2.0) ** -0.1
        # Collapsing bubbles: broad noise, most at speed. Free air is softer than vapour. Source: own choice after
        # the two- to six-fold velocities that pump makers give for a pump that cavitates fully.
        bubbles = (bearing + pulsation) * load.speed * (4.0 * cavitation + 1.8 * air)
        vibration = np.sqrt(floor**2 + on * (ripple**2 + noise**2 + bubbles**2))
        rough = on * (0.12 * cavitation + 0.08 * air)
        return State(pressure, flow, vibration, np.maximum(heat, 0.0), rough)
