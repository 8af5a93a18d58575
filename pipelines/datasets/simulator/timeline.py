"""Labelled windows of many machines: each is commissioned first, and its test windows come hours or days later."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.recordings import Recordings
from pipelines.datasets.simulator.faults import PARTS
from pipelines.datasets.simulator.load import DAY_S, HOUR_S
from pipelines.datasets.simulator.machine import Machine, draw_machine, windows_of
from pipelines.datasets.simulator.unit import HEALTHY
from pipelines.machines.commissioning import Normal, commission
from pipelines.machines.family import Family
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

# Windows that a machine is commissioned on. Source: fewest that people may call enough, and three times what is needed.
FEWEST, MOST = 6, 60
# Share of machines commissioned while one window in ten is faulty. Source: own choice, as `make bench-machines` asks.
SPOILT, SPOILT_WINDOWS = 0.1, 0.1
# Share of test windows that are healthy. Source: own choice, half or more: alarms are rare.
HEALTHY_SHARE = 0.55
# Sizes of faults. Source: a tenth is what a maintainer would begin to notice; 1 is a part that does nothing any more.
SMALLEST, LARGEST = 0.1, 1.0
# Share of machines whose faulty windows are of one fault that grows. Source: own choice, half: wear is slow.
GROWING = 0.5
# Test windows come so long after commissioning. Source: own choice, from the next hour to the week after next.
SOONEST_S, LATEST_S = HOUR_S, 10 * DAY_S
# Times drawn for a test window, of which the first is taken whose load commissioning has met, and what counts as met:
# the mean pressure and flow of a window within 2 % of the rated. Source: own choice; a load that was never met is
# answered as such before any detector is asked.
DRAWS, MET = 40, 0.02
# Share of healthy test windows under whatever load comes, at rest and idle included, so that a load alone is learned to
# be no fault. Source: CatBoost on 480 machines, judged on 60 of physics_b (its seed 5): AUC 0.879 with 0.04, 0.862 with
# 0.15 and 0.856 with none; false alarms 0.12, 0.12 and 0.20, misses of size 0.3 at 5 % of them 0.43, 0.42 and 0.77.
ANY_LOAD = 0.04


class Timeline(NamedTuple):
    """A machine's windows: those of its commissioning first.

    Attributes:
        commissioning: How many they are.
        windows: All of them.
        faults: Of all of them, `str[W]`; `sizes` likewise.
        begin: When they begin, in seconds after commissioning began.
    """

    commissioning: int
    windows: list[Window]
    faults: NDArray[np.str_]
    sizes: Floats
    begin: Floats


def timeline_of(machine: Machine, faults: list[str], tests: int, random: np.random.Generator) -> Timeline:
    """Return how a machine is commissioned and what it sends later."""
    count = int(random.integers(FEWEST, MOST + 1))
    kinds, sizes = np.full(count + tests, HEALTHY, dtype=object), np.zeros(count + tests)
    if random.random() < SPOILT:
        wrong = random.permutation(count)[: round(SPOILT_WINDOWS * count)]
        kinds[wrong], sizes[wrong] = random.choice(faults), random.uniform(0.3, 1.0)
    kinds[count:], sizes[count:], grows = drawn_faults(faults, tests, random)
    begin = np.concatenate([machine.pause_s * np.arange(count), np.zeros(tests)])
    begin[count:] = later_times(machine, begin[:count], kinds[count:] != HEALTHY, random)
    if grows:  # later is worse
        places = count + np.flatnonzero(kinds[count:] != HEALTHY)
        sizes[places[np.argsort(begin[places])]] = np.sort(sizes[places])
    named = kinds.astype(np.str_)
    found = windows_of(machine, begin, named, sizes, random)
    return Timeline(count, [Window(values, machine.rate_hz) for values in found], named, sizes, begin)


def drawn_faults(
    faults: list[str], tests: int, random: np.random.Generator
) -> tuple[NDArray[np.object_], Floats, bool]:
    """Draw what is wrong in each test window, and tell whether it is one fault that grows."""
    grows = bool(random.random() < GROWING)
    one = random.choice(faults)
    drawn = [one if grows else random.choice(faults) for _ in range(tests)]
    healthy = random.random(tests) < HEALTHY_SHARE
    kinds = np.where(healthy, HEALTHY, np.array(drawn, dtype=object))
    return kinds, np.where(healthy, 0.0, random.uniform(SMALLEST, LARGEST, tests)), grows


def later_times(
    machine: Machine, commissioned: Floats, faulty: NDArray[np.bool_], random: np.random.Generator
) -> Floats:
    """Draw when test windows begin: under a load that commissioning has met, and where faulty, while it works."""
    begin = commissioned[-1] + random.uniform(SOONEST_S, LATEST_S, (len(faulty), DRAWS))
    met, asked = mean_load(machine, commissioned), mean_load(machine, begin.ravel())
    away = np.abs(asked[:, None, :] - met[None, :, :]).max(axis=2).min(axis=1).reshape(begin.shape)
    # Source: own choice; under a fifth of the rated pressure or flow a pump idles, and most faults of it do not show.
    idles = (asked.min(axis=1) < 0.2).reshape(begin.shape)
    cost = np.maximum(away, MET) + 10.0 * (idles & faulty[:, None])
    cost[~faulty & (random.random(len(faulty)) < ANY_LOAD)] = 0.0
    found: Floats = np.take_along_axis(begin, cost.argmin(axis=1)[:, None], axis=1)[:, 0]
    return found


def mean_load(machine: Machine, begin: Floats) -> Floats:
    """Return mean pressure and flow asked of a machine in windows, in shares of its rated ones, `float64[W, 2]`."""
    moments = np.linspace(0, machine.window_samples / machine.rate_hz, 16)
    load = machine.duty.at(begin[:, None] + moments)
    return np.stack([(load.pressure * load.runs).mean(axis=1), (load.flow * load.runs).mean(axis=1)], axis=1)


def normal_of(windows: list[Window], family: Family) -> Normal:
    """Return what a machine's commissioning windows have taught."""
    raw = make_feature_table(windows, [None] * len(windows), family).raw
    return commission(raw, family)


def simulate_recordings(family: Family, systems: int, windows: int, seed: int) -> Recordings:
    """Return labelled test windows of many machines, each beside what its machine's commissioning has taught.

    More than half of the windows are healthy; the faults share the rest.
    """
    random = np.random.default_rng(seed)
    faults = [str(grade) for grade in family.heads["fault"].classes[1:]]
    found: list[Window] = []
    normals: list[Normal | None] = []
    kinds, sizes, groups = [], [], []
    for number in range(systems):
        timeline = timeline_of(draw_machine(random, family), faults, windows, random)
        first = timeline.commissioning
        normals += [normal_of(timeline.windows[:first], family)] * windows
        found += timeline.windows[first:]
        kinds.append(timeline.faults[first:])
        sizes.append(timeline.sizes[first:])
        groups += [f"system-{number:04d}"] * windows
    machines = np.array(groups)
    print_of = sha256(
        f"{family.name} {systems} {windows} {seed} {PARTS}".encode()
        + b"".join(v.tobytes() for w in found for v in w.values.values())
    )
    labels = {"fault": np.concatenate(kinds), "severity": np.concatenate(sizes)}
    return Recordings(found, normals, labels, machines, machines, print_of.hexdigest())
