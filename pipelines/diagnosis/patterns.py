"""What each fault does to pressure, flow, temperature and vibration, as physics and trouble-shooting charts have it.

`hypotheses` compares the moves of one window with it where no trained detector speaks.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pipelines.machines.family import Family

Quantity = Literal["pressure", "flow", "temperature", "vibration"]
QUANTITIES: tuple[Quantity, ...] = ("pressure", "flow", "temperature", "vibration")
Box = tuple[float, float]

# By unit, what it measures; a channel of another unit takes no part.
UNITS: Mapping[str, Quantity] = {
    **dict.fromkeys(("bar", "mbar", "psi", "Pa", "kPa", "MPa"), "pressure"),
    **dict.fromkeys(("l/min", "l/s", "l/h", "m3/h", "m3/s", "gpm"), "flow"),
    **dict.fromkeys(("degC", "degF", "K"), "temperature"),
    **dict.fromkeys(("mm/s", "in/s", "g", "m/s2"), "vibration"),
}
# By unit of temperature, kelvin in one of it.
KELVIN: Mapping[str, float] = {"degF": 5 / 9}

STILL: Box = (0.0, 0.0)
# Source: own choice; a steady signal's standard deviation within a window differs by half between windows.
CALM: Box = (-0.5, 0.5)


class Pattern(NamedTuple):
    """How far a fault of size 1, by which a part has lost its whole function, moves each channel: from, to.

    Attributes:
        fault: The class as `generic` has it; "" where nothing is broken and `cause` says what changed.
        circuit: The kind of circuit in which it does so.
        share: Weight of this pattern among those of its fault.
        pressure: Share of normal by which the level moves, in proportion to the size; flow and vibration likewise.
        temperature: Kelvin by which it moves, in proportion to the size.
        pressure_spread: Logarithm of the ratio of the standard deviation within a window to normal, at any size.
    """

    fault: str
    circuit: str
    share: float
    pressure: Box = STILL
    flow: Box = STILL
    temperature: Box = STILL
    vibration: Box = STILL
    pressure_spread: Box = CALM
    flow_spread: Box = CALM
    temperature_spread: Box = CALM
    vibration_spread: Box = CALM
    cause: str = ""


FIXED, COMPENSATED, LOOP, ANY = "fixed displacement", "pressure-compensated", "loop", "any"

# Sources: Ivantysyn, Ivantysynova, "Hydrostatic Pumps and Motors" (gap leakage Q = Q_th - k p, loss heat p Q / 600 kW);
# Mitchell (Vickers), "Think first, then troubleshoot", ch. 1-12, Hydraulics & Pneumatics 1989-90 (charts for fixed and
# for pressure-compensated pumps); Casey, "Symptoms of common hydraulic problems and their root causes" (noise, heat,
# slow operation); Parr, "Hydraulics and Pneumatics", ch. 2; Karassik et al., "Pump Handbook", ch. 2 and 12 (loops);
# articles of `pipelines/knowledge/articles`. Numbers: own estimates from these laws, wide where circuits differ.
PATTERNS: tuple[Pattern, ...] = (
    # A worn pump loses flow in its gaps and turns the loss into heat; load over orifices falls with the flow.
    Pattern("pump_wear", FIXED, 0.45, (-0.95, 0.0), (-1.0, -0.3), (0, 45), (0.0, 2.0), (-0.6, 1.5), (-0.6, 1.5)),
    # A pump that can still stroke out makes its loss up: only heat and noise tell.
    Pattern("pump_wear", COMPENSATED, 0.25, (-0.1, 0.0), (-0.1, 0.02), (6, 60), (0.1, 2.0), (-0.5, 1.2), (-0.5, 1.2)),
    # Where all of the power becomes heat anyway, less of it warms the oil less.
    Pattern("pump_wear", LOOP, 0.3, (-1.6, -0.3), (-0.9, -0.3), (-25, 10), (-0.3, 1.0), (-0.6, 0.6), (-0.6, 0.6)),
    # A leaking load lets the full flow pass its meter and holds less pressure; the leak heats.
    Pattern("internal_leakage", FIXED, 0.4, (-1.0, -0.25), (-0.1, 0.15), (0, 40), (-0.3, 0.2), (-0.8, 0.5)),
    Pattern("internal_leakage", LOOP, 0.3, (-1.6, -0.4), (-0.05, 0.2), (-35, 2), (-0.7, 0.05), (-0.8, 0.5)),
    # A pump that holds pressure delivers the leak as well.
    Pattern("internal_leakage", COMPENSATED, 0.2, (-0.1, 0.0), (0.3, 1.3), (-4, 30), (-0.05, 0.4)),
    Pattern("internal_leakage", "soft supply", 0.1, (-0.6, -0.1), (0.3, 1.3), (-4, 30), (-0.05, 0.4)),
    # Oil that leaves takes its pressure and its heat with it, and the pump is no louder than before.
    Pattern("external_leakage", FIXED, 0.55, (-0.9, -0.05), (-1.05, -0.4), (-25, 6), (-0.3, 0.0), (-0.8, 0.5)),
    Pattern("external_leakage", LOOP, 0.3, (-1.6, -0.6), (-0.9, -0.3), (-35, 0), (-0.8, -0.2), (-0.8, 0.5)),
    Pattern("external_leakage", COMPENSATED, 0.15, (-0.2, 0.0), (0.3, 1.3), (-10, 3), (-0.05, 0.3)),
    # Oil warms; thinner oil leaks a little more, and much more where gaps are wide.
    Pattern("cooler_fouling", ANY, 0.8, (-0.12, 0.02), (-0.15, 0.02), (10, 60), (-0.1, 0.15)),
    Pattern("cooler_fouling", "wide gaps", 0.2, (-0.3, 0.0), (-0.35, -0.1), (10, 60), (-0.1, 0.15)),
    # Late switching knocks; the levels between stay.
    Pattern(
        "valve_lag",
        ANY,
        1.0,
        (-0.1, 0.15),
        (-0.15, 0.05),
        (-2, 6),
        (-0.05, 0.4),
        (0.4, 4),
        (-0.4, 3),
        CALM,
        (-0.5, 1.5),
    ),
    # A pump that is not filled rattles several times louder and unsteadily; flow falls a little.
    Pattern(
        "cavitation",
        ANY,
        1.0,
        (-0.3, 0.0),
        (-0.16, 0.0),
        (-4, 8),
        (3.0, 6.0),
        (-0.3, 4.0),
        (-0.3, 2.6),
        CALM,
        (-0.3, 3),
    ),
    # Air makes oil springy: pressure and flow swing, the pump whines.
    Pattern(
        "air_in_oil",
        ANY,
        1.0,
        (-0.25, 0.0),
        (-0.16, 0.0),
        (-4, 12),
        (0.3, 2.6),
        (0.3, 3.5),
        (0.5, 3.5),
        CALM,
        (-0.3, 2),
    ),
    # The drop over the element adds to the load, and is lost as heat.
    Pattern("clogged_filter", FIXED, 0.6, (0.2, 0.7), (-0.15, 0.0), (0, 35), (-0.05, 0.4)),
    Pattern("clogged_filter", COMPENSATED, 0.15, (-0.05, 0.06), (-0.8, -0.15), (-10, 15), (-0.1, 0.2)),
    Pattern("clogged_filter", LOOP, 0.1, (0.05, 0.5), (-0.7, -0.15), (-3, 8), (-0.05, 0.3)),
    Pattern("clogged_filter", "pressure behind the filter", 0.15, (-0.6, -0.1), (-0.9, -0.1), (-15, 25), (-0.1, 0.1)),
    # Nothing is broken: another load, speed or demand, or other air about the machine.
    Pattern("", FIXED, 0.4, (0.05, 1.2), (-0.1, 0.03), (0, 30), (0.05, 0.8), cause="another load"),
    Pattern("", FIXED, 0.3, (-0.95, -0.05), (-0.03, 0.1), (-30, 0), (-0.6, -0.03), cause="another load"),
    Pattern("", COMPENSATED, 0.1, (-0.1, 0.02), (0.05, 2.0), (-3, 12), (-0.05, 0.5), cause="another demand for flow"),
    Pattern(
        "", COMPENSATED, 0.1, (-0.02, 0.1), (-0.95, -0.05), (-12, 3), (-0.4, 0.05), cause="another demand for flow"
    ),
    Pattern("", FIXED, 0.1, (0.0, 1.5), (0.05, 1.0), (0, 15), (0.05, 1.0), cause="a higher speed or setting"),
    Pattern("", FIXED, 0.1, (-0.9, 0.0), (-0.9, -0.05), (-15, 0), (-0.6, -0.05), cause="a lower speed or setting"),
    Pattern("", ANY, 0.65, (-0.05, 0.01), (-0.05, 0.01), (3, 15), (-0.05, 0.05), cause="warmer surroundings"),
    Pattern(
        "", ANY, 0.5, (-0.01, 0.08), (-0.01, 0.05), (-35, -4), (-0.05, 0.1), cause="colder surroundings or a start"
    ),
)

# By fault, the part that is looked at first and what a technician calls it, where a family has no component for it.
PARTS: Mapping[str, tuple[str, str, str]] = {
    "pump_wear": ("pump", "pump", "насос"),
    "cavitation": ("pump", "pump", "насос"),
    "internal_leakage": (
        "cylinder",
        "cylinder or valve, leaking inside",
        "цилиндр или распределитель, внутренние утечки",
    ),
    "external_leakage": ("hoses", "hoses and fittings", "рукава и соединения"),
    "cooler_fouling": ("cooler", "cooler", "охладитель"),
    "valve_lag": ("valve", "valve", "распределитель"),
    "clogged_filter": ("filter", "filter", "фильтр"),
    "air_in_oil": ("fluid", "fluid", "рабочая жидкость"),
    **dict.fromkeys(("sensor_stuck", "sensor_drift", "sensor_spike", "sensor_dropout"), ("sensor", "sensor", "датчик")),
}


def quantity_of(unit: str) -> Quantity | None:
    """Return what a unit measures; None where it takes no part."""
    return UNITS.get(unit)


def component_of(family: Family, fault: str) -> str:
    """Return the component of a fault: that of the family which has its class, else the general one; "" for none."""
    own = (name for name, component in family.components.items() if fault in component.faulty)
    return next(own, PARTS[fault][0] if fault in PARTS else "")


def title_of(family: Family, fault: str) -> dict[Literal["en", "ru"], str]:
    """Return what a technician calls the component of a fault, by language; empty where nothing is broken."""
    component = component_of(family, fault)
    if component in family.components:
        return dict(family.components[component].title)
    return {"en": PARTS[fault][1], "ru": PARTS[fault][2]} if fault in PARTS else {}
