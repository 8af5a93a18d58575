"""A machine's week: how often it is in alarm though healthy, and how much of its pump is worn when it is told."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.machines.judging import Judge, Watch, commissioned, joined
from benchmarks.machines.machine import CHANNELS, HEALTHY, Machine, Size
from benchmarks.machines.trials import interval_s
from pipelines.machines.commissioning import Normal
from pipelines.signals.windows import Floats, Window

MINUTE_S, HOUR_S, DAY_S, WEEK_S = 60.0, 3600.0, 86_400.0, 7 * 86_400.0
WINDOWS_A_WEEK = 10_080
KNOWN = 25  # windows that a machine is commissioned with
AS_NEW = 0.01  # wear that nobody can see. Source: volumetric efficiencies of new pumps of a series differ by as much
# Healthy minutes before a fault begins, and minutes after it that are waited for an alarm.
QUIET, DELAY_LIMIT = 20, 120
WORN = 0.3  # of the pump's delivered flow at the end of the week


class Week(NamedTuple):
    """What a healthy week was like.

    Attributes:
        windows: Judged.
        judged: Share of them whose verdict is an anomaly.
        in_alarm: Share of them with which the machine is in alarm.
        alarms: Times that the alarm began, and one more for each day that it stayed, scaled to a week.
    """

    kind: str
    windows: int
    judged: float
    in_alarm: float
    alarms: float


def begun(drawn: Machine, judge: Judge, seed: int) -> tuple[Normal, float]:
    """Commission a machine with windows that follow each other; return its normal, and the moment when that is done."""
    step, seconds = interval_s(drawn), drawn.window_samples / drawn.rate_hz
    windows = [_window(drawn.record(seconds, step * place, seed=seed + place), drawn.rate_hz) for place in range(KNOWN)]
    return commissioned(windows, judge), step * KNOWN


def _window(values: dict[str, Floats], rate_hz: float) -> Window:
    return Window({channel: values[channel] for channel in CHANNELS}, rate_hz)


def minutes(
    drawn: Machine, first_s: float, count: int, every_s: float, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
) -> Iterator[list[Window]]:
    """Yield the windows that end one step after the other, a third of an hour at a time and cut from one recording."""
    length = drawn.window_samples / drawn.rate_hz
    ends = first_s + length + every_s * np.arange(count)
    each = max(1, round(HOUR_S / every_s / 3))
    for part in range(0, count, each):
        of_part = ends[part : part + each]
        if length < every_s / 4:  # the time between windows would be recorded for nothing
            yield [
                _window(drawn.record(length, float(end) - length, fault, size, seed + part + place), drawn.rate_hz)
                for place, end in enumerate(of_part)
            ]
            continue
        begin = float(of_part[0]) - length
        values = drawn.record(float(of_part[-1]) - begin, begin, fault, size, seed + part)
        total = len(values[CHANNELS[0]])
        lasts = np.minimum(np.round((of_part - begin) * drawn.rate_hz).astype(int), total)
        yield [
            _window({name: v[last - drawn.window_samples : last] for name, v in values.items()}, drawn.rate_hz)
            for last in lasts
        ]


def healthy_week(drawn: Machine, judge: Judge, count: int, seed: int) -> Week:
    """Watch a healthy machine for so many minutes."""
    normal, first = begun(drawn, judge, seed)
    watch = Watch(judge, normal)
    found = joined([watch.see(windows) for windows in minutes(drawn, first, count, MINUTE_S, seed=seed)])
    starts = int(np.sum(found.alarm & ~np.concatenate([[False], found.alarm[:-1]])))
    whole_days = int(found.alarm.sum() * MINUTE_S // DAY_S)
    alarms = (starts + whole_days) * WINDOWS_A_WEEK / count
    return Week(drawn.kind, count, float(found.is_anomaly.mean()), float(found.alarm.mean()), alarms)


def worn_at_alarm(drawn: Machine, judge: Judge, every_s: float, seed: int) -> float:
    """Return the wear of the pump at the alarm that stays, as it grows in a week; infinite where none does.

    An alarm that stays is the first from which on most windows of a day's worth are in alarm: one that comes and goes
    on a machine that is as good as new has not told of its wear, nor has one that was there from the beginning.
    """
    normal, first = begun(drawn, judge, seed)
    count = round(WEEK_S / every_s)

    def size(time: Floats) -> Floats:
        return np.asarray(WORN * np.clip((time - first) / WEEK_S, 0.0, 1.0), dtype=np.float64)

    watch = Watch(judge, normal)
    parts = minutes(drawn, first, count, every_s, "pump_wear", size, seed)
    alarms = joined([watch.see(windows) for windows in parts]).alarm
    day = max(1, round(DAY_S / every_s))
    for place in np.flatnonzero(alarms).tolist():
        if alarms[place : place + day].mean() > 0.5:
            worn = float(size(np.array([first + (place + 1) * every_s]))[0])
            return worn if worn >= AS_NEW else float("inf")
    return float("inf")


def delay(drawn: Machine, judge: Judge, fault: str, size: float, seed: int) -> float:
    """Return the minutes from a fault's beginning to the alarm; infinite where none begins within the limit.

    A machine that is in alarm before the fault begins tells nothing: NaN.
    """
    normal, first = begun(drawn, judge, seed)
    watch = Watch(judge, normal)
    begins = first + QUIET * MINUTE_S

    def step(time: Floats) -> Floats:
        return np.where(time >= begins, size, 0.0)

    minute = 0
    for windows in minutes(drawn, first, QUIET + DELAY_LIMIT, MINUTE_S, fault, step, seed):
        for in_alarm in watch.see(windows).alarm.tolist():
            minute += 1
            if in_alarm:
                return float(minute - QUIET) if minute > QUIET else float("nan")
    return float("inf")
