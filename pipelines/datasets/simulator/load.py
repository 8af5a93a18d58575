"""What is asked of a machine over time: its operating points, load cycle, hours of work, and the air around it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats

DAY_S, HOUR_S = 86_400.0, 3_600.0


class Load(NamedTuple):
    """What is asked of a machine at each moment.

    Attributes:
        pressure: Share of the rated pressure.
        flow: Share of the rated flow that its drive or its valves give.
        point: Number of the operating point.
        runs: Whether the pump turns.
    """

    pressure: Floats
    flow: Floats
    point: NDArray[np.int64]
    runs: NDArray[np.bool_]

    def step(self, place: int) -> "Load":
        """Return one place of the second axis."""
        return Load(self.pressure[:, place], self.flow[:, place], self.point[:, place], self.runs[:, place])


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """A load that repeats.

    Attributes:
        period_s: Its length.
        phase: Knots in 0..1; between them the load changes evenly.
        pressure: Factor on the operating point's pressure at each knot; `flow` likewise.

    Shapes: each `float64[K]`.
    """

    period_s: float
    phase: Floats
    pressure: Floats
    flow: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Duty:
    """When a machine does what.

    Attributes:
        pressures: By operating point, share of the rated pressure; `flows` likewise, 0 for a machine at rest.
        ends_s: End of each stretch of its programme, which repeats for ever; `points` what it does in it.
        begin_s: Place in the programme at time 0.
        cycle: Or None where each operating point holds its load.
        clock_h: Hour of the day at time 0.
        work_h: Hours of the day between which it works.

    Shapes: `pressures`, `flows` `float64[P]`; `ends_s` `float64[S]`, `points` `int64[S]`.
    """

    pressures: Floats
    flows: Floats
    ends_s: Floats
    points: NDArray[np.int64]
    begin_s: float
    cycle: Cycle | None
    clock_h: float
    work_h: tuple[float, float]

    def at(self, time: Floats) -> Load:
        """Return the load at each time in seconds."""
        place = np.mod(time + self.begin_s, self.ends_s[-1])
        point = self.points[np.minimum(np.searchsorted(self.ends_s, place, side="right"), len(self.points) - 1)]
        hour = np.mod(self.clock_h + time / HOUR_S, 24.0)
        runs = (self.flows[point] > 0) & (hour >= self.work_h[0]) & (hour < self.work_h[1])
        pressure, flow = self.pressures[point], self.flows[point]
        if self.cycle is not None:
            phase = np.mod(time / self.cycle.period_s, 1.0)
            pressure = pressure * np.interp(phase, self.cycle.phase, self.cycle.pressure)
            flow = flow * np.interp(phase, self.cycle.phase, self.cycle.flow)
        return Load(pressure, flow, np.where(runs, point, -1), runs)


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """A slow movement that is known for any time: waves of several periods, of standard deviation 1 together.

    Shapes: `period_s`, `phase` `float64[K]`.
    """

    period_s: Floats
    phase: Floats

    def at(self, time: Floats) -> Floats:
        """Return the movement at each time in seconds."""
        found = np.zeros_like(time)
        for period_s, phase in zip(self.period_s.tolist(), self.phase.tolist(), strict=True):
            found += np.sin(2 * np.pi * (time / period_s + phase))
        return found * float(np.sqrt(2 / len(self.phase)))


@dataclass(frozen=True, slots=True, eq=False)
class Air:
    """Temperature of the air at the cooler, in degC: its mean, the swing through a day, and the weather's deviation."""

    mean_c: float
    swing_c: float
    weather_c: float
    weather: Waves
    clock_h: float

    def at(self, time: Floats) -> Floats:
        """Return it at each time in seconds."""
        # Source: air is warmest near three in the afternoon (any climatological table).
        day = np.sin(2 * np.pi * (self.clock_h + time / HOUR_S - 9.0) / 24.0)
        return self.mean_c + self.swing_c * day + self.weather_c * self.weather.at(time)


def draw_waves(random: np.random.Generator, shortest_s: float, longest_s: float, count: int = 4) -> Waves:
    """Draw a slow movement with periods between two."""
    periods = np.exp(random.uniform(np.log(shortest_s), np.log(longest_s), count))
    return Waves(periods, random.uniform(0, 1, count))


