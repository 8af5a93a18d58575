"""Rules of a system's alarm: how often it is false, how soon it comes, and when it goes."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.drift.charts import threshold
from pipelines.machines.alarm import (
    ABSTAINED,
    CHARTS,
    CLEARED,
    ENDING,
    HEIGHT_MAX,
    KEPT,
    LIMIT,
    MEMORY,
    NEEDED,
    QUICK,
    RUN,
    UNSEEN,
    Evidence,
    follow,
    levels,
)
from pipelines.signals.windows import Floats

NORMAL, UNUSUAL, OUTSIDE, FAR = range(4)
WEEK = 10_080


def noise(random: np.random.Generator, count: int, alike: float) -> Floats:
    """Return standard normal numbers, neighbours of which are correlated."""
    steps = random.standard_normal(count) * math.sqrt(1 - alike * alike)
    steps[0] /= math.sqrt(1 - alike * alike)
    value, found = 0.0, np.zeros(count)
    for place, step in enumerate(steps.tolist()):
        value = found[place] = alike * value + step
    return found


def judged(value: Floats, commissioned: Floats, outside: float, far: float) -> NDArray[np.int64]:
    """Return the levels of windows by their distance, with p-values against the commissioning windows."""
    p = (1 + (commissioned[None] >= value[:, None]).sum(axis=1)) / (len(commissioned) + 1)
    return levels(np.zeros(len(value)), value > outside, value > far, p)


def week(seed: int, alike: float, swing: float, share: float) -> NDArray[np.int64]:
    """Return a healthy machine's week after 25 commissioning windows, so many of its windows falsely judged."""
    random = np.random.default_rng(seed)
    moment = np.arange(WEEK + 25) / 1440 + random.random()
    value = noise(random, WEEK + 25, alike) + swing * np.sin(2 * math.pi * moment)
    outside, far = np.quantile(value, [1 - share, 1 - share / 10])
    return judged(value[25:], value[:25], outside, far)


def alarms(found: NDArray[np.int64]) -> int:
    """Return how often the alarm was raised."""
    raised, _ = follow(found.tolist())
    return int(raised[0]) + int((raised[1:] & ~raised[:-1]).sum())


def seen(evidence: Evidence, *sequence: int) -> Evidence:
    """Return the evidence after windows, one a minute."""
    for place, level in enumerate(sequence):
        evidence = evidence.after(level, 60.0 * place)
    return evidence


def settled() -> Evidence:
    """Return the evidence on a machine of which one window in a hundred is judged outside."""
    random = np.random.default_rng(0)
    share = random.random(1500)
    found = np.where(share < 0.01, OUTSIDE, np.where(share < 0.1, UNUSUAL, NORMAL))
    return seen(Evidence.none(), *found.tolist())


def test_what_is_needed_states_the_rate() -> None:
    """The three charts together raise one false alarm in so many windows at most, by the bound that drift has too."""
    assert threshold(len(CHARTS), RUN) == NEEDED
    assert math.isclose(len(CHARTS) * math.exp(-NEEDED) * WEEK, 0.2)


@pytest.mark.parametrize(("alike", "swing"), [(0.0, 0.0), (0.5, 0.0), (0.9, 0.0), (0.5, 1.0), (0.5, 2.0)])
def test_a_healthy_week_has_no_more_false_alarms_than_stated(alike: float, swing: float) -> None:
    """Windows falsely judged, alone, in company and by day, raise at most one alarm in five machine-weeks."""
    found = [alarms(week(seed, alike, swing, share)) for seed, share in enumerate((0.005, 0.02, 0.05))]
    assert sum(found) <= 1


def test_commissioning_at_one_hour_is_not_believed() -> None:
    """Where half of all windows are unusual by too few commissioning windows, that is learned, and raises nothing."""
    random = np.random.default_rng(3)
    assert not alarms(np.where(random.random(WEEK) < 0.25, UNUSUAL, NORMAL))


