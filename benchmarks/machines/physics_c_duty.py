"""What time decides for a machine of set C: weather, shifts, load levels, and the phases of its work.

Everything is a function of time in closed form: any moment of any week can be asked for alone, and a long recording is
made of the same numbers as a short one within it. Chance comes from hashing the number of an event.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
_MIX = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def chance(seed: int, stream: int, index: Floats) -> Floats:
    """Return a number in 0..1 for each event, always the same for the same seed, stream and index.

    Source: finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    """
    first, second, third = _MIX
    start = np.uint64((seed * 1_000_003 + stream * 7_919) % 2**63)
    mixed = (np.asarray(index).astype(np.int64).astype(np.uint64) + start) * first
    mixed = (mixed ^ (mixed >> np.uint64(30))) * second
    mixed = (mixed ^ (mixed >> np.uint64(27))) * third
    return np.asarray(((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53)


def smooth(seed: int, stream: int, place: Floats) -> Floats:
    """Return noise in -1..1 that passes smoothly from one whole place to the next."""
    left = np.floor(place)
    part = place - left
    part = part * part * (3.0 - 2.0 * part)
    low, high = chance(seed, stream, left), chance(seed, stream, left + 1.0)
    return np.asarray(2.0 * (low + (high - low) * part) - 1.0)


@dataclass(frozen=True, slots=True)
class Weather:
    """Air and cooling water around a machine.

    Attributes:
        mean_c: Mean of the air over the weeks.
        day_k: Half of what lies between night and afternoon.
        week_k: Half of what a change of weather makes within days.
        water_c: Temperature of the cooling water, or None for a cooler that blows air.

    Units: degC and K; seconds since commissioning began.
    """

    seed: int
    start_h: float
    mean_c: float
    day_k: float
    week_k: float
    water_c: float | None

    def air(self, times: Floats) -> Floats:
        """Return the temperature of the air; warmest at three in the afternoon."""
        hours = self.start_h + times / HOUR
        day = self.day_k * np.cos(2.0 * np.pi * (hours - 15.0) / 24.0)
        return np.asarray(self.mean_c + day + self.week_k * smooth(self.seed, 1, times / (2.2 * DAY)))

    def coolant(self, times: Floats) -> Floats:
        """Return the temperature of what cools the oil."""
        if self.water_c is None:
            return self.air(times)
        return np.asarray(self.water_c + 0.15 * self.week_k * smooth(self.seed, 2, times / (1.3 * DAY)))


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a work cycle: its share of the time, its flow and its load as shares of the rated ones."""

    share: float
    flow: float
    load: float


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What is asked of the hydraulics at each moment.

    Attributes:
        run: 1 where the pump's drive is on, else 0.
        speed: Its speed, as a share of the rated speed.
        flow: Flow asked for, as a share of the rated flow.
        load: Pressure of the load, as a share of the rated pressure.
        peak: 1 at a switch of the valve, falling to 0 within a second or two.
    """

    run: Floats
    speed: Floats
    flow: Floats
    load: Floats
    peak: Floats


@dataclass(frozen=True, slots=True)
class Duty:
    """How a machine is used.

    Attributes:
        start_h: Hour of the week (Monday 0 h is 0) at which commissioning begins.
        shift: Hours of the day between which it works; (0, 24) is around the clock.
        weekend: Whether it works on Saturday and Sunday.
        cycle_s: Length of a work cycle; each differs a little.
        phases: Parts of a cycle; the first is the one in which nothing moves, and gives way when others need longer.
        scatter: How much flow and load differ from cycle to cycle, as a share.
        block_s: Time between changes of the load level.
        levels: Load levels, drawn anew for each block.
        governs: What a level multiplies: "load" or "speed".
        idle: Share of blocks without work, the drive idling.
        idle_speed: Speed of the drive in them.
        wander: Slow change of the level that nobody ordered, as a share.
    """

    seed: int
    start_h: float
    shift: tuple[float, float]
    weekend: bool
    cycle_s: float
    phases: tuple[Phase, ...]
    scatter: float
    block_s: float
    levels: tuple[float, ...]
    governs: str
    idle: float
    idle_speed: float
    wander: float

    def at_work(self, times: Floats) -> NDArray[np.bool_]:
        """Return when the drive is on by the shifts."""
        hours = (self.start_h + times / HOUR) % (WEEK / HOUR)
        of_day = hours % 24.0
        open_ = (of_day >= self.shift[0]) & (of_day < self.shift[1])
        return np.asarray(open_ & (self.weekend | (hours < 5 * 24.0)))

    def under_load(self, times: Floats) -> NDArray[np.bool_]:
        """Return when the drive is on and not idling."""
        return np.asarray(self.at_work(times) & ~self._idles(times))

    def _idles(self, times: Floats) -> NDArray[np.bool_]:
        return np.asarray(chance(self.seed, 5, np.floor(times / self.block_s)) < self.idle)

    def at(self, times: Floats, lag_s: Floats | float = 0.15, stretch: Floats | float = 1.0) -> Load:
        """Return the load at each moment.

        Args:
            times: Seconds since commissioning began.
            lag_s: Time constant of the valve; a tenth of it is dead time.
            stretch: How much longer than new the actuators need for the same way.
        """
        flow, load, peak = self._phases(times, lag_s, stretch)
        block = np.floor(times / self.block_s)
        level = np.asarray(self.levels)[(chance(self.seed, 3, block) * len(self.levels)).astype(np.int64)]
        level = level * (1.0 + self.wander * smooth(self.seed, 4, times / (0.7 * HOUR)))
        run = self.at_work(times).astype(np.float64)
        speed = level if self.governs == "speed" else np.ones_like(level)
        load = load * level if self.governs == "load" else load
        if self.idle:
            idles = self._idles(times)
            speed = np.where(idles, self.idle_speed, speed)
            flow, load = np.where(idles, 0.03, flow), np.where(idles, 0.07, load)
            peak = np.where(idles, 0.0, peak)
        return Load(run, run * speed, run * flow, run * load, run * peak)

    def _phases(self, times: Floats, lag_s: Floats | float, stretch: Floats | float) -> tuple[Floats, Floats, Floats]:
        """Return flow and load of the cycle's phases as a valve of that lag brings them, and its switching peaks."""
        if len(self.phases) == 1:
            phase, ones = self.phases[0], np.ones_like(times)
            return phase.flow * ones, phase.load * ones, 0.0 * ones
        place = times / self.cycle_s + 0.4 * smooth(self.seed, 6, times / (2.7 * self.cycle_s))
        cycle = np.floor(place)
        part = place - cycle
        number, begin = self._number(part, stretch)
        age = np.maximum((part - begin) * self.cycle_s - 0.1 * np.asarray(lag_s), 0.0)
        old = np.exp(-age / np.asarray(lag_s))
        event = cycle * len(self.phases) + number
        flow, load = (
            self._value(event, name) + (self._value(event - 1.0, name) - self._value(event, name)) * old
            for name in ("flow", "load")
        )
        return flow, load, np.exp(-age / 0.6)

    def _number(self, part: Floats, stretch: Floats | float) -> tuple[Floats, Floats]:
        """Return which phase each part of a cycle is in, and where that phase began."""
        moving = np.array([phase.share for phase in self.phases[1:]])
        # The way is as long as before: what needs longer takes from the pause, down to nothing.
        longer = np.minimum(np.asarray(stretch), 0.98 / moving.sum())
        edge = 1.0 - longer * moving.sum() + np.zeros_like(part)
        number, begin = np.zeros_like(part), np.zeros_like(part)
        for share in moving:
            late = part >= edge
            number, begin = number + late, np.where(late, edge, begin)
            edge = edge + longer * share
        return number, begin

    def _value(self, event: Floats, name: str) -> Floats:
        """Return flow or load of each event (cycle and phase), as it differs from cycle to cycle."""
        table = np.array([getattr(phase, name) for phase in self.phases])
        stream = 7 if name == "flow" else 8
        draws = 2.0 * chance(self.seed, stream, event) - 1.0
        scattered = table[(event % len(self.phases)).astype(np.int64)] * (1.0 + self.scatter * draws)
        return np.minimum(scattered, 1.05)
