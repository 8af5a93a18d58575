"""The sensors of physics B: range, resolution, offset, lag and noise, and the four faults that they have themselves."""

from dataclasses import dataclass

import numpy as np

from benchmarks.machines.machine import CHANNELS, SENSOR_FAULTS, Sizes
from pipelines.signals.windows import Floats

DRIFT_K = 40.0  # what a size of 1 means to a temperature
# Bounds of the family `generic`, which refuses what lies beyond.
PLAUSIBLE = {"pressure": (0.0, 700.0), "temperature": (-40.0, 120.0), "flow": (0.0, 1000.0), "vibration": (0.0, 100.0)}
# A channel whose noise is below this share of its resolution stands still by itself, so that nobody sees it stuck.
LIVELY = 0.4


@dataclass(frozen=True, slots=True)
class Sensor:
    """One channel's way from the machine to the number.

    Attributes:
        most: End of its range.
        resolution: Step of its numbers.
        offset: Added, in its unit.
        gain: Multiplied.
        white: Noise from sample to sample, in its unit.
        share: The same as a share of the value.
        coloured: Noise that lasts, in its unit.
        lasts_s: How long.
        level: Value at the working point.
    """

    most: float
    resolution: float
    offset: float
    gain: float
    white: float
    share: float
    coloured: float
    lasts_s: float
    level: float

    @property
    def is_lively(self) -> bool:
        """Whether its numbers move while the machine does not."""
        return self.white + self.share * self.level > LIVELY * self.resolution

    def read(self, value: Floats, rate_hz: float, random: np.random.Generator) -> Floats:
        """Return what the sensor makes of a value, but for range and resolution."""
        count = len(value)
        noise = random.standard_normal(count) * (self.white + self.share * np.abs(value))
        if self.coloured:
            noise = noise + self.coloured * lasting(count, rate_hz * self.lasts_s, random)
        return np.asarray(self.gain * value + self.offset + noise, dtype=np.float64)

    def rounded(self, value: Floats, low: float, high: float) -> Floats:
        """Return the numbers that are sent."""
        steps = np.round(value / self.resolution) * self.resolution
        return np.clip(steps, low, min(high, self.most))


def lasting(count: int, samples: float, random: np.random.Generator) -> Floats:
    """Return noise of standard deviation 1 that lasts for so many samples: an autoregression of first order."""
    from scipy.signal import lfilter  # type: ignore[import-untyped]

    keeps = float(np.exp(-1 / max(samples, 1e-3)))
    drawn = random.standard_normal(count + 1) * np.sqrt(1 - keeps * keeps)
    drawn[0] = random.standard_normal()
    path: Floats = np.asarray(lfilter([1.0], [1.0, -keeps], drawn), dtype=np.float64)[1:]
    return path


@dataclass(frozen=True, slots=True)
class Sensors:
    """The four channels of one machine."""

    by_channel: dict[str, Sensor]
    window_samples: int

    def read(self, values: dict[str, Floats], rate_hz: float, sizes: Sizes, seed: int) -> dict[str, Floats]:
        """Return the numbers that are sent, one channel perhaps with a fault of its sensor."""
        random = np.random.default_rng([seed, 1])
        sent = {name: self.by_channel[name].read(values[name], rate_hz, random) for name in CHANNELS}
        if sizes.fault in SENSOR_FAULTS:
            chance = np.random.default_rng([seed, 2])
            known = [name for name in CHANNELS if sizes.fault != "sensor_stuck" or self.by_channel[name].is_lively]
            name = str(chance.choice(known or list(CHANNELS)))
            sent[name] = self._faulty(name, sent[name], sizes, chance)
        return {name: self.by_channel[name].rounded(sent[name], *PLAUSIBLE[name]) for name in CHANNELS}

    def _faulty(self, name: str, sent: Floats, sizes: Sizes, random: np.random.Generator) -> Floats:
        """Return a channel as its broken sensor sends it."""
        is_there = sizes.size > 0
        if sizes.fault == "sensor_stuck":
            return np.where(is_there, sent[int(random.integers(len(sent)))], sent)
        sign = float(random.choice([-1.0, 1.0]))
        jump = sizes.size * (DRIFT_K if name == "temperature" else self.by_channel[name].level)
        if sizes.fault == "sensor_drift":
            return sent + sign * jump
        chosen = np.zeros(len(sent), dtype=np.bool_)
        for first in range(0, len(sent), self.window_samples):  # at least once a window
            part = chosen[first : first + self.window_samples]
            if sizes.fault == "sensor_spike":
                part[random.integers(len(part), size=max(1, len(part) // 20))] = True
            else:
                length = max(1, round(len(part) * float(random.uniform(0.2, 0.6))))
                start = int(random.integers(max(1, len(part) - length)))
                part[start : start + length] = True
        chosen &= is_there
        if sizes.fault == "sensor_dropout":
            return np.where(chosen, 0.0, sent)
        # A spike below zero would be cut off at it: upwards where the level is too low for one downwards.
        down = (random.random(len(sent)) < 0.3) & (sent > 2 * jump)
        high = jump * random.uniform(1.0, 2.5, len(sent))
        return np.where(chosen, np.where(down, sent - jump, sent + high), sent)
