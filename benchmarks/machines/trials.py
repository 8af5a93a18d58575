"""What each machine of the benchmark is asked: windows to learn from, healthy ones of the days after, and broken ones.

Recording takes longer than judging, so that what was recorded is kept while the physics stay as they are.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines.machine import CHANNELS, HEALTHY, SENSOR_FAULTS, Machine, Physics, is_working, shown_faults
from benchmarks.machines.members import KEPT, fingerprint
from benchmarks.machines.telling import told
from pipelines.signals.windows import Floats, Window

Part = Literal["train", "tune", "final"]
PARTS: Sequence[Part] = ("train", "tune", "final")
# The seeds of the three parts never meet.
APART = 100_000
PHYSICS = {
    "b": "benchmarks.machines.physics_b",
    "c": "benchmarks.machines.physics_c",
    "training": "pipelines.datasets.simulator",
}

LEARNING = 60  # the longest commissioning that is tried
HEALTHY_WINDOWS = 48
DAYS = 3.0
DAY_S = 86_400.0
SIZES = ((0.15, 2), (0.3, 4), (0.6, 2))  # and how many windows of each
MEDIUM = 0.3
# Windows that one who has seen it all has seen: well, of each fault of a part, and of each of a sensor, in any channel.
ORACLE_HEALTHY, ORACLE_EACH, ORACLE_SENSOR = 100, 12, 32
# A fault counts as shown, and its component as told, when one who has seen all faults of this very machine
# finds this share of its windows. Source: own choice; far more than chance, and 12 windows tell it.
SHOWN_FROM = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One machine's windows, each `float64[N, C, L]`.

    Attributes:
        learning: Healthy ones that follow each other.
        poisoned: The same with every tenth one faulty.
        healthy: Of the days after, in their order.
        broken: Windows with a fault.
        fault: Per window of these, `str[K]`.
        size: `float64[K]`.
        known: Windows out of 20 to 30 that its owner commissions it with.
        shown: By fault of `kinds`, whether the channels show it to one who has seen this machine broken.
        told: By fault, whether they tell which component it is.
    """

    kind: str
    rate_hz: float
    learning: Floats
    poisoned: Floats
    healthy: Floats
    broken: Floats
    fault: NDArray[np.str_]
    size: Floats
    known: int
    kinds: NDArray[np.str_]
    shown: NDArray[np.bool_]
    told: NDArray[np.bool_]

    def windows(self, values: Floats) -> list[Window]:
        """Return windows as the product takes them."""
        return [Window(dict(zip(CHANNELS, block, strict=True)), self.rate_hz) for block in values]

    def flags(self, by_kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return of each broken window what is known of its fault."""
        return np.array([bool(by_kind[self.kinds == fault].any()) for fault in self.fault], dtype=np.bool_)


def offered() -> list[str]:
    """Return the physics that can draw machines."""
    return [name for name in PHYSICS if _module(name) is not None]


@cache
def _module(name: str) -> Physics | None:
    """Return a set of physics, or None where it does not draw machines over time."""
    try:
        found = importlib.import_module(PHYSICS[name])
    except ModuleNotFoundError:
        return None
    return found if hasattr(found, "draw") else None


def machine(physics: str, part: Part, number: int) -> Machine:
    """Draw one machine of one part.

    Raises:
        ModuleNotFoundError: There are no such physics.
    """
    drawn = _module(physics)
    if drawn is None:
        raise ModuleNotFoundError(PHYSICS[physics])
    return drawn.draw(_random(physics, part, number, 0))


def _random(physics: str, part: Part, number: int, use: int) -> np.random.Generator:
    return np.random.default_rng([list(PHYSICS).index(physics), PARTS.index(part) * APART + number, use])


def trials(physics: str, part: Part, count: int) -> Iterator[Trial]:
    """Yield the trials of the first machines of a part."""
    for number in range(count):
        path = KEPT / f"trials-{physics}-{_sources(physics)}" / f"{part}-{number}.npz"
        if not path.exists():
            _write(recorded(machine(physics, part, number), _random(physics, part, number, 1)), path)
        yield _read(path)


@cache
def _sources(physics: str) -> str:
    """Return a name that changes with what the recordings depend on."""
    here = Path(__file__).parent
    if physics == "training":
        own = ["pipelines/datasets/simulator.py"]
    else:
        own = sorted(str(path.relative_to(here.parents[1])) for path in here.glob(f"physics_{physics}*.py"))
    shared = [f"benchmarks/machines/{name}.py" for name in ("machine", "trials", "telling")]
    return fingerprint((), (*own, *shared, "pipelines/signals/features.py"))


def _write(trial: Trial, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.npz")  # two runs may record the same machine at once
    np.savez_compressed(part, **{field.name: getattr(trial, field.name) for field in fields(Trial)})
    part.replace(path)


def _read(path: Path) -> Trial:
    with np.load(path) as content:
        values = {name: content[name] for name in content.files}
    return Trial(
        **values | {"kind": str(values["kind"]), "rate_hz": float(values["rate_hz"]), "known": int(values["known"])}
    )


def interval_s(drawn: Machine) -> float:
    """Return the time from one window to the next: a minute, or the window's length where it is longer."""
    return max(60.0, drawn.window_samples / drawn.rate_hz)


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Cuts windows out of a machine's life."""

    machine: Machine
    random: np.random.Generator

    def at(self, begin_s: float, fault: str = HEALTHY, size: float = 0.0) -> Floats:
        """Return the window that begins at a moment."""
        seed = int(self.random.integers(2**31))
        seconds = self.machine.window_samples / self.machine.rate_hz
        values = self.machine.record(seconds, begin_s, fault, size, seed)
        return np.stack([values[channel] for channel in CHANNELS])

    def row(self, begins: Sequence[float], fault: str = HEALTHY, size: float = 0.0) -> Floats:
        """Return windows that begin at some moments."""
        return np.stack([self.at(begin, fault, size) for begin in begins])

    def later(self, count: int, first_s: float, working: bool) -> list[float]:
        """Draw moments of the days after commissioning, in their order; at work where a fault is to show."""
        seconds = self.machine.window_samples / self.machine.rate_hz
        found: list[float] = []
        for _ in range(100 * count):
            begin = float(self.random.uniform(first_s, first_s + DAYS * DAY_S))
            if not working or is_working(self.machine, begin, seconds):
                found.append(begin)
            if len(found) == count:
                break
        return sorted(found)


def recorded(drawn: Machine, random: np.random.Generator) -> Trial:
    """Record everything that one machine is asked."""
    cut = _Recorder(drawn, random)
    step = interval_s(drawn)
    kinds = shown_faults(drawn)
    learning = cut.row([step * number for number in range(LEARNING)])
    poisoned = learning.copy()
    for place in range(int(random.integers(10)), LEARNING, 10):
        poisoned[place] = cut.at(step * place, str(random.choice(kinds)), float(random.uniform(MEDIUM, 1.0)))
    first = step * LEARNING
    asked = [(fault, size) for fault in kinds for size, count in SIZES for _ in range(count)]
    shown, tells = _oracle(cut, kinds, first)
    return Trial(
        kind=drawn.kind,
        rate_hz=drawn.rate_hz,
        learning=learning,
        poisoned=poisoned,
        healthy=cut.row(cut.later(HEALTHY_WINDOWS, first, working=False)),
        broken=np.stack([cut.at(cut.later(1, first, working=True)[0], fault, size) for fault, size in asked]),
        fault=np.array([fault for fault, _ in asked]),
        size=np.array([size for _, size in asked]),
        known=int(random.integers(20, 31)),
        kinds=np.array(kinds),
        shown=shown,
        told=tells,
    )


def _oracle(cut: _Recorder, kinds: Sequence[str], first_s: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which faults of 30 % the four channels show, and of which they tell the component."""
    well = cut.row(cut.later(ORACLE_HEALTHY, first_s, working=True))
    counts = [ORACLE_SENSOR if fault in SENSOR_FAULTS else ORACLE_EACH for fault in kinds]
    broken = [
        cut.row(cut.later(count, first_s, working=True), fault, MEDIUM)
        for fault, count in zip(kinds, counts, strict=True)
    ]
    labels = np.repeat([HEALTHY, *kinds], [len(well), *map(len, broken)])
    shares = told(np.concatenate([well, *broken]), labels, cut.machine.rate_hz)
    found = np.array([shares[fault].shown for fault in kinds]) >= SHOWN_FROM
    named = np.array([shares[fault].told for fault in kinds]) >= SHOWN_FROM
    return found, np.logical_and(found, named)
