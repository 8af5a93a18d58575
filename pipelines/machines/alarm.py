"""Raises a system's alarm: evidence added up over its windows, with a stated rate of false alarms.

`is_anomaly` is the verdict on one window, and on a healthy machine a few percent of them are false. Three charts read
the same windows: how often they are unusual for the machine, how often they are judged outside its normal, and whether
several in a row are far outside. Each bets that such windows have become more frequent than the machine's own past
says, alone and following each other. What calibration promises is not believed: the tenth of windows that is unusual
by 20 commissioning windows is 3 or 25 % in truth, and day and night move it. So a machine that is often judged falsely,
or whose false verdicts come in company, needs more of them for an alarm.

The store keeps one `Evidence` a system, as a few numbers, and adds windows to it under the row's lock.

Source: Page 1954; Shin, Ramdas, Rinaldo, "E-detectors" (2024), for bets that tell the rate of false alarms; Mousavi,
Reynolds, "A CUSUM chart for monitoring a proportion with autocorrelated binary observations" (2009), for the chain of
two states. Figures below are of simulated weeks of 10,080 windows: independent, correlated (0.5, 0.9, 0.98), with a
daily swing of once and twice the scatter, load steps, bursts, each with 0.5, 2 and 5 % of windows falsely judged and a
tenth of these falsely critical.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats

# Windows from one false alarm to the next, at least, in the mean. Source: five weeks of one window a minute, that is
# 0.2 false alarms in a week of a machine.
RUN = 50_400.0
# Windows in a row that raise the alarm when they are far outside. Source: own choice; two may be one event that two
# overlapping windows show, and people wait no longer than three.
QUICK = 3
# Evidence grows to so many times what is needed and no further, and an alarm ends below this share of it, after so many
# normal windows in a row at most. Source: own choice; two hours of one a minute, so that a fault that comes and goes
# every few minutes is one alarm.
HEIGHT_MAX, CLEARED, ENDING = 1.25, 0.25, 120
# Conformal p-value up to which a window is unusual for its machine. Source: 20 commissioning windows know no p below
# 1/21, so that 0.1 is the first round share of which more than one of them tells.
UNUSUAL = 0.1
# Windows that the learned shares remember. Source: half a week of one a minute, so that several days and nights are
# known, and wear that grows for a week has moved them little when it is seen.
MEMORY = 5_000.0
# Windows as which the first likeness counts. Source: own choice; a third of a day of one a minute. With 200, the
# simulated weeks have as many false alarms.
LIKENESS_WEIGHT = 500.0
# Likeness that is believed at least and at most. Source: simulated; with 1.0, and 1.5 at first for windows
# outside, there are 0.47 false alarms a week in place of 0.33 over all kinds, and no delay of gross faults is shorter;
# weeks of the widest swing show 13 to 60.
LIKENESS_MIN, LIKENESS_MAX = 1.3, 64.0
# Part that the newest window has in the slow mean which shows likeness. Source: simulated; with 1/256 wear is seen at
# 8.0 % in place of 5.3, and false alarms are no fewer; without likeness, 2.8 false alarms a week in place of 0.33.
SLOW = 1 / 64
# Share of unusual windows, following one, that is believed at most; beyond it no bet could grow.
COMPANY_MAX = 0.9
# Windows whose levels are kept to tell people; two bits each are exact in a float.
KEPT = 24
# Windows that people are told about first.
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Chart:
    """One reading of the windows: whether each has at least a level.

    Attributes:
        odds: Times by which a fault raises the odds of such a window: what the chart bets on.
        rate: Share of such windows before any is seen, counted as `weight` windows.
        rate_min: Least share that is believed.
        company: Share of such windows that follow one, before any is seen, counted as `company_weight` of them.
        run_max: Longest run that teaches the company: the end of a fault that went by itself must not teach all of it.
        likeness: How many times more than a chain of two states such windows come together, before any is seen.
        quick: Whether `QUICK` windows in a row are enough; likeness is not asked then.
    """

    odds: float
    rate: float
    weight: float
    rate_min: float
    company: float
    company_weight: float
    run_max: float
    likeness: float
    quick: bool = False


CHARTS = (
    # Unusual. Source: odds 4 turn one in ten into one in three; with 8, wear is seen at 12 % in place of 8. With a
    # likeness of 3 at first, there are 0.3 false alarms a week under a swing of twice the scatter, and 0.03 with 10.
    Chart(4.0, 0.1, 100.0, 0.01, 0.3, 20.0, 64.0, 10.0),
    # Outside. Source: odds 20 turn one in fifty into three in ten; 40 bring an alarm no earlier, and more false ones.
    Chart(20.0, 0.02, 100.0, 0.002, 0.1, 5.0, 30.0, 3.0),
    # Far outside. Source: odds 500 turn one in 500 into one in two, so that three are enough.
    Chart(500.0, 0.002, 200.0, 0.0005, 0.01, 5.0, 8.0, 1.0, quick=True),
)
# Source: Lorden's bound; the rates of the charts add up, as those of drift do.
NEEDED = math.log(len(CHARTS) * RUN)
# Share that is believed of any window at most. Source: a machine judged so every second time is not healthy.
RATE_MAX = 0.5

UNSEEN, ABSTAINED, NORMAL, LIMIT = -2, -1, 0, 4


class Track(NamedTuple):
    """What one chart has seen.

    Attributes:
        evidence: Sum of its gains, never below zero.
        run: Such windows in a row up to now.
        calm: Windows that followed one without, faded.
        begun: Those of them that had it.
        hits: Such windows in runs that have ended, faded.
        followed: Those of them that another followed.
        stray: Slow mean of how far windows lie from what was expected.
        likeness: How many times more it strays than a chain of two states does.
    """

    evidence: float
    run: float
    calm: float
    begun: float
    hits: float
    followed: float
    stray: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence that a system is not well.

    Attributes:
        tracks: One for each chart.
        windows: Windows that taught, up to the memory.
        recent: Levels of the newest windows, two bits each, the newest lowest; a bit above them all marks their number.
        raised: Whether the alarm is on.
        since: When it was raised, in seconds; NaN while it is off.
        unseen: Windows up to now that showed a load unknown to commissioning; those at rest between them do not count.
    """

    tracks: tuple[Track, ...]
    windows: float
    recent: int
    raised: bool
    since: float
    unseen: int = 0

    @classmethod
    def none(cls) -> Self:
        """Return the evidence on a system of which no window was judged."""
        tracks = tuple(Track(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, chart.likeness) for chart in CHARTS)
        return cls(tracks, 0.0, 1, False, math.nan)

    @property
    def height(self) -> float:
        """Return the evidence of the chart that has most."""
        return max(track.evidence for track in self.tracks)

    def after(self, level: int, at: float) -> Self:
        """Return it with one more window, seen at a time in seconds; an abstention is no evidence."""
        if level == UNSEEN:
            return replace(self, unseen=self.unseen + 1)
        if level == ABSTAINED:
            return self
        # A value beyond a limit tells nothing of how often healthy windows are judged falsely.
        learning = not self.raised
        tracks = self._tracks(level, learning)
        top = max(track.evidence for track in tracks)
        raised = top > CLEARED * NEEDED if self.raised else top >= NEEDED
        if raised and learning:
            tracks = tuple(map(_raising, range(len(CHARTS)), tracks))
        since = (self.since if self.raised else at) if raised else math.nan
        windows = min(self.windows + (learning and level != LIMIT), MEMORY)
        return replace(
            self, tracks=tracks, windows=windows, recent=_kept(self.recent, level), raised=raised, since=since, unseen=0
        )

    def _tracks(self, level: int, learning: bool) -> tuple[Track, ...]:
        company = _company(CHARTS[1], self.tracks[1])
        found = []
        for place, (chart, track) in enumerate(zip(CHARTS, self.tracks, strict=True)):
            hit = level > place
            # What comes in company when judged outside does so when judged far outside: that needs more to be known.
            share = _share(chart, track, company * company if chart.quick else 0.0)
            gain = _gain(chart, track, share, hit, level)
            if self.raised:
                gain = _in_alarm(place, gain, hit, level)
            evidence = min(max(track.evidence + gain, 0.0), HEIGHT_MAX * NEEDED)
            moved = track._replace(evidence=evidence)
            found.append(moved if level == LIMIT else _taught(chart, moved, share, hit, self.windows, learning))
        return tuple(found)

    def cleared(self) -> Self:
        """Return it after a repair: what was learned of false verdicts stays, evidence and alarm go."""
        tracks = tuple(track._replace(evidence=0.0, run=0.0, stray=0.0) for track in self.tracks)
        return replace(self, tracks=tracks, recent=1, raised=False, since=math.nan, unseen=0)

    def levels(self) -> list[int]:
        """Return the levels of the newest windows, the newest first."""
        count = (self.recent.bit_length() - 1) // 2
        return [self.recent >> 2 * place & 3 for place in range(count)]

    def words(self) -> str:
        """Return for people how much evidence there is, and what it rests on."""
        state = "alarm" if self.raised else "no alarm"
        return f"{state}: evidence {self.height:.1f} of {NEEDED:.1f} needed, {_reason(self)}"

    def to_numbers(self) -> list[float]:
        """Return all that it holds as numbers, for one column."""
        numbers = [number for track in self.tracks for number in track]
        return [*numbers, self.windows, float(self.recent), float(self.raised), self.since, float(self.unseen)]

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Self:
        """Rebuild from `to_numbers`; what was stored before unknown loads were counted has a number less."""
        width = len(Track._fields)
        whole = len(CHARTS) * width
        windows, recent, raised, since, *unseen = numbers[whole:]
        tracks = tuple(Track(*numbers[first : first + width]) for first in range(0, whole, width))
        return cls(tracks, windows, int(recent), bool(raised), since, *map(int, unseen))


