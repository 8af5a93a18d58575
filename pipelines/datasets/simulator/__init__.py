"""Simulated machines: one unit in steady state for tests, and machines drawn widely that `generic` is trained on.

`unit` is the steady one. `machine` puts together `plant` (equations), `load` (work and air), `sensors` and `faults`;
`timeline` commissions it and labels what it sends later.
"""

from pipelines.datasets.simulator.machine import Machine, draw_machine
from pipelines.datasets.simulator.timeline import simulate_recordings
from pipelines.datasets.simulator.unit import (
    CHANNELS,
    CONDITIONS,
    HEALTHY,
    LEVELS,
    RATE_HZ,
    SENSOR_FAULTS,
    Unit,
    baseline_of,
    draw_unit,
    simulate,
    steady,
    window_of,
)

__all__ = [
    "CHANNELS",
    "CONDITIONS",
    "HEALTHY",
    "LEVELS",
    "RATE_HZ",
    "SENSOR_FAULTS",
    "Machine",
    "Unit",
    "baseline_of",
    "draw_machine",
    "draw_unit",
    "simulate",
    "simulate_recordings",
    "steady",
    "window_of",
]