def draw_air(random: np.random.Generator, mean_c: float, clock_h: float) -> Air:
    """Draw the air of a hall (little swing) or of a yard.

    Source: own choice; halls swing by 2 to 4 K through a day, the air outside in a temperate summer by 8 to 14 K.
    """
    swing = float(np.exp(random.uniform(np.log(0.5), np.log(7.0))))
    return Air(mean_c, swing, swing * float(random.uniform(0, 0.5)), draw_waves(random, DAY_S, 7 * DAY_S), clock_h)


def draw_cycle(random: np.random.Generator, moves_flow: bool) -> Cycle:
    """Draw a load cycle of 2 s to an hour; shorter and longer ones than a window.

    Source: own choice of range; injection moulding repeats in 5 to 60 s, presses in 3 to 120 s, the test rig in 60 s,
    charging and batch processes in up to an hour.
    """
    steps = int(random.integers(2, 5))
    depth = random.uniform(0.05, 0.7)
    pressure = 1 - depth * random.uniform(0, 1, steps)
    pressure /= pressure.max()
    flow = 1 - (depth * random.uniform(0, 0.8, steps) if moves_flow else np.zeros(steps))
    cuts = np.sort(random.uniform(0.1, 0.9, steps - 1))
    ramp = random.uniform(0.01, 0.05)
    begins = np.concatenate([[0.0], cuts])
    ends = np.concatenate([cuts, [1.0]])
    phase = np.stack([begins + ramp * (ends - begins), ends], axis=1).ravel()
    first, last = np.array([0.0]), np.array([pressure[-1]])
    return Cycle(
        float(np.exp(random.uniform(np.log(2.0), np.log(HOUR_S)))),
        np.concatenate([first, phase]),
        np.concatenate([last, np.repeat(pressure, 2)]),
        np.concatenate([flow[-1:], np.repeat(flow, 2)]),
    )


def draw_duty(random: np.random.Generator, plain: bool, settled_s: float) -> Duty:
    """Draw a machine's work; a `plain` one holds one load day and night.

    Args:
        plain: See above.
        settled_s: Time after the start of a day's work when the oil is warm; most machines are past it at time 0.
    """
    count = 1 if plain else int(random.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))
    moves_flow = not plain and bool(random.random() < 0.5)
    pressures = np.concatenate([[1.0], random.uniform(0.3, 1.0, count - 1)])
    flows = np.concatenate([[1.0], random.uniform(0.4, 1.0, count - 1) if moves_flow else np.ones(count - 1)])
    if not plain and random.random() < 0.35:  # idle: the pump circulates
        pressures, flows = np.append(pressures, random.uniform(0.04, 0.15)), np.append(flows, flows[0])
    if not plain and random.random() < 0.2:  # at rest between jobs
        pressures, flows = np.append(pressures, 0.05), np.append(flows, 0.0)
    ends, points = draw_programme(random, len(pressures))
    clock, work = draw_hours(random, plain, settled_s)
    cycle = None if plain or random.random() < 0.45 else draw_cycle(random, moves_flow)
    first = float(random.choice(np.flatnonzero(flows[points] > 0)))
    begins = np.concatenate([[0.0], ends[:-1]])[int(first)]
    begin = float(begins + random.uniform(0, 0.5) * (ends[int(first)] - begins))
    return Duty(pressures, flows, ends, points, begin, cycle, clock, work)


def draw_programme(random: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draw how long the machine stays at which of its operating points: minutes in some machines, hours in others."""
    if count == 1:
        return np.array([DAY_S]), np.zeros(1, dtype=np.int64)
    stretches = 6 * count
    typical = np.exp(random.uniform(np.log(60.0), np.log(4 * HOUR_S)))
    points = random.integers(0, count, stretches)
    points[:count] = random.permutation(count)
    return np.cumsum(typical * random.uniform(0.3, 1.7, stretches)), points


def draw_hours(random: np.random.Generator, plain: bool, settled_s: float) -> tuple[float, tuple[float, float]]:
    """Draw the hour of the day at time 0 and the hours of work; one machine in eight begins with cold oil."""
    if plain or random.random() < 0.6:
        return float(random.uniform(0, 24)), (0.0, 24.0)
    begin = float(random.uniform(5, 8))
    end = begin + float(random.choice([8.0, 16.0]))
    warm = min(settled_s / HOUR_S, 5.0)
    wait = float(random.uniform(0, 0.1)) if random.random() < 0.3 else float(random.uniform(warm, warm + 1.0))
    return begin + wait, (begin, end)