def _in_alarm(place: int, gain: float, hit: bool, level: int) -> float:
    """Return a gain while the alarm is on: what lies outside is not told twice, and normal windows end it in time."""
    if place == 0 and level > 1:
        return 0.0
    return gain if hit else min(gain, -(HEIGHT_MAX - CLEARED) * NEEDED / ENDING)


def _raising(place: int, track: Track) -> Track:
    """Return what a chart has seen once the alarm is raised: the run that raised it was no false one.

    What three windows have shown is not undone by three: the quick chart hands over to that of windows outside.
    """
    begun = max(track.begun - bool(track.run), 0.0)
    return track._replace(begun=begun, evidence=max(track.evidence, NEEDED) if place == 1 else track.evidence)


def _company(chart: Chart, track: Track) -> float:
    """Return the share of such windows that another one followed."""
    known = track.followed + chart.company * chart.company_weight
    return min(known / (track.hits + chart.company_weight), COMPANY_MAX)


def _share(chart: Chart, track: Track, company_min: float) -> float:
    """Return the share of such windows that is expected now, while the machine is healthy."""
    if track.run:
        return max(_company(chart, track), company_min)
    known = (track.begun + chart.rate * chart.weight) / (track.calm + chart.weight)
    return min(max(known, chart.rate_min), RATE_MAX)


