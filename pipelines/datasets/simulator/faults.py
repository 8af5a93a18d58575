"""What a fault of a size takes from a machine: size 0.3 is a part that has lost three tenths of its function.

- `pump_wear`: share of the new pump's flow at rated pressure and temperature that is lost to inner leakage on top.
- `internal_leakage`: share of the delivered flow that passes the load.
- `external_leakage`: share of it that leaves before the flow meter.
- `cooler_fouling`: share of the cooler's heat transfer that is lost.
- `clogged_filter`: added pressure drop at rated flow, 1 being 60 % of the working pressure.
- `valve_lag`, `cavitation`: share of the worst state; `air_in_oil`: 1 being a tenth of the stroke filled by free air.
- `sensor_drift`: share of the level, for a temperature of 40 K; `sensor_spike`: spikes of that height or up to twice.
- `sensor_stuck` and `sensor_dropout` are there or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pipelines.datasets.simulator.unit import HEALTHY
from pipelines.signals.windows import Floats

# Source: own choice; a drop of 60 % of the working pressure stops a machine. Filter indicators trip at 2 to 5 bar, and
# elements of pressure lines bear 10 to 200 bar before they collapse (makers' data sheets).
FILTER_WORST = 0.6
# Source: own choice; the steady unit's valve overshoots by 38 % of the pressure at worst.
KNOCK_WORST = 0.4
# Source: own choice; a cavitating pump is called so from 3 % of lost head or flow on (NPSH3 of ISO 9906), and does not
# live long at four times that.
CAVITATION_FILLING = 0.12
# Source: mineral oil dissolves about 9 % of air by volume at atmospheric pressure; as much as free air is foam.
AIR_WORST = 0.10
# Source: own choice; a share of degrees Celsius means nothing, and 40 K is the span from a cool machine to a hot one.
TEMPERATURE_SPAN_K = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """How far a machine is from new; 0 everywhere for a new one. All broadcast against times.

    Attributes:
        wear: Added inner leakage of the pump, share of its rated flow at rated pressure.
        bypass: Share of the delivered flow that passes the load, behind the flow meter.
        loss: Share of the delivered flow that leaves before the flow meter.
        fouling: Lost share of the cooler's heat transfer.
        clogging: Added pressure drop at rated flow, share of the rated pressure.
        void: Share of the pump's stroke that is not filled with oil.
        shake: Added vibration, share of its level.
        ripple: Added standard deviation of pressure and flow from sample to sample, share of their levels.
        rattle: Likewise of vibration.
        knock: Height of switching transients, share of pressure.
    """

    wear: Floats
    bypass: Floats
    loss: Floats
    fouling: Floats
    clogging: Floats
    void: Floats
    shake: Floats
    ripple: Floats
    rattle: Floats
    knock: Floats


PARTS = tuple(part.name for part in fields(Damage))


@dataclass(frozen=True, slots=True)
class Signature:
    """How the faults of one machine show beside what their size says; each is what size 1 adds.

    Attributes:
        wear_shake: Vibration of a worn pump, share of its level.
        leak_shake: Of leaking seals.
        knock_shake: Of a valve that switches late.
        cavitation_shake: Of cavitation, `cavitation_rattle` its unrest.
        air_shake: Of air in the oil.
        air_ripple: Unrest of pressure and flow by air in the oil.
    """

    wear_shake: float
    leak_shake: float
    knock_shake: float
    cavitation_shake: float
    cavitation_rattle: float
    air_shake: float
    air_ripple: float


def draw_signature(random: np.random.Generator) -> Signature:
    """Draw how the faults of a machine show.

    Source: own choice of ranges; they hold the figures of the steady unit (`unit.CONDITIONS`) near their middle.
    """
    return Signature(
        wear_shake=float(random.uniform(0.2, 2.0)),
        leak_shake=float(random.uniform(0.0, 0.2)),
        knock_shake=float(random.uniform(0.0, 0.6)),
        cavitation_shake=float(random.uniform(2.0, 6.0)),
        cavitation_rattle=float(random.uniform(0.15, 0.5)),
        air_shake=float(random.uniform(0.3, 1.5)),
        air_ripple=float(random.uniform(0.04, 0.12)),
    )


def parts_of(fault: str, signature: Signature) -> Mapping[str, float]:
    """Return by part of `Damage` what a fault of size 1 does; nothing for a healthy machine and a broken sensor.

    Everything grows evenly with the size.
    """
    known: dict[str, dict[str, float]] = {
        HEALTHY: {},
        "pump_wear": {"wear": 1.0, "shake": signature.wear_shake, "ripple": 0.01},
        "internal_leakage": {"bypass": 1.0, "shake": signature.leak_shake},
        "external_leakage": {"loss": 1.0},
        "cooler_fouling": {"fouling": 1.0},
        "valve_lag": {"knock": KNOCK_WORST, "shake": signature.knock_shake},
        "cavitation": {
            "void": CAVITATION_FILLING,
            "shake": signature.cavitation_shake,
            "rattle": signature.cavitation_rattle,
            "ripple": 0.03,
        },
        "clogged_filter": {"clogging": FILTER_WORST, "void": 0.02},
        "air_in_oil": {
            "void": AIR_WORST,
            "shake": signature.air_shake,
            "ripple": signature.air_ripple,
            "rattle": 0.08,
        },
    }
    return known.get(fault, {})


def damage_of(parts: Mapping[str, float], size: Floats) -> Damage:
    """Return what a fault of a size, which may change with time, does."""
    # Source: own choice; a part that has lost more than 95 % is broken, and the equations would divide by nothing.
    size = np.clip(size, 0.0, 0.95)
    return Damage(**{part: parts.get(part, 0.0) * size for part in PARTS})


def damages_of(each: list[Mapping[str, float]], sizes: Floats) -> Damage:
    """Return the damage of many windows, each with a fault and a size of its own.

    Shapes: `sizes` `float64[W]` -> parts `float64[W, 1]`.
    """
    size = np.clip(sizes, 0.0, 0.95)
    columns: dict[str, Any] = {
        part: (np.array([parts.get(part, 0.0) for parts in each]) * size)[:, None] for part in PARTS
    }
    return Damage(**columns)
