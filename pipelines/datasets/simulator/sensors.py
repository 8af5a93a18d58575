"""What the sensors of a machine report of its state: noise, slow wander, offset, resolution, and sensors that break."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.datasets.simulator.faults import TEMPERATURE_SPAN_K
from pipelines.datasets.simulator.load import DAY_S, HOUR_S, Waves, draw_waves
from pipelines.datasets.simulator.plant import Plant
from pipelines.datasets.simulator.unit import CHANNELS, SENSOR_FAULTS
from pipelines.machines.family import Family
from pipelines.signals.windows import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Sensor:
    """One sensor and the unrest of what it measures.

    Attributes:
        level: What it shows at rated load; for a temperature 1, so that shares of it are kelvins.
        white: Standard deviation from sample to sample, share of the level.
        coloured: Of what stays for `coloured_s`; likewise.
        wander: Of the slow movement `waves`; likewise.
        gain: Factor on the truth; `offset` is added, in its unit.
        resolution: Smallest step; `low` and `high` the ends of its range.
    """

    level: float
    white: float
    coloured: float
    coloured_s: float
    wander: float
    waves: Waves
    gain: float
    offset: float
    resolution: float
    low: float
    high: float

    def read(self, truth: Floats, time: Floats, rate_hz: float, random: np.random.Generator) -> Floats:
        """Return what it reports, shapes `float64[W, L]`; each row is a recording of its own."""
        # Source: own choice; turbulence grows with the level, and three tenths are of the electronics.
        size = self.level if self.level == 1.0 else 0.3 * self.level + 0.7 * np.abs(truth)
        unrest = self.white * random.normal(size=truth.shape)
        unrest += self.coloured * coloured(truth.shape, np.exp(-1 / (rate_hz * self.coloured_s)), random)
        slow = 1.0 if self.level == 1.0 else np.abs(truth)
        moved = truth + size * unrest + slow * self.wander * self.waves.at(time)
        return self.shown(moved * self.gain + self.offset)

    def shown(self, values: Floats) -> Floats:
        """Return values as the range and the resolution of the sensor let through."""
        return np.clip(np.round(values / self.resolution) * self.resolution, self.low, self.high)


def coloured(shape: tuple[int, ...], keeps: float, random: np.random.Generator) -> Floats:
    """Return noise of standard deviation 1 of which each sample keeps a share of the one before (AR(1)), by row."""
    from scipy.signal import lfilter  # type: ignore[import-untyped]  # it ships no types

    drive = random.normal(size=shape) * np.sqrt(1 - keeps**2)
    before = random.normal(size=(shape[0], 1)) * keeps
    found: Floats = lfilter([1.0], [1.0, -keeps], drive, axis=1, zi=before)[0]
    return found


def draw_sensors(random: np.random.Generator, plant: Plant, quiet: bool, family: Family) -> dict[str, Sensor]:
    """Draw the sensors of a machine; a `quiet` machine holds its levels well.

    Source: own choice of ranges; transmitters of classes 0.25 to 2 % in offset and gain, turbine and gear meters of 0.5
    to 2 %, thermometers of 0.1 to 1 K; vibration wavers by 3 to 20 % from second to second.
    """
    calm = 0.4 if quiet else 1.0
    grade = calm * np.exp(random.uniform(np.log(0.3), np.log(3.0)))  # one grade a machine, and each channel its own
    levels = {"pressure": plant.pressure_bar, "flow": plant.flow_l_min, "vibration": plant.vibration_mm_s}
    typical = {"pressure": (0.004, 0.004), "flow": (0.005, 0.004), "vibration": (0.07, 0.04), "temperature": (0.1, 0.4)}
    found = {}
    for name in CHANNELS:
        level = levels.get(name, 1.0)
        white, wander = (value * grade * np.exp(random.normal(0, 0.4)) for value in typical[name])
        slowest = random.uniform(0.0, 1.0) < 0.5
        low, high = sensor_range(random, name, level, family)
        found[name] = Sensor(
            level=level,
            white=float(white),
            coloured=float(white * random.uniform(0.0, 1.5)),
            coloured_s=float(np.exp(random.uniform(np.log(0.5), np.log(60.0)))),
            wander=float(wander),
            waves=draw_waves(random, 300.0 if slowest else 6 * HOUR_S, HOUR_S if slowest else 3 * DAY_S),
            gain=1 + float(random.normal(0, 0.01)),
            offset=float(random.normal(0, 0.5 if name == "temperature" else 0.005 * level)),
            resolution=resolution_of(random, name, level, high - low),
            low=low,
            high=high,
        )
    return found


def sensor_range(random: np.random.Generator, name: str, level: float, family: Family) -> tuple[float, float]:
    """Return the ends of a sensor's range, within what is plausible in the family."""
    if name == "temperature":
        return -40.0, 120.0
    return 0.0, min(family.channels[name].high, level * float(random.uniform(1.6, 5.0)))


def resolution_of(random: np.random.Generator, name: str, level: float, span: float) -> float:
    """Return the step of a display, of a 12-bit converter, or of one that nobody notices.

    A display never steps by more than its machine's owner would put up with: 2 % of the level, a fifth for vibration.
    """
    kind = random.random()
    if kind < 0.35:
        if name == "temperature":
            return float(random.choice([0.1, 0.5, 1.0]))
        steps = [step for step in (1.0, 0.5, 0.1, 0.01) if step <= level * (0.2 if name == "vibration" else 0.02)]
        return float(random.choice(steps[:2])) if steps else span / 4096
    return span / 4096 if kind < 0.7 else span / 2**18


def broken(
    values: Mapping[str, Floats], fault: str, size: Floats, sensors: Mapping[str, Sensor], random: np.random.Generator
) -> dict[str, Floats]:
    """Return the samples of a window as a broken sensor of one channel reports them.

    Shapes: `values` `float64[L]` each, `size` `float64[L]`.
    """
    channel = breakable(values, fault, random)
    good, sensor = values[channel], sensors[channel]
    level = TEMPERATURE_SPAN_K if channel == "temperature" else float(np.abs(good).mean())
    if fault == "sensor_stuck":
        wrong = np.full(len(good), good[0])
    elif fault == "sensor_drift":
        wrong = good + float(random.choice([-1.0, 1.0])) * size * level
    elif fault == "sensor_spike":
        wrong = good.copy()
        places = random.choice(len(good), max(1, int(random.integers(0, 1 + len(good) // 10))), replace=False)
        heights = random.uniform(1.0, 2.0, len(places)) * random.choice([-1.0, 1.0], len(places))
        wrong[places] += heights * size[places] * level
    else:
        length = max(1, round(len(good) * random.uniform(0.2, 0.9)))
        place = int(random.integers(0, len(good) - length + 1))
        wrong = good.copy()
        wrong[place : place + length] = max(sensor.low, 0.0)
    return {**values, channel: sensor.shown(wrong)}


def breakable(values: Mapping[str, Floats], fault: str, random: np.random.Generator) -> str:
    """Return a channel whose breaking can be seen: a stuck one moved before, and one that drops out was not zero."""
    order = [CHANNELS[place] for place in random.permutation(len(CHANNELS))]
    if fault == "sensor_stuck":
        return next((name for name in order if len(np.unique(values[name])) > 2), order[0])
    return next((name for name in order if np.abs(values[name]).min() > 0), order[0])


def is_of_sensor(fault: str) -> bool:
    """Tell whether a fault is of a sensor and not of the machine."""
    return fault in SENSOR_FAULTS