def _gain(chart: Chart, track: Track, share: float, hit: bool, level: int) -> float:
    """Return the logarithm of the bet that a window won or lost, less the likeness; its exponential has mean one."""
    step = NEEDED / QUICK * (1 + 1e-9)
    if chart.quick and (level == LIMIT or not hit):
        return step if hit else -step
    foretold = chart.odds * share / (1 - share + chart.odds * share)
    won = math.log(foretold / share) if hit else math.log((1 - foretold) / (1 - share))
    return min(won, step) if chart.quick else won / track.likeness


def _taught(chart: Chart, track: Track, share: float, hit: bool, windows: float, learning: bool) -> Track:
    """Return what a window teaches of the machine's healthy past; an alarm teaches nothing."""
    ended = min(track.run, chart.run_max) if learning and not hit else 0.0
    kept = 1 - 1 / MEMORY if learning and windows >= MEMORY else 1.0
    hits, followed = track.hits + ended, track.followed + max(ended - 1, 0.0)
    calm, begun, stray, likeness = track.calm, track.begun, track.stray, track.likeness
    if learning:
        first = not track.run
        calm, begun = calm + first, begun + (first and hit)
        stray += SLOW * ((hit - share) / math.sqrt(share * (1 - share)) - stray)
        now = stray * stray * (2 - SLOW) / SLOW
        likeness += (now - likeness) / (windows + LIKENESS_WEIGHT)
    run = track.run + 1 if hit else 0.0
    likeness = min(max(likeness, LIKENESS_MIN), LIKENESS_MAX)
    return Track(track.evidence, run, calm * kept, begun * kept, hits * kept, followed * kept, stray, likeness)


