"""What the machines of physics B are asked to do over time: constant loads, steps, cycles, chance, idling and nights.

Everything is a function of the time alone, so that any stretch of it can be asked for, in any order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats

DAY_S = 86_400.0


def hashed(seed: int, place: NDArray[np.int64]) -> Floats:
    """Return for each whole number one in 0..1 that looks drawn and is always the same.

    Source: the finaliser of splitmix64 (Steele, Lea, Flood 2014).
    """
    with np.errstate(over="ignore"):
        mixed = place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed * 0x632BE59BD9B4E019 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) / 2.0**64, dtype=np.float64)


def wander(seed: int, time: Floats, every_s: float) -> Floats:
    """Return a smooth path within -1..1 that turns about every so many seconds."""
    place = time / every_s
    before = np.floor(place).astype(np.int64)
    share = 0.5 - 0.5 * np.cos(np.pi * (place - before))
    path: Floats = 2 * ((1 - share) * hashed(seed, before) + share * hashed(seed, before + 1)) - 1
    return path


class Phase(NamedTuple):
    """One stretch of a load cycle.

    Attributes:
        opening: Of the valve to the load, 1 at the working point.
        force: Of the load, 1 at the working point; next to 0 where the machine idles.
    """

    seconds: float
    opening: float
    force: float


class Demand(NamedTuple):
    """What is asked of the machine at each moment; `running` is False where the motor is off."""

    opening: Floats
    force: Floats
    running: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a machine does over days.

    Attributes:
        kind: constant, steps, cycle or random.
        phases: Repeated; of a random load, its least and its greatest.
        scatter: How much the force of a phase differs from one time to the next, as a share.
        unrest: How much the force wavers within seconds to a minute, as a share.
        every_s: Between two turns of a random load, or of the unrest.
        start_h: Hour of the day when commissioning begins.
        night: Hours of the day between which the motor is off, or None.
        cold: The motor was off before commissioning began.
    """

    kind: str
    phases: tuple[Phase, ...]
    scatter: float
    unrest: float
    every_s: float
    start_h: float
    night: tuple[float, float] | None
    cold: bool
    seed: int

    @property
    def period_s(self) -> float:
        """Seconds after which the phases begin again."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def shortest_s(self) -> float:
        """Seconds of the shortest phase."""
        return min(phase.seconds for phase in self.phases)

    def hour(self, time: Floats) -> Floats:
        """Return the hour of the day."""
        return np.asarray((self.start_h + time / 3600.0) % 24.0, dtype=np.float64)

    def at(self, time: Floats) -> Demand:
        """Return what is asked of the machine.

        Units: seconds after commissioning began.
        """
        opening, force = self._random(time) if self.kind == "random" else self._phased(time)
        force = force * (1 + self.unrest * wander(self.seed + 1, time, self.every_s))
        return Demand(opening, force, self.running(time))

    def running(self, time: Floats) -> NDArray[np.bool_]:
        """Tell whether the motor is on."""
        on = np.ones(len(time), dtype=np.bool_)
        if self.night:
            first, last = self.night
            hour = self.hour(time)
            on = ~((hour >= first) | (hour < last)) if first > last else ~((hour >= first) & (hour < last))
        return np.logical_and(on, time >= 0) if self.cold else on

    def _phased(self, time: Floats) -> tuple[Floats, Floats]:
        cycle = np.floor(time / self.period_s)
        ends = np.cumsum([phase.seconds for phase in self.phases])
        place = np.minimum(np.searchsorted(ends, time - cycle * self.period_s, side="right"), len(ends) - 1)
        opening = np.array([phase.opening for phase in self.phases])[place]
        force = np.array([phase.force for phase in self.phases])[place]
        chance = hashed(self.seed, (cycle * len(ends)).astype(np.int64) + place)
        return opening, force * (1 + self.scatter * (2 * chance - 1))

    def _random(self, time: Floats) -> tuple[Floats, Floats]:
        least, most = self.phases[0], self.phases[-1]
        share = 0.5 + 0.5 * wander(self.seed + 2, time, self.every_s)
        apart = 0.5 + 0.5 * wander(self.seed + 3, time, self.every_s)
        opening = most.opening + (least.opening - most.opening) * apart
        return opening, least.force + (most.force - least.force) * share


@dataclass(frozen=True, slots=True)
class Weather:
    """The air around a machine.

    Attributes:
        mean_c: Over days.
        day_k: Half the distance from the coldest to the warmest hour.
        drift_k: How far it wanders over many hours.
    """

    mean_c: float
    day_k: float
    drift_k: float
    seed: int

    def at(self, time: Floats, schedule: Schedule) -> Floats:
        """Return the temperature of the air; warmest at three in the afternoon."""
        day = np.cos(2 * np.pi * (schedule.hour(time) - 15.0) / 24.0)
        return np.asarray(
            self.mean_c + self.day_k * day + self.drift_k * wander(self.seed, time, 9 * 3600.0), dtype=np.float64
        )
