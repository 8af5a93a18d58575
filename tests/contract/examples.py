"""A made-up family with labelled windows, small enough to fit all detectors in seconds; rules hold for any family."""

from functools import cache

import numpy as np

from pipelines.detectors.base import Detector, Examples
from pipelines.detectors.bundle import Bundle, assemble
from pipelines.detectors.members import registry
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Channel, Component, Family, Head, Severity
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Window

WINDOWS = 360
MACHINES = 9
SAMPLES = 30


def channel(unit: str, low: float, high: float, typical: float, spread: float, ratio: bool = True) -> Channel:
    """Return a channel at 1 Hz."""
    return Channel(
        unit=unit,
        low=low,
        high=high,
        rate_hz=1.0,
        column=unit,
        typical=typical,
        spread=spread,
        relation="ratio" if ratio else "difference",
        source="made up",
    )


def family(reading: str = "relative", **changes: object) -> Family:
    """Return a machine with a pump that wears and a cooler that fouls."""
    return Family.model_validate(
        {
            "name": "made-up",
            "title": "A made-up machine",
            "reading": reading,
            "window_s": SAMPLES,
            "layout": "window",
            "entity": "id",
            "group": "machine",
            "channels": {
                "pressure": channel("bar", 0, 700, 100, 2),
                "temperature": channel("degC", -40, 120, 45, 1, ratio=False),
                "flow": channel("l/min", 0, 1000, 25, 0.5),
                "vibration": channel("mm/s", 0, 50, 0.5, 0.05),
                "motor_current": channel("A", 0, 100, 10, 0.3).model_copy(update={"extra": True}),
            },
            "heads": {
                "pump": Head(column="pump", classes=(0, 1, 2)),
                "cooler": Head(column="cooler", classes=("full", "fouled")),
            },
            "components": {
                "pump": Component(head="pump", faulty=(1, 2), title={"en": "Pump"}, kind="leakage", kinds={2: "wear"}),
                "cooler": Component(head="cooler", faulty=("fouled",), title={"en": "Cooler"}, kind="overheating"),
            },
            "anomaly": ("pump", "cooler"),
            "severity": Severity(warning=0.5, critical=0.8, release=0.4, source="made up"),
            **changes,
        }
    )


def window(seed: int, pump: int = 0, cooler: int = 0, samples: int = SAMPLES) -> Window:
    """Return one window: a worn pump delivers less and shakes more, a fouled cooler runs hot."""
    random = np.random.default_rng(seed)
    values = {
        "pressure": 100 - 2 * pump + random.normal(0, 1, samples),
        "temperature": 45 + 12 * cooler + random.normal(0, 0.3, samples),
        "flow": 25 - 2.5 * pump + random.normal(0, 0.2, samples),
        "vibration": 0.5 + 0.25 * pump + random.normal(0, 0.03, samples),
        "motor_current": 10 + 0.2 * pump + random.normal(0, 0.2, samples),
    }
    return Window(values, 1.0)


def baseline() -> Baseline:
    """Return what forty healthy windows teach."""
    raw = make_feature_table([window(seed) for seed in range(5000, 5040)], [None] * 40, family()).raw
    first, *rest = (learn(row) for row in raw)
    return sum(rest, first)


def normal() -> Normal:
    """Return the same as the normal of a machine with one operating point."""
    return Normal.of(baseline())


@cache
def examples() -> Examples:
    """Return labelled windows of nine machines, half of them healthy, some short."""
    random = np.random.default_rng(1)
    pump = np.where(random.random(WINDOWS) < 0.65, 0, random.integers(1, 3, WINDOWS))
    cooler = (random.random(WINDOWS) < 0.2).astype(np.int64)
    samples = random.choice([5, SAMPLES, SAMPLES, SAMPLES], WINDOWS)
    rows = zip(range(WINDOWS), pump, cooler, samples, strict=True)
    windows = [window(seed, int(p), int(c), int(length)) for seed, p, c, length in rows]
    return Examples(
        table=make_feature_table(windows, [None] * WINDOWS, family()),
        anomaly=(pump > 0) | (cooler > 0),
        heads={"pump": pump.astype(np.int64), "cooler": cooler},
        classes={"pump": 3, "cooler": 2},
        groups=np.array([f"machine-{row % MACHINES}" for row in range(WINDOWS)]),
        weight=np.ones(WINDOWS, dtype=np.int64),
    )


@cache
def fitted(name: str) -> Detector:
    """Return a detector fitted on the examples, once a test run."""
    return registry()[name].fit(examples(), seed=3)


@cache
def bundle(name: str) -> Bundle:
    """Return a fitted detector with its card, calibrated on windows it has not seen."""
    unseen = [window(seed, pump=seed % 2 * (1 + seed % 3 // 2), cooler=seed % 4 // 3) for seed in range(9000, 9120)]
    table = make_feature_table(unseen, [None] * len(unseen), family())
    truth = np.array([seed % 2 == 1 or seed % 4 == 3 for seed in range(9000, 9120)])
    raw = fitted(name).vote(table).anomaly
    return assemble(fitted(name), family(), examples(), (raw, truth), fingerprint="0" * 64, seed=3)
