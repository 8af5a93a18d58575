"""Windows of a made-up power unit whose channels are moved as a test wants, beside its own normal."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from pipelines.detectors.base import FeatureTable
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family, read_family
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

LEVELS = {"pressure": 160.0, "temperature": 48.0, "flow": 60.0, "vibration": 1.2}
NOISE = {"pressure": 0.5, "temperature": 0.1, "flow": 0.2, "vibration": 0.06}
SAMPLES = 30


def generic() -> Family:
    """Return the family of power units."""
    return read_family("generic")


def samples(seed: int = 0, levels: Mapping[str, float] | None = None, count: int = SAMPLES) -> dict[str, Floats]:
    """Return one window's samples at some levels, each channel with its noise."""
    random = np.random.default_rng(seed)
    at = LEVELS | dict(levels or {})
    return {name: at[name] + NOISE[name] * random.normal(size=count) for name in at}


@cache
def normal() -> Normal:
    """Return what twenty healthy windows teach."""
    raw = make_feature_table([Window(samples(seed), 1.0) for seed in range(100, 120)], [None] * 20, generic()).raw
    rows: list[Baseline] = [learn(row) for row in raw]
    return Normal.of(sum(rows[1:], rows[0]))


def table_of(*windows: Mapping[str, Floats], known: bool = True, family: Family | None = None) -> FeatureTable:
    """Return the features of windows, beside the machine's normal where it is known."""
    normals = [normal() if known else None] * len(windows)
    return make_feature_table([Window(values, 1.0) for values in windows], normals, family or generic())