def test_false_verdicts_in_company_come_to_need_more() -> None:
    """A machine whose false verdicts come in pairs has shown it; one on which they are alone is alarmed sooner."""
    alone, pairs = np.zeros(3000, dtype=np.int64), np.zeros(3000, dtype=np.int64)
    alone[::50] = OUTSIDE
    for place in range(5):
        pairs[place::250] = OUTSIDE
    soon, late = ([*found.tolist(), *[OUTSIDE] * 60] for found in (alone, pairs))
    first, second = (int(np.argmax(follow(found)[0])) - 3000 for found in (soon, late))
    assert 4 <= first < 8
    assert second >= first + 5


def test_a_step_is_told_within_a_few_windows() -> None:
    """Windows judged outside from one moment on raise the alarm within ten, and far outside within three."""
    healthy = settled()
    assert not seen(healthy, *[OUTSIDE] * 3).raised
    assert seen(healthy, *[OUTSIDE] * 10).raised
    assert not seen(healthy, *[FAR] * (QUICK - 1)).raised
    assert seen(healthy, *[FAR] * QUICK).raised


def test_the_quick_way_is_open_from_the_first_window() -> None:
    """A machine that has just been commissioned is alarmed by three windows far outside, too."""
    assert seen(Evidence.none(), *[FAR] * QUICK).raised


def test_spikes_do_not_trip_the_quick_way() -> None:
    """Single windows far outside, and two in a row, raise nothing however often they come in a day."""
    healthy = settled()
    assert not seen(healthy, *([FAR, *[NORMAL] * 99] * 14)).raised
    assert not seen(healthy, *([FAR, FAR, *[NORMAL] * 200] * 7)).raised


def test_a_machine_that_is_falsely_far_outside_needs_more_than_three() -> None:
    """Runs of two far outside that were nothing close the quick way for a run of three."""
    shaken = seen(settled(), *([FAR, FAR, *[NORMAL] * 200] * 7))
    assert not seen(shaken, *[FAR] * QUICK).raised
    assert seen(shaken, *[FAR] * 40).raised


def test_company_of_verdicts_is_expected_of_gross_ones_too() -> None:
    """Where windows judged outside come four in a row, it takes more than three that are far outside."""
    shaken = seen(settled(), *([*[OUTSIDE] * 4, *[NORMAL] * 200] * 8))
    assert not shaken.raised
    assert not seen(shaken, *[FAR] * QUICK).raised
    assert seen(shaken, *[FAR] * 40).raised


def test_one_window_is_worth_a_third_at_most() -> None:
    """However rare a window far outside has been, it alone brings no more than a third of what is needed."""
    quiet = seen(Evidence.none(), *[NORMAL] * 3000)
    assert seen(quiet, FAR).height == pytest.approx(NEEDED / QUICK)


def test_a_limit_needs_no_learning() -> None:
    """Three windows beyond a hard limit raise the alarm whatever the machine's past; one and two do not."""
    shaken = seen(settled(), *([FAR, *[NORMAL] * 19] * 100))
    assert not seen(shaken, *[FAR] * QUICK).raised
    assert not seen(shaken, *[LIMIT] * (QUICK - 1)).raised
    assert seen(shaken, *[LIMIT] * QUICK).raised
    taught = [track._replace(evidence=0.0) for track in seen(shaken, LIMIT).tracks]
    assert taught == [track._replace(evidence=0.0) for track in shaken.tracks]
    assert seen(shaken, LIMIT).windows == shaken.windows


def test_wear_is_told_before_its_windows_are_outside() -> None:
    """Wear of twelve deviations in a week is told at less than 8 of its 30 %, and twice as much is not waited for."""
    random = np.random.default_rng(5)
    value = noise(random, WEEK + 25, 0.5)
    outside, far = np.quantile(value, [0.995, 0.9995])
    value[25:] += np.linspace(0, 12, WEEK)
    raised, _ = follow(judged(value[25:], value[:25], outside, far).tolist())
    assert raised.any()
    assert 30 * np.argmax(raised) / WEEK < 8
    assert raised[np.argmax(raised) :].mean() > 0.95


def test_unusual_windows_alone_are_enough() -> None:
    """A machine that comes to be unusual in half of its windows, and outside in none, is alarmed in a few hours."""
    random = np.random.default_rng(6)
    shifted = np.where(random.random(600) < 0.6, UNUSUAL, NORMAL)
    assert seen(settled(), *shifted.tolist()).raised


