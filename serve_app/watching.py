"""Judges what machines send without being asked: windows are cut from their readings, in the order of time.

Windows of a system follow one another, each as long as its family says, or a multiple of that where its readings come
more slowly, counted from midnight of 1970, so that the same readings make the same windows. A window is whole when all
channels have gone past its end, or one of them by a window more. What is judged is known by what it holds, so that a
window is judged once however often it is looked at, and once more where readings that came late have changed it.
"""

import asyncio
import hashlib
import logging
import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid5

import numpy as np

from pipelines.errors import Conflict, InvalidInput, UnknownFamily
from pipelines.machines.family import Family
from pipelines.signals.channels import read_window
from pipelines.signals.windows import Window
from serve_app.acquisition import window_to
from serve_app.detection import CLOCKS_APART, Detection
from serve_app.shared import logs
from serve_app.store.records import Series
from serve_app.store.records_watching import EventKind, Happened, Watch

# Windows that are judged in one go, before others have their turn, and samples of a channel that are read for them.
# Source: own choices; a second or two of work, and a megabyte.
WINDOWS_MAX, SAMPLES_MAX = 50, 20_000
# Readings of all channels in one go; where there are more, fewer windows are read, and of one window that has more what
# stands for them. Source: own choice; some thirty megabytes.
POINTS_MAX = 200_000
# Seconds after which others have their turn, however few windows were judged. Source: own choice; a sixth of what a
# look may take, so that one with slow detectors tells what it has done.
ENOUGH_S = 20.0
# Readings of a channel that show how often it is read, and those that are too few; how many times farther they are
# looked for, and how far at most. Source: own choices; as detect looks for the newest window.
MEASURED, FEW, BACK_AGAIN, FARTHEST_BACK = 400, 3, 20, timedelta(days=60)
# Steps of the family between two readings up to which a value holds for the next. Source: `acquisition.window_to`.
HELD = 1.5
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime.fromtimestamp(0, UTC)
JUDGED_LATE = "windows up to {} are judged, or judged again, as readings came late"
OF_WINDOWS = UUID("7f6f7d0e-2f0a-5bb1-9a53-1c1de1f2a6d4")  # the name space of windows that were cut


class Watching:
    """Looks at systems whose readings have come."""

    def __init__(self, detection: Detection) -> None:
        self._detection, self._store = detection, detection.services.store
        self._without: set[int] = set()  # systems whose family is gone, as was told

    async def look(self, tenant_id: int, system_id: int) -> None:
        """Judge windows that are whole, and those that late readings have changed; ask for another look where more are.

        Raises:
            Unavailable: Ensemble or database is down; what was judged by then stays so.
        """
        watch = await self._store.watches.get(tenant_id, system_id)
        if watch is None:
            return
        try:
            family = await self._detection.families.of(tenant_id, watch.family)
        except UnknownFamily as error:
            if system_id not in self._without:
                logs.write("watch.without", logging.WARNING, error, tenant_id=tenant_id, system_id=system_id)
            self._without.add(system_id)
            return
        self._without.discard(system_id)
        cut = _Cut(self._detection, tenant_id, system_id, family)
        newest = await cut.newest(watch)
        more = newest is not None and await self._whole(cut, watch, newest)
        # What comes late from now on asks for a look of its own.
        if watch.late_from is not None or watch.again_from is not None:
            more |= await self._late(cut)
        if more:
            await self._store.watches.again(tenant_id, system_id)

    async def _whole(self, cut: "_Cut", watch: Watch, newest: datetime) -> bool:
        """Judge the next whole windows; tell whether there are more."""
        begin, taken, series = await self._next(cut, watch, newest)
        if taken > begin and not cut.knows(series):
            await cut.measure(watch.judged_until)
            begin, taken, series = await self._next(cut, watch, newest)
        if taken <= begin or not cut.is_known:
            return await cut.waits(watch, begin)
        if not any(each.points[-1][0] > begin for each in series):
            return await cut.skip(begin, taken, newest)
        end = min(taken, floor(cut.settled(series, taken, newest), cut.length))
        if end <= begin:
            return await cut.waits(watch, begin)
        end = await cut.judge_all(series, begin, end, late=False)
        await cut.tell_gaps(series, begin, end)
        await self._store.watches.judged(*cut.own, end, end + cut.length)
        return end + cut.length <= newest

    async def _next(self, cut: "_Cut", watch: Watch, newest: datetime) -> tuple[datetime, datetime, Sequence[Series]]:
        """Take the readings of the next whole windows; return where those begin and end, equal where none is whole."""
        begin = floor(watch.judged_until, cut.length)
        taken = min(floor(newest, cut.length), begin + cut.most * cut.length)
        if taken <= begin:
            return begin, begin, ()
        await self._store.watches.take(*cut.own, taken)
        series, taken = await cut.read(begin, taken, min(newest, taken + cut.length))
        return begin, taken, series

    async def _late(self, cut: "_Cut") -> bool:
        """Judge windows again that readings came late for; tell whether there are more."""
        watch = await self._store.watches.take_late(*cut.own)
        if watch.again_from is None or watch.again_to is None:
            return False
        await cut.measure(watch.again_from)
        begin = floor(watch.again_from - MICROSECOND, cut.length)
        # What lies beyond is not judged yet, and is read with them when it is.
        last = min(floor(watch.again_to - MICROSECOND, cut.length) + cut.length, floor(watch.judged_until, cut.length))
        end = min(last, begin + cut.most * cut.length)
        if begin < end:
            cut.late_until = None if watch.late_told else last
            series, end = await cut.read(begin, end, end)
            if any(each.points[-1][0] > begin for each in series):
                end = await cut.judge_all(series, begin, end, late=True)
            else:
                following = await cut.following(end, watch.again_to)
                end = min(last, max(end, floor(following - MICROSECOND, cut.length)))
        # Readings at the end of a window belong to it.
        await self._store.watches.judged_again(*cut.own, end + MICROSECOND if end < last else None)
        return end < last


