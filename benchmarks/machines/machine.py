"""What every simulated machine of the benchmark offers, and what a fault of a given size means on any of them.

A size is the share of its function that the part has lost, measured physically, so that machines of different physics
answer to the same demand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np

from pipelines.signals.windows import Floats

HEALTHY = "healthy"
CHANNELS = ("pressure", "temperature", "flow", "vibration")

# What a size of 1 is. Source: own definitions; the shares are those at which the part has to be replaced at once.
SIZES: Mapping[str, str] = MappingProxyType(
    {
        "pump_wear": "all of the new pump's delivered flow at working pressure is lost to leakage inside the pump",
        "internal_leakage": "the whole delivered flow passes the load at working pressure, after the flow meter",
        "external_leakage": "the whole delivered flow leaves the circuit before the flow meter at working pressure",
        "cooler_fouling": "the cooler passes no heat; the tank's walls still do",
        "valve_lag": "each switching takes four seconds or four fifths of the shortest phase, the longer",
        "cavitation": "the worst state: flow down by an eighth, vibration five times as strong, pressure unsteady",
        "clogged_filter": "the filter drops 60 % of the working pressure at working flow, beside its own drop",
        "air_in_oil": "a tenth of the suction flow is free air",
        "sensor_stuck": "one channel repeats its last value; the size does not matter",
        "sensor_drift": "one channel is off by its whole level; temperature by 40 K",
        "sensor_spike": "single samples of one channel jump by the whole level or more; temperature by 40 K",
        "sensor_dropout": "stretches of one channel read zero; the size does not matter",
    }
)
FAULTS = tuple(SIZES)
SENSOR_FAULTS = tuple(fault for fault in FAULTS if fault.startswith("sensor_"))

Size = float | Callable[[Floats], Floats]


@runtime_checkable
class Machine(Protocol):
    """One simulated machine, drawn once; the same call gives the same samples.

    Attributes:
        kind: "power unit", "press", "excavator" ...
        rate_hz: Samples a second.
        window_samples: How its owner cuts windows: 5 to 120 samples.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def rate_hz(self) -> float: ...  # noqa: D102

    @property
    def window_samples(self) -> int: ...  # noqa: D102

    def record(
        self, seconds: float, begin_s: float = 0.0, fault: str = HEALTHY, size: Size = 0.0, seed: int = 0
    ) -> dict[str, Floats]:
        """Return samples by channel, in bar, degC, l/min and mm/s.

        The fault is there during the whole recording, and its heat has had all the time before, unless the size grows.

        Args:
            seconds: Length.
            begin_s: Seconds after commissioning began: they decide ambient, load cycle and warming.
            fault: One of `FAULTS`.
            size: A share, or what makes it of the seconds after commissioning began.
            seed: Of noise, and of which sensor a sensor's fault is in.
        """
        ...


class Physics(Protocol):
    """A module that draws machines."""

    def draw(self, random: np.random.Generator) -> Machine:
        """Draw one machine."""
        ...


@runtime_checkable
class Working(Protocol):
    """A machine that knows when it works: a fault of a part that stands still shows nowhere."""

    def working(self, begin_s: float, seconds: float) -> bool:
        """Tell whether it is under load for most of the time."""
        ...


@runtime_checkable
class Showing(Protocol):
    """A machine that knows which faults its four channels can show at all.

    Attributes:
        faults: Of `FAULTS`; one that never switches has no lag of valves.
    """

    @property
    def faults(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Sizes:
    """A fault and its size at each of some moments."""

    fault: str
    size: Floats

    def of(self, fault: str) -> Floats:
        """Return the size of one fault: that of another one is 0."""
        return self.size if fault == self.fault else np.zeros_like(self.size)


def sizes(fault: str, size: Size, time: Floats) -> Sizes:
    """Return the size of a fault at each moment.

    Raises:
        ValueError: There is no such fault.
    """
    if fault != HEALTHY and fault not in FAULTS:
        raise ValueError(f"{fault}: must be {HEALTHY} or one of {', '.join(FAULTS)}")
    grown = size(time) if callable(size) else np.full(len(time), float(size))
    return Sizes(fault, np.clip(grown, 0.0, None))


def shown_faults(machine: Machine) -> tuple[str, ...]:
    """Return the faults that a machine can show."""
    return machine.faults if isinstance(machine, Showing) else FAULTS


def is_working(machine: Machine, begin_s: float, seconds: float) -> bool:
    """Tell whether a machine is under load for most of the time; one that cannot say so always is."""
    return machine.working(begin_s, seconds) if isinstance(machine, Working) else True