def test_the_alarm_goes_when_the_evidence_has_gone() -> None:
    """Between what clears and what is needed the alarm stays as it is; growth ends soon above what is needed."""
    raised = seen(settled(), *[FAR] * 200)
    assert raised.height == HEIGHT_MAX * NEEDED
    heights = [raised]
    while heights[-1].raised:
        heights.append(heights[-1].after(NORMAL, 0.0))
    assert 10 < len(heights) < 150
    assert any(CLEARED * NEEDED < evidence.height < NEEDED / 2 and evidence.raised for evidence in heights)
    assert heights[-1].height <= CLEARED * NEEDED
    assert not heights[-1].after(OUTSIDE, 0.0).raised


def test_an_alarm_says_since_when() -> None:
    """The moment is that of the window that raised it, stays while it is on, and goes with it."""
    raised = seen(Evidence.none(), *[FAR] * 5)
    assert raised.since == 60.0 * (QUICK - 1)
    assert math.isnan(raised.cleared().since)
    assert math.isnan(Evidence.none().since)


def test_an_abstention_leaves_all_as_it_was() -> None:
    """A window that nobody could judge neither adds evidence nor takes it, nor breaks a run."""
    found = levels(np.array([np.nan, 0.9]), np.array([False, True]), np.array([False, False]), np.full(2, np.nan))
    assert found.tolist() == [ABSTAINED, OUTSIDE]
    risen = seen(settled(), FAR, FAR)
    assert risen.after(ABSTAINED, 0.0) == risen
    assert seen(risen, ABSTAINED, FAR).raised


def test_windows_at_an_unknown_load_are_counted() -> None:
    """They are no evidence, and people are told how many there were: until a window is judged, or a repair."""
    nobody = np.full(2, np.nan)
    found = levels(nobody, nobody > 0, nobody > 0, nobody, unseen=np.array([True, False]))
    assert found.tolist() == [UNSEEN, ABSTAINED]
    risen = seen(settled(), FAR, FAR)
    elsewhere = seen(risen, UNSEEN, ABSTAINED, UNSEEN)
    assert (elsewhere.unseen, elsewhere.tracks, elsewhere.recent) == (2, risen.tracks, risen.recent)
    assert seen(elsewhere, NORMAL).unseen == elsewhere.cleared().unseen == 0
    assert Evidence.from_numbers(elsewhere.to_numbers()) == elsewhere or math.isnan(elsewhere.since)
    assert Evidence.from_numbers(elsewhere.to_numbers()[:-1]).unseen == 0, "as it was stored before they were counted"


def test_levels_say_how_far_outside() -> None:
    """A low p-value alone is unusual; the verdict, its severity, and a limit go beyond it, a limit unscored too."""
    scores = np.array([0.1, 0.2, 0.6, 0.95, np.nan])
    p = np.array([0.5, 0.1, 0.05, np.nan, np.nan])
    found = levels(scores, scores > 0.5, scores > 0.9, p, np.isnan(scores))
    assert found.tolist() == [NORMAL, UNUSUAL, OUTSIDE, FAR, LIMIT]


def test_a_fault_teaches_nothing_while_it_is_alarmed() -> None:
    """However long a fault lasts, what is learned of healthy windows stays; only the length of short runs is kept."""
    raised = seen(settled(), *[OUTSIDE] * 20)
    assert raised.raised
    later = seen(raised, *[OUTSIDE] * 3000)
    assert later.windows == raised.windows
    assert [(track.calm, track.begun) for track in later.tracks] == [(t.calm, t.begun) for t in raised.tracks]
    gone = seen(later, *[NORMAL] * 5)
    assert max(track.hits for track in gone.tracks) < 300


def test_memory_is_bounded() -> None:
    """What is remembered counts as many windows as the memory and no more, and follows the machine."""
    often = seen(Evidence.none(), *([UNUSUAL, *[NORMAL] * 9] * 600))
    assert often.windows == MEMORY
    assert often.tracks[0].calm <= MEMORY
    rarely = seen(often, *([UNUSUAL, *[NORMAL] * 39] * 250))
    assert not rarely.raised
    assert 0.025 < rarely.tracks[0].begun / rarely.tracks[0].calm < 0.05