class _Cut:
    """The windows of one system."""

    def __init__(self, detection: Detection, tenant_id: int, system_id: int, family: Family) -> None:
        self._detection, self._store = detection, detection.services.store
        self._family = family
        self.is_known = False  # how often its readings come
        self.late_until: datetime | None = None  # up to when windows are late that nobody was told of
        self.own = tenant_id, system_id
        self._rate_hz = next(iter(family.channels.values())).rate_hz
        self.length = timedelta(seconds=family.window_s)
        self.most = max(1, min(WINDOWS_MAX, int(SAMPLES_MAX / (self._rate_hz * family.window_s))))

    def knows(self, series: Sequence[Series]) -> bool:
        """Tell whether readings show that windows are as long as the family's; else they are to be measured."""
        self.is_known = any(each.count > FEW and _step(each) * self._rate_hz <= HELD for each in series)
        return self.is_known

    async def measure(self, begin: datetime) -> None:
        """See how long windows are from a moment on: as many samples as the family's, at the rate of the readings."""
        length = back = timedelta(seconds=self._family.window_s)
        while True:
            steps = [
                _step(each) for each in await self._span(begin - back, begin + 4 * back, MEASURED) if each.count > FEW
            ]
            if steps or back > FARTHEST_BACK:
                break
            back *= BACK_AGAIN
        self.is_known = bool(steps)
        samples = min(steps, default=0.0) * self._rate_hz  # of the family's for one of the readings'
        self.length = length * (math.ceil(samples - 0.25) if samples > HELD else 1)

    async def newest(self, watch: Watch) -> datetime | None:
        """Return the moment of the newest reading, but for those of clocks that run ahead."""
        until = datetime.now(UTC) + CLOCKS_APART
        if watch.newest is not None and watch.newest <= until:
            return watch.newest
        return await self._store.readings.newest(*self.own, list(self._family.channels), until)

    async def read(self, begin: datetime, end: datetime, until: datetime) -> tuple[Sequence[Series], datetime]:
        """Return the readings of windows, of the time before and after them, and where the last of them ends.

        Args:
            begin: Of the first window.
            end: Of the last one that is wanted; of fewer, where there is more to read than fits.
            until: Of the time after it.
        """
        while True:
            series = await self._span(
                begin - self.length, until + MICROSECOND, POINTS_MAX // len(self._family.channels)
            )
            if (end - begin) <= self.length or all(each.count == len(each.points) for each in series):
                return series, end
            end = begin + max(1, (end - begin) // self.length // 2) * self.length
            until = end

    def settled(self, series: Sequence[Series], end: datetime, newest: datetime) -> datetime:
        """Return up to when readings of all channels are there, or those of the others are a window further."""
        if newest - self.length >= end:
            return end
        return max(min(each.points[-1][0] for each in series), newest - self.length)

    async def waits(self, watch: Watch, begin: datetime) -> bool:
        """Say when the next window is whole; there is no other before it."""
        due = begin + self.length
        if due != watch.due:
            await self._store.watches.judged(*self.own, watch.judged_until, due)
        return False

    async def skip(self, begin: datetime, end: datetime, newest: datetime) -> bool:
        """Go on with the window of the next reading, where windows hold none; tell whether it is there."""
        # What fills the gap from now on comes late, and is judged as such.
        await self._store.watches.take(*self.own, floor(newest, self.length))
        following = await self.following(end, newest)
        skipped = max(end, floor(following - MICROSECOND, self.length))
        await self.tell("readings.missing", following, _missing(begin, following))
        await self._store.watches.judged(*self.own, skipped, skipped + self.length)
        return skipped + self.length <= newest

    async def following(self, after: datetime, until: datetime) -> datetime:
        """Return the moment of the first reading after one moment and up to another; the other where there is none."""
        series = await self._span(after + MICROSECOND, until + MICROSECOND, 4)
        return min((each.points[0][0] for each in series), default=until)

    async def _span(self, begin: datetime, end: datetime, points: int) -> Sequence[Series]:
        return await self._store.readings.span(*self.own, begin, end, points, list(self._family.channels))

    async def judge_all(self, series: Sequence[Series], begin: datetime, end: datetime, late: bool) -> datetime:
        """Judge the windows between two borders, as many as there is time for; return where the last of them ended."""
        until = time.monotonic() + ENOUGH_S
        counted = await self._store.diagnoses.ends(*self.own, begin, end) if late else set()
        for at in ends(begin, end, self.length):
            await self.judge(series, at, late, at not in counted)
            if time.monotonic() > until:
                return at
        return end

    async def judge(self, series: Sequence[Series], end: datetime, late: bool, counts: bool) -> None:
        """Judge the window that ends at a moment, unless it is judged already, or cannot be."""
        try:
            window = await asyncio.to_thread(self._window, series, end)
        except InvalidInput as error:
            last = await self._store.events.newest(*self.own, 1)
            if not late and not (last and last[0].kind == "window.unread"):  # of many alike the first
                await self.tell("window.unread", end, str(error))
            return
        if window is None:
            return
        trace_id = uuid5(OF_WINDOWS, f"{self.own}/{end.isoformat()}/{_digest(window)}")
        if late and await self._store.diagnoses.known(self.own[0], [trace_id]):
            # It is what it was, or a look judged it that died before it could say so.
            if self.late_until and (await self._store.diagnoses.get(self.own[0], trace_id)).late:
                await self._tell_late(end, trace_id)
            return
        try:
            await self._detection.watched(*self.own, self._family, window, trace_id, end, late, counts)
        except Conflict:
            return  # judged before
        if self.late_until is not None:
            await self._tell_late(end, trace_id)

    async def _tell_late(self, end: datetime, trace_id: UUID) -> None:
        """Tell once of all windows that are late together, by the first of them."""
        if self.late_until is not None:
            text = JUDGED_LATE.format(self.late_until.isoformat())
            await self._store.watches.tell_late(self.own[0], Happened(self.own[1], end, "window.late", text, trace_id))
            self.late_until = None

    def _window(self, series: Sequence[Series], end: datetime) -> Window | None:
        """Cut the window that ends at a moment; None where it holds nothing.

        Raises:
            InvalidInput: It lacks too much, or breaks another rule of the family.
        """
        # What lies farther from it must not change it: it is known by what it holds.
        near = [_between(each, end - 2 * self.length, end) for each in series]
        if not any(each.points and each.points[-1][0] > end - self.length for each in near):
            return None
        limits = self._detection.services.settings.limits
        found = window_to(near, self._family, end, limits.values)
        return read_window(found.samples, found.rate_hz, self._family, limits, "readings")

    async def tell_gaps(self, series: Sequence[Series], begin: datetime, end: datetime) -> None:
        """Tell of times longer than a window in which nothing was read, once something was."""
        moments = sorted({at for each in series for at, _ in each.points if begin < at <= end})
        for before, after in pairwise([begin, *moments]):
            if after - before > self.length:
                await self.tell("readings.missing", after, _missing(before, after))

    async def tell(self, kind: EventKind, at: datetime, text: str) -> None:
        """Keep what happened beside the windows."""
        await self._store.events.add(self.own[0], [Happened(self.own[1], at, kind, text)])


def floor(at: datetime, length: timedelta) -> datetime:
    """Return when the window began that a moment lies in, or at whose end."""
    return at - (at - EPOCH) % length


def ends(begin: datetime, end: datetime, length: timedelta) -> list[datetime]:
    """Return when the windows between two borders end."""
    return [begin + (number + 1) * length for number in range((end - begin) // length)]


def _missing(begin: datetime, end: datetime) -> str:
    return f"no readings from {begin.isoformat()} to {end.isoformat()}"


def _step(series: Series) -> float:
    """Return the seconds from one reading to the next; in the mean where there are too many to look at each."""
    moments = [at.timestamp() for at, _ in series.points]
    if series.count > len(moments):
        return (moments[-1] - moments[0]) / (series.count - 1)
    return float(np.median(np.diff(moments)))


def _between(series: Series, begin: datetime, end: datetime) -> Series:
    """Return what a channel had after one moment and up to another."""
    first, last = (bisect_right(series.points, at, key=lambda point: point[0]) for at in (begin, end))
    return replace(series, points=series.points[first:last])


def _digest(window: Window) -> str:
    """Return a name of what a window holds."""
    digest = hashlib.sha256(f"{window.rate_hz} {window.missing}".encode())
    for name in sorted(window.values):
        digest.update(name.encode() + window.values[name].tobytes())
    return digest.hexdigest()