def _kept(recent: int, level: int) -> int:
    """Return the newest levels with one more."""
    count = min((recent.bit_length() - 1) // 2 + 1, KEPT)
    return ((recent << 2 | min(level, 3)) & ((1 << 2 * count) - 1)) | 1 << 2 * count


def _reason(evidence: Evidence) -> str:
    """Return which windows the evidence rests on, in words."""
    levels = evidence.levels()
    far = len(list(takewhile(lambda level: level > 2, levels)))
    if far >= QUICK:
        return f"the last {far} windows are far outside its normal"
    unusual, outside, _ = (track.evidence for track in evidence.tracks)
    kind, least = ("unusual for this machine", 1) if unusual > outside else ("outside its normal", 2)
    few = sum(level >= least for level in levels[:SHOWN])
    shown = levels[:SHOWN] if 2 * few >= SHOWN else levels
    count = sum(level >= least for level in shown)
    return f"{count} of the last {len(shown)} windows {'is' if count == 1 else 'are'} {kind}"


def levels(
    scores: Floats,
    anomalies: NDArray[np.bool_],
    critical: NDArray[np.bool_],
    p: Floats,
    beyond: NDArray[np.bool_] | None = None,
    unseen: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Return how far windows lie outside: normal, unusual, outside, far outside, beyond a limit; or why none can say.

    Args:
        scores: NaN where nobody could judge.
        anomalies: The verdicts.
        critical: Whether their severity is.
        p: Conformal p-values against the machine's own healthy windows; NaN where there is none.
        beyond: Whether a value lies beyond a limit of the family or one that people stated.
        unseen: Whether nobody judges because the load is one that commissioning did not show.

    Shapes: each of N windows.
    """
    found = np.where(anomalies, np.where(critical, 3, 2), (p <= UNUSUAL).astype(np.int64))
    found = np.where(np.isnan(scores), ABSTAINED if unseen is None else np.where(unseen, UNSEEN, ABSTAINED), found)
    return found if beyond is None else np.where(beyond, LIMIT, found)


def follow(levels: Sequence[int], evidence: Evidence | None = None) -> tuple[NDArray[np.bool_], Floats]:
    """Return the alarm and the evidence after each of one system's consecutive windows, for measurements.

    Shapes: N levels -> `bool[N]`, `float64[N]`.
    """
    evidence = evidence or Evidence.none()
    raised, heights = np.zeros(len(levels), dtype=np.bool_), np.zeros(len(levels))
    for place, level in enumerate(levels):
        evidence = evidence.after(level, float(place))
        raised[place], heights[place] = evidence.raised, evidence.height
    return raised, heights