def test_the_order_of_concurrent_windows_matters_little() -> None:
    """Windows that overtake their neighbours change the evidence by no more than one window is worth."""
    random = np.random.default_rng(8)
    share = random.random(400)
    found = np.where(share < 0.05, OUTSIDE, np.where(share < 0.2, UNUSUAL, NORMAL))
    shuffled = np.concatenate([random.permutation(four) for four in found.reshape(-1, 4)])
    one, other = seen(settled(), *found.tolist()), seen(settled(), *shuffled.tolist())
    for mine, theirs in zip(one.tracks, other.tracks, strict=True):
        assert abs(mine.evidence - theirs.evidence) < NEEDED / QUICK
        assert mine.calm + mine.hits == pytest.approx(theirs.calm + theirs.hits, abs=4)
    for order in ((OUTSIDE, NORMAL, FAR, FAR, FAR, FAR), (FAR, FAR, OUTSIDE, FAR, NORMAL, FAR)):
        assert seen(settled(), *order, *[OUTSIDE] * 8).raised


def test_numbers_rebuild_it() -> None:
    """What the store keeps is all of it, as doubles, bit for bit."""
    for evidence in (Evidence.none(), settled(), seen(settled(), *[FAR] * 30), seen(settled(), UNSEEN, UNSEEN)):
        again = Evidence.from_numbers(evidence.to_numbers())
        assert repr(again) == repr(evidence)
        assert all(float(number) == number or math.isnan(number) for number in evidence.to_numbers())
        assert len(evidence.levels()) == min(int(evidence.windows), KEPT) or evidence.raised


@pytest.mark.parametrize("healthy", [0, 80, 300, 5000])
def test_a_fault_that_comes_and_goes_is_one_alarm(healthy: int) -> None:
    """Four windows far outside and six that are well, again and again: raised once, on throughout, ended in time."""
    known = seen(Evidence.none(), *[NORMAL] * healthy)
    raised, _ = follow(([FAR] * 4 + [NORMAL] * 6) * 30, known)
    assert raised[QUICK - 1 :].all()
    after = seen(known, *([FAR] * 4 + [NORMAL] * 6) * 30)
    assert not seen(after, *[NORMAL] * ENDING).raised
    assert seen(after, *[NORMAL] * 60).raised


def test_an_alarm_teaches_no_false_verdicts() -> None:
    """After twenty faults, each repaired, the next one is told as soon as the first."""
    evidence = Evidence.none()
    for _ in range(20):
        evidence = seen(evidence, *[NORMAL] * 14, *[FAR] * QUICK)
        assert evidence.raised
        evidence = seen(evidence, *[FAR] * 9).cleared()


def test_a_repair_clears_the_alarm_and_keeps_what_was_learned() -> None:
    """After a repair there is no evidence and no alarm, and false verdicts weigh as they did."""
    raised = seen(settled(), *[FAR] * 30)
    repaired = raised.cleared()
    assert not repaired.raised
    assert repaired.height == 0
    assert repaired.windows == raised.windows
    assert seen(repaired, *[FAR] * QUICK).raised


def test_people_read_what_the_evidence_rests_on() -> None:
    """The words count the windows, and say whether they are far outside, outside or unusual."""
    healthy = settled()
    assert "no alarm: evidence" in healthy.words()
    assert f"of {NEEDED:.1f} needed" in healthy.words()
    assert "6 of the last 8 windows are outside its normal" in seen(healthy, *[0] * 20, *[2] * 4, 0, 0, 2, 2).words()
    assert seen(healthy, *[FAR] * 4).words().endswith("the last 4 windows are far outside its normal")
    assert "windows are unusual for this machine" in seen(healthy, *[UNUSUAL] * 30).words()
    assert "1 of the last 24 windows is outside its normal" in seen(healthy, OUTSIDE, *[NORMAL] * 3).words()


def test_follow_is_what_the_store_does() -> None:
    """The course over many windows is that of one window after the other, bit for bit."""
    found = week(1, 0.9, 0.0, 0.05)[:500].tolist()
    raised, heights = follow(found)
    evidence = Evidence.none()
    for place, level in enumerate(found):
        evidence = Evidence.from_numbers(evidence.after(level, float(place)).to_numbers())
        assert (evidence.raised, evidence.height) == (raised[place], heights[place])
