"""A machine of any size with its work, its air, its sensors and its faults: what it would send at any time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.simulator.faults import Damage, Signature, damage_of, damages_of, draw_signature, parts_of
from pipelines.datasets.simulator.load import Air, Duty, draw_air, draw_duty
from pipelines.datasets.simulator.plant import (
    BACK,
    DamageAt,
    Plant,
    State,
    at_times,
    draw_plant,
    oil_temperatures,
    state_of,
)
from pipelines.datasets.simulator.sensors import Sensor, broken, draw_sensors, is_of_sensor
from pipelines.datasets.simulator.unit import HEALTHY
from pipelines.machines.family import Family, read_family
from pipelines.signals.windows import Floats

# Source: a window is 3 samples at least (`limits.values_min`); the five of the quickstart are the commonest.
LENGTHS = (3, 5, 5, 5, 10, 20, 30, 60, 120)
# Source: own choice; a plain machine holds one load, as circulation pumps, test beds and the steady unit do.
PLAIN = 0.35

Size = float | Callable[[Floats], Floats]


class Segment(NamedTuple):
    """What is recorded at once: W windows of L samples.

    Attributes:
        begin: Time of each window's first sample, `float64[W]`.
        samples: L.
        damage_at: What is broken at a time; for times `float64[W, K]`.
    """

    begin: Floats
    samples: int
    damage_at: DamageAt


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One simulated machine, drawn once; the same call gives the same samples.

    Attributes:
        plant: Its equations; `duty` what is asked of it, `air` around its cooler, `sensors` by channel, `signature` of
            its faults.
        rate_hz: Samples a second.
        window_samples: How its owner cuts windows.
        pause_s: Between the beginnings of two windows while it is commissioned.
        seed: Of its noise.
    """

    plant: Plant
    duty: Duty
    air: Air
    sensors: Mapping[str, Sensor]
    signature: Signature
    rate_hz: float
    window_samples: int
    pause_s: float
    seed: int
    kind: str = field(default="power unit")

    def record(
        self, seconds: float, begin_s: float = 0.0, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
    ) -> dict[str, Floats]:
        """Return samples by channel (bar, degC, l/min, mm/s) of `seconds` from `begin_s` after commissioning began.

        Args:
            seconds: Length.
            begin_s: Decides ambient, load cycle and warming.
            fault: Present in the whole recording, and before.
            size: In 0..1; or as a function of the time in seconds.
            seed: Of the noise alone.
        """
        random = np.random.default_rng((self.seed, seed))
        samples = max(1, round(seconds * self.rate_hz))
        parts = parts_of(fault, self.signature)
        begin = np.array([float(begin_s)])

        def sized(time: Floats) -> Floats:
            return np.clip(size(time), 0.0, 1.0) if callable(size) else np.full(time.shape, size)

        found = self.sampled(Segment(begin, samples, lambda time: damage_of(parts, sized(time))), random)
        values = {name: rows[0] for name, rows in found.items()}
        if not is_of_sensor(fault):
            return values
        return self._broken(values, fault, sized(self.times(begin, samples)[0]))

    def _broken(self, values: Mapping[str, Floats], fault: str, size: Floats) -> dict[str, Floats]:
        """Break one and the same sensor in all of a recording, stretch by stretch of the owner's windows."""
        parts = []
        for first in range(0, len(size), self.window_samples):
            piece = {name: samples[first : first + self.window_samples] for name, samples in values.items()}
            chosen = np.random.default_rng((self.seed, len(fault)))
            parts.append(broken(piece, fault, size[first : first + self.window_samples], self.sensors, chosen))
        return {name: np.concatenate([part[name] for part in parts]) for name in values}

    def times(self, begin: Floats, samples: int) -> Floats:
        """Return the time of each sample, `float64[W, L]`."""
        return begin[:, None] + np.arange(samples) / self.rate_hz

    def sampled(self, segment: Segment, random: np.random.Generator) -> dict[str, Floats]:
        """Return what all sensors report, by channel `float64[W, L]`."""
        time = self.times(segment.begin, segment.samples)
        span = segment.samples / self.rate_hz
        step, knots = oil_temperatures(self.plant, self.duty, self.air, segment.damage_at, segment.begin, span)
        oil = at_times(step, segment.begin - BACK * self.plant.warming_s, knots, time)
        damage = segment.damage_at(time)
        state = state_of(self.plant, self.duty.at(time), damage, oil)
        truth = self._unrest(state, damage, random) | {"temperature": oil}
        return {name: sensor.read(truth[name], time, self.rate_hz, random) for name, sensor in self.sensors.items()}

    def _unrest(self, state: State, damage: Damage, random: np.random.Generator) -> dict[str, Floats]:
        """Return pressure, flow and vibration with the ripple, rattle and knocks of faults."""
        shape = state.pressure_bar.shape
        swing = damage.ripple * random.normal(size=shape)
        knock = damage.knock * knocks(self.switching(), shape, random)
        return {
            "pressure": state.pressure_bar * (1 + swing + knock),
            # Source: own choice; a meter's rotor follows six tenths of what the pressure does.
            "flow": state.flow_l_min * (1 + 0.6 * damage.ripple * random.normal(size=shape) + 0.2 * knock),
            "vibration": state.vibration_mm_s * np.abs(1 + damage.rattle * random.normal(size=shape)),
        }

    def switching(self) -> int:
        """Return the samples from one switching of its valve to the next: some 4 s, and one a window at least."""
        return int(np.clip(round(4.0 * self.rate_hz), 2, max(2, self.window_samples // 2)))


def knocks(every: int, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """Return switching transients of height 1: an overshoot and a dip after it, in each row with a phase of its own."""
    place = (np.arange(shape[1])[None, :] + random.integers(0, every, (shape[0], 1))) % every
    height = random.uniform(0.6, 1.0, shape)
    found: Floats = np.where(place == 0, height, np.where(place == 1, -0.6 * height, 0.0))
    return found


def windows_of(
    machine: Machine, begin: Floats, faults: NDArray[np.str_], sizes: Floats, random: np.random.Generator
) -> list[dict[str, Floats]]:
    """Return windows of a machine, each with a fault and a size of its own that has lasted for hours.

    Shapes: `begin`, `faults`, `sizes` of length W.
    """
    damage = damages_of([parts_of(fault, machine.signature) for fault in faults.tolist()], sizes)
    found = machine.sampled(Segment(begin, machine.window_samples, lambda time: damage), random)
    rows = []
    for row, fault in enumerate(faults.tolist()):
        values = {name: np.ascontiguousarray(samples[row]) for name, samples in found.items()}
        if is_of_sensor(fault):
            size = np.full(machine.window_samples, sizes[row])
            values = broken(values, fault, size, machine.sensors, random)
        rows.append(values)
    return rows


def draw_machine(random: np.random.Generator, family: Family | None = None) -> Machine:
    """Draw a machine of any size, with any work.

    Source: own choice of ranges; data historians keep a sample in ten seconds to ten a second.
    """
    family = family or read_family("generic")
    plain = bool(random.random() < PLAIN)
    plant = draw_plant(random)
    duty = draw_duty(random, plain, 2.5 * plant.warming_s)
    rate = 1.0 if random.random() < 0.35 else float(np.exp(random.uniform(np.log(0.1), np.log(10.0))))
    samples = int(random.choice(LENGTHS))
    length = samples / rate
    pause = length if random.random() < 0.5 else float(np.exp(random.uniform(np.log(length), np.log(20 * length + 60))))
    return Machine(
        plant=plant,
        duty=duty,
        air=draw_air(random, plant.air_c, duty.clock_h),
        sensors=draw_sensors(random, plant, plain, family),
        signature=draw_signature(random),
        rate_hz=rate,
        window_samples=samples,
        pause_s=pause,
        seed=int(random.integers(2**31)),
    )
