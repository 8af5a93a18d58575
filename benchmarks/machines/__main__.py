"""`make bench-machines`: what is demanded on machines that no model has seen, beside what is measured on them.

Simulated machines are drawn from seeds split in three: to train on, to tune on, and to look at once (`--final`).
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from benchmarks.machines import recorded, tables
from benchmarks.machines.judging import Judge
from benchmarks.machines.machine import shown_faults
from benchmarks.machines.members import KEPT, trained
from benchmarks.machines.simulated import CURVE, Outcome, by_fault, curve, figures, outcome, voters
from benchmarks.machines.tables import Row
from benchmarks.machines.trials import MEDIUM, PHYSICS, SIZES, Part, machine, offered, trials
from benchmarks.machines.weeks import WINDOWS_A_WEEK, Week, delay, healthy_week, worn_at_alarm
from pipelines.detectors.members import registry

TOPICS = ("simulated", "curves", "recorded", "weeks", "delays")


class Scale(NamedTuple):
    """How much is measured of each set of physics.

    Attributes:
        machines: Commissioned and judged.
        curves: Of these, drawn by number of commissioning windows.
        weeks: Watched while they are healthy.
        minutes: Of each.
        wearing: Watched while their pump wears.
        wear_every_s: From one of these windows to the next.
        delayed: On which each fault begins.
        sizes: At which.
    """

    machines: int
    curves: int
    weeks: int
    minutes: int
    wearing: int
    wear_every_s: float
    delayed: int
    sizes: Sequence[float]


FULL = Scale(24, 12, 4, WINDOWS_A_WEEK, 8, 300.0, 4, [size for size, _ in SIZES])
QUICK = Scale(12, 4, 1, 1440, 2, 1800.0, 1, [MEDIUM])


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure."""

    scale: Scale
    part: Part
    physics: Sequence[str]
    topics: Sequence[str]
    data: Path


def simulated(asked: Asked, judge: Judge, console: Console) -> Iterator[Row]:
    """Measure simulated machines, each set of physics by itself and all together."""
    whole: list[Outcome] = []
    for name in asked.physics:
        found = [outcome(trial, judge) for trial in trials(name, asked.part, asked.scale.machines)]
        whole += found
        console.print(tables.machines(name, found))
        yield from tables.demanded(f"physics {name}", figures(found, judge))
    if len(asked.physics) > 1:
        yield from tables.demanded("all physics", figures(whole, judge))
    console.print(tables.faults(by_fault(whole, judge)))
    console.print(tables.voters("simulated machines, faults of 30 % that channels show", voters(whole, judge)))
    yield from tables.against_best("simulated", voters(whole, judge))


def curves(asked: Asked, judge: Judge, console: Console) -> Iterator[Row]:
    """Draw false and missed alarms by the number of windows that machines are commissioned with."""
    drawn = [trial for name in asked.physics for trial in trials(name, asked.part, asked.scale.curves)]
    lines = {"simulated": curve(drawn, judge)}
    if (asked.data / "uci_hydraulic").exists():
        counts = [count for count in CURVE if count <= recorded.CYCLES]
        lines["rig"] = recorded.curve_of(recorded.rig(asked.data), counts, judge)
        lines["loop"] = recorded.curve_of(list(recorded.loop(asked.data, judge.family, 20)), counts, judge)
    console.print(tables.curves(lines))
    yield from ()


def recordings(asked: Asked, judge: Judge, console: Console) -> Iterator[Row]:
    """Measure real machines."""
    if not (asked.data / "uci_hydraulic").exists():
        console.print(f"{asked.data}: no recordings there; give --data")
        return
    rig = recorded.rig(asked.data)
    found = {"rig, cycles of 60 s": recorded.real("rig, cycles of 60 s", rig, judge)}
    for part in rig:
        if (~part.anomaly).sum() < recorded.ENOUGH:
            continue
        found[f"rig {part.name}"] = recorded.real(f"rig {part.name}", [part], judge)
    for seconds in recorded.LENGTHS_S:
        name = f"loop, windows of {seconds} s"
        found[name] = recorded.real(name, list(recorded.loop(asked.data, judge.family, seconds)), judge)
    for name, (ensemble, by_member) in found.items():
        console.print(tables.real(name, [*by_member.values(), ensemble]))
    for name, (ensemble, by_member) in found.items():
        if name.startswith(("rig,", "loop,")):
            yield from tables.demanded_of_real(name, ensemble, by_member)


def weeks(asked: Asked, judge: Judge, console: Console) -> Iterator[Row]:
    """Watch machines for long."""
    healthy: list[Week] = []
    worn: list[float] = []
    for name in asked.physics:
        for number in range(asked.scale.weeks):
            healthy.append(healthy_week(machine(name, asked.part, number), judge, asked.scale.minutes, number))
        for number in range(asked.scale.wearing):
            worn.append(worn_at_alarm(machine(name, asked.part, number), judge, asked.scale.wear_every_s, number))
    console.print(tables.weeks(healthy, worn))
    if healthy:
        alarms = float(np.mean([week.alarms for week in healthy]))
        yield Row("all physics", "false alarms a healthy machine-week", 1.0, False, alarms)
    if worn:
        yield Row("all physics", "pump wear, 0 to 30 % in a week: alarm at", 0.12, False, float(np.median(worn)))


def delays(asked: Asked, judge: Judge, console: Console) -> Iterator[Row]:
    """Wait for the alarm after each fault has begun, as warm oil and load let it show."""
    sizes = asked.scale.sizes
    found: dict[str, dict[float, list[float]]] = {}
    for name, number in product(asked.physics, range(asked.scale.delayed)):
        drawn = machine(name, asked.part, number)
        for fault, size in product(shown_faults(drawn), sizes):
            waits = found.setdefault(fault, {each: [] for each in sizes})[size]
            waits.append(delay(drawn, judge, fault, size, number))
    console.print(tables.delays(found))
    yield from ()


MEASURED = {"simulated": simulated, "curves": curves, "recorded": recordings, "weeks": weeks, "delays": delays}


def asked_of(words: Sequence[str] | None = None) -> tuple[Asked, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machines", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer machines, a day in place of a week")
    parser.add_argument("--final", action="store_true", help="look at the last third of the seeds")
    parser.add_argument("--part", choices=("train", "tune"), default="tune", help="which third else")
    parser.add_argument("--physics", nargs="+", choices=list(PHYSICS), help="in place of all that draw machines")
    parser.add_argument("--machines", type=int, help="of each set of physics")
    parser.add_argument("--members", nargs="+", choices=list(registry()), help="that judge, in place of all")
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=KEPT / "figures.json", help="where the figures are written")
    given = parser.parse_args(words)
    scale = QUICK if given.quick else FULL
    if given.machines:
        scale = scale._replace(machines=given.machines, curves=min(scale.curves, given.machines))
    part: Part = "final" if given.final else given.part
    return Asked(scale, part, given.physics or offered(), given.only, given.data), given


def main() -> None:
    """Print demand and measurement side by side."""
    asked, given = asked_of()
    console = Console(width=140)
    begun = time.monotonic()
    judge = trained()
    if given.members:
        judge = judge._replace(members={name: judge.members[name] for name in given.members})
    console.print(f"members ready after {time.monotonic() - begun:.0f} s; machines of {asked.part}: {asked.physics}")
    rows: list[Row] = []
    for topic in asked.topics:
        rows += MEASURED[topic](asked, judge, console)
        console.print(f"{topic}: {time.monotonic() - begun:.0f} s")
    console.print(tables.demands(rows))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    content = {row.key: round(row.measured, 4) if np.isfinite(row.measured) else None for row in rows}
    given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
