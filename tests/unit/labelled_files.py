"""In tests: files of presses as people have them, with label columns, and the machine kind that they are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.machines.definition import Definition, family_of
from pipelines.machines.family import Family

SECONDS = 20
DEFINITION = Definition.model_validate(
    {
        "title": "Press",
        "window_s": SECONDS,
        "channels": {
            "pressure": {"unit": "bar", "typical": 180},
            "oil temperature": {"unit": "degC", "typical": 45},
            "motor current": {"unit": "A", "low": 0, "high": 200, "typical": 40},
        },
    }
).to_json()
PRESS: Family = family_of("press", DEFINITION)
# By fault: how many times each channel's level is what it was, and how many times as unsteady.
FAULTS: Mapping[str, tuple[tuple[float, float, float], float]] = {
    "": ((1.0, 1.0, 1.0), 1.0),
    "pump": ((0.9, 1.12, 0.93), 1.0),
    "valve": ((1.0, 1.0, 1.1), 5.0),
}


def samples(
    fault: str, windows: int, seed: int, level: float = 1.0
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return readings of one machine: `float64[windows * SECONDS, 3]`."""
    random, (shift, unsteady) = np.random.default_rng(seed), FAULTS[fault]
    typical = np.array([180.0, 45.0, 40.0]) * np.array([level, 1.0, level]) * np.array(shift)
    drift = np.repeat(random.normal(0, 0.004, (windows, 3)), SECONDS, axis=0)
    noise = random.normal(0, 0.004, (windows * SECONDS, 3)) * np.array([unsteady, 1.0, unsteady])
    return np.asarray(typical * (1 + drift + noise))


def rows_of(machine: str, course: Sequence[tuple[str, int]], seed: int) -> list[str]:
    """Return lines `machine;time;pressure;temperature;current;pump;valve` of a machine that went through faults."""
    lines, second, level = [], 0, 1 + 0.1 * (seed % 3 - 1)
    for number, (fault, windows) in enumerate(course):
        for row in samples(fault, windows, 100 * seed + number, level).tolist():
            clock = f"2026-03-02 {6 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            cells = ";".join(f"{value:.3f}" for value in row)
            lines.append(f"{machine};{clock};{cells};{int(fault == 'pump')};{'stuck' if fault == 'valve' else 'ok'}")
            second += 1
    return lines


COURSE = (("", 34), ("pump", 8), ("", 8), ("valve", 8))


def write_presses(path: Path, machines: int = 4, course: Sequence[tuple[str, int]] = COURSE) -> Path:
    """Write a file of several presses, each with faults of its pump (0 and 1) and of its valve (ok and stuck)."""
    head = "machine;time;pressure [bar];oil temperature [°C];motor current [A];pump;valve"
    lines = [line for each in range(machines) for line in rows_of(f"press {each + 1}", course, each)]
    path.write_text("\n".join([head, *lines]), encoding="utf-8")
    return path
