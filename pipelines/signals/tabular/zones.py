"""Joins dates and clocks, and brings moments to UTC: of a zone that is named, or of one whose clocks were changed."""

from dataclasses import replace
from functools import cache
from zoneinfo import available_timezones

import numpy as np
import pandas as pd

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.clocks import DAY, HOUR, NEVER, SECOND, Moments, Nanos, zone_minutes

# Names of zones, asked once, and those among them that say nothing; pandas would open any file that is named as a zone.
zone_names, NO_ZONES = cache(available_timezones), {"localtime", "Factory"}


def joined(date: Moments, clock: Moments) -> Moments:
    """Return moments from a column of dates and one of clocks."""
    right = (date.nanos != NEVER) & (clock.nanos != NEVER)
    nanos = np.where(right, date.nanos + np.where(right, clock.nanos, 0), NEVER)
    zoned, own = date.zoned or clock.zoned, date.own if clock.own is None else clock.own
    words = f"{date.text} and {clock.text}"
    unknown = date.unknown or clock.unknown
    return Moments(nanos, "moment", words, zoned, date.assumed, None if zoned else own, unknown)


def past_midnight(clock: Moments) -> Moments:
    """Return a clock without dates as time that has passed: a step back of half a day or more is midnight."""
    known = np.flatnonzero(clock.nanos != NEVER)
    nanos = clock.nanos.copy()
    nights = np.cumsum(np.diff(nanos[known], prepend=nanos[known][:1]) < -12 * HOUR)
    nanos[known] += nights * DAY
    return replace(clock, nanos=nanos, kind="elapsed", text=f"{clock.text}, without a date")


def in_zone(moments: Moments, zone: str | None) -> tuple[Moments, list[str]]:
    """Return moments in UTC, and what was assumed of clocks that were changed; rows are in the file's order.

    Args:
        zone: Of cells that name none, as `Europe/Berlin` or `+03:00`; None where it is not known.

    Raises:
        InvalidInput: There is no such zone.
    """
    if moments.zoned or moments.kind != "moment":
        return moments, []
    if (own := moments.own) is not None:
        rest, notes = in_zone(replace(moments, nanos=np.where(own, NEVER, moments.nanos), own=None), zone)
        bare = int((rest.nanos != NEVER).sum())
        notes = [f"{bare} rows name no zone, while others do: read as {zone or 'UTC'}", *notes] if bare else notes
        return replace(rest, nanos=np.where(own, moments.nanos, rest.nanos)), notes
    minutes = zone_minutes(zone) if zone else None
    if minutes is not None:
        shift = int(minutes) * 60 * SECOND
        return replace(moments, nanos=np.where(moments.nanos == NEVER, NEVER, moments.nanos - shift)), []
    return _local(moments, zone) if zone else _mended(moments)


def _local(moments: Moments, zone: str) -> tuple[Moments, list[str]]:
    """Return moments of a zone whose clocks are changed."""
    known = np.flatnonzero(moments.nanos != NEVER)
    nanos = moments.nanos[known]
    summer = _put_back(nanos) == 0
    naive = pd.DatetimeIndex(nanos.view("datetime64[ns]"))
    if zone not in zone_names() or zone in NO_ZONES:
        raise InvalidInput("zone", zone, "must be a time zone as Europe/Berlin or +03:00")
    local = naive.tz_localize(zone, ambiguous=summer, nonexistent=pd.Timedelta(hours=1))
    found = moments.nanos.copy()
    found[known] = np.asarray(local.tz_convert("UTC").tz_localize(None)).astype("datetime64[ns]").astype(np.int64)
    other = naive.tz_localize(zone, ambiguous=~summer, nonexistent=pd.Timedelta(hours=1))
    twice = int((np.asarray(other.asi8) != np.asarray(local.asi8)).sum())
    notes = [f"{twice} rows stand in an hour that {zone} had twice, read in the file's order"] if twice else []
    return replace(moments, nanos=found), notes


def _put_back(nanos: Nanos) -> Nanos:
    """Return how often the clock had been put back before each row of a run of rows.

    A step back of an hour counts on a Sunday in autumn, to the beginning of an hour of the night; a longer one is where
    the file begins anew, with another machine. Source: the rules of Europe, America and Australia.
    """
    steps = np.diff(nanos, prepend=nanos[:1])
    usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0
    hours = (steps >= -HOUR) & (steps <= -HOUR + max(3 * usual, SECOND)) & (nanos % HOUR <= max(usual, SECOND))
    moments = pd.DatetimeIndex(nanos.view("datetime64[ns]"))
    nights = (moments.dayofweek == 6) & moments.month.isin([4, 10, 11]) & (moments.hour <= 3)
    runs = pd.Series((steps < -1.5 * HOUR).cumsum())
    return pd.Series(hours & np.asarray(nights)).groupby(runs).cumsum().to_numpy(dtype=np.int64)


def _mended(moments: Moments) -> tuple[Moments, list[str]]:
    """Return moments of an unknown zone with a change of the clocks taken out, which else is an hour read twice."""
    known = np.flatnonzero(moments.nanos != NEVER)
    nanos, notes = moments.nanos.copy(), []
    mine = nanos[known]
    back = _put_back(mine)
    if back.any():
        mine += back * HOUR
        notes.append("the clock was put back an hour in the middle: all rows after it are read an hour later")
    steps = np.diff(mine)
    usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0
    for place in np.flatnonzero(np.abs(steps - HOUR - usual) <= 0.1 * usual) if usual < HOUR / 4 else ():
        if _spring(mine[place + 1]):
            mine[place + 1 :] -= HOUR
            notes.append("the clock was put forward an hour in the middle: all rows after it are read an hour earlier")
    nanos[known] = mine
    return replace(moments, nanos=nanos), notes


def _spring(nanos: np.int64) -> bool:
    """Return whether a moment begins an hour of a Sunday in March, as where clocks are put forward."""
    moment = pd.Timestamp(int(nanos))
    return moment.month == 3 and moment.dayofweek == 6 and moment.hour in (2, 3) and moment.minute == 0
