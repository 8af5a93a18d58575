"""What the sensors of a machine of set C make of its true state: scatter, offsets, steps of the reading, and faults.

The fluid's own unrest is coloured (AR(1)) and partly common to pressure and flow; the sensors' noise is white; a
healthy channel shows a spike of electromagnetic origin once in some thousand samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter  # type: ignore[import-untyped]

from benchmarks.machines.machine import CHANNELS
from pipelines.signals.windows import Floats

# How often each channel is the one whose sensor fails. Source: own choice; each channel is tried.
FAILING = (0.3, 0.2, 0.3, 0.2)
# Full drift and spike of a temperature, K; of other channels the level itself. Source: the definition of fault sizes.
DRIFT_K = 40.0
# Spikes or losses a sample, beside one in each window. Source: own choice; a loose contact that shows in fewer windows
# is no fault of those where it does not.
RARE = 0.03


@dataclass(frozen=True, slots=True)
class Sensor:
    """One channel's sensor.

    Attributes:
        span: Full scale, in the channel's unit; readings end there, and at `least`.
        least: Lowest reading.
        gain: Reading over truth.
        offset: Reading at zero.
        noise: Standard deviation of white noise.
        step: Between two readings (12 bit of the span, or coarser).
        spikes: Share of samples with a healthy spike.
    """

    span: float
    least: float
    gain: float
    offset: float
    noise: float
    step: float
    spikes: float

    def read(self, truth: Floats, random: np.random.Generator) -> Floats:
        """Return what the sensor shows, before its faults."""
        shown = truth * self.gain + self.offset + self.noise * random.standard_normal(truth.shape)
        hit = random.random(truth.shape) < self.spikes
        jump = self.span * random.uniform(0.2, 0.8, truth.shape) * np.where(random.random(truth.shape) < 0.5, -1.0, 1.0)
        return self.stepped(shown + hit * jump)

    def stepped(self, shown: Floats) -> Floats:
        """Return a reading in the sensor's steps and within its span."""
        return np.asarray(np.clip(np.round(shown / self.step) * self.step, self.least, self.span))


@dataclass(frozen=True, slots=True)
class Unrest:
    """Scatter of the state itself: of pressure, flow and vibration as shares, how long it lasts, how much is common."""

    pressure: float
    flow: float
    vibration: float
    lasts_s: float
    common: float

    def coloured(self, count: int, rate_hz: float, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """Return unrest of pressure, flow and vibration, coloured, of deviation 1. Shapes: `float64[count]`."""
        kept = float(np.exp(-1.0 / (rate_hz * self.lasts_s)))
        white = random.standard_normal((3, count))
        begin = white[:, :1] * (kept / np.sqrt(1.0 - kept**2))
        both, alone, shaking = lfilter([1.0], [1.0, -kept], white, axis=1, zi=begin)[0] * np.sqrt(1.0 - kept**2)
        other = np.sqrt(1.0 - self.common**2)
        # What closes for a moment raises the pressure and lowers the flow.
        return both, np.asarray(other * alone - self.common * both), shaking


def failing(machine_seed: int, fault: str, seed: int) -> tuple[str, float]:
    """Return which channel's sensor fails in a recording of that seed, and to which side it drifts."""
    random = np.random.default_rng([machine_seed, seed, len(fault), 77])
    return str(random.choice(CHANNELS, p=FAILING)), 1.0 if random.random() < 0.6 else -1.0


def spoilt(
    sensor: Sensor,
    fault: str,
    shown: Floats,
    size: Floats,
    window: int,
    temperature: bool,
    sign: float,
    random: np.random.Generator,
) -> Floats:
    """Return a channel as a failed sensor shows it.

    Args:
        sensor: The channel's sensor.
        fault: Of `SENSOR_FAULTS`.
        shown: What a whole one shows.
        size: At each sample.
        window: Samples of a window.
        temperature: Whether the channel is the temperature.
        sign: To which side it drifts.
        random: Chance of this recording.
    """
    if fault == "sensor_stuck":
        return np.full_like(shown, shown[0])
    level = np.full_like(shown, DRIFT_K) if temperature else np.maximum(np.abs(shown), 0.02 * sensor.span)
    if fault == "sensor_drift":
        return sensor.stepped(shown + sign * size * level)
    hit = _hits(len(shown), window, random) & (size > 0)
    if fault == "sensor_spike":
        jump = size * random.uniform(1.0, 2.5, shown.shape) * random.choice([-1.0, 1.0], shown.shape, p=[0.3, 0.7])
        return sensor.stepped(shown + hit * jump * level)
    # A loose contact is off for one to five samples at a time.
    until = np.maximum.accumulate(np.where(hit, np.arange(shown.size) + random.integers(1, 6, shown.shape), 0))
    return np.where(np.arange(shown.size) < until, 0.0, shown)


def _hits(count: int, window: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which samples are hit: one in each window, and some more."""
    hit = random.random(count) < RARE
    begins = np.arange(0, count, window)
    hit[np.minimum(begins + random.integers(0, window, len(begins)), count - 1)] = True
    return hit
