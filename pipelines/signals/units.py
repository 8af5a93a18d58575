"""Reads units as people write them in English, Russian and German, and converts between those of one quantity.

Canonical names are those that families write (`bar`, `degC`, `l/min`, `mm/s`, `g`, `W`); `pint` knows the factors.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import product
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.machines.family import Channel
from pipelines.signals.windows import Floats

if TYPE_CHECKING:
    import pint


class Unit(NamedTuple):
    """One unit.

    Attributes:
        quantity: What it measures; only units of one quantity are converted.
        expression: How pint writes it.
        spellings: Beside the name itself; without spaces.
        above: Pressure at its zero, in bar above that of the air.
    """

    quantity: str
    expression: str
    spellings: str = ""
    above: float = 0.0


# Longest text that can be a unit. Source: own choice; "кгс/кв.см изб." has 15.
LENGTH = 24
# Source: ISO 2533, standard atmosphere at sea level.
ATMOSPHERE_BAR = 1.01325
# A value outside its range by less than this share of it may be a reading of the same unit. Source: own choice.
NEAR = 0.01

PRESSURE = {
    "bar": ("bar", "bars бар барг"),
    "mbar": ("mbar", "мбар mbars"),
    "Pa": ("pascal", "Па"),
    "hPa": ("hectopascal", "гПа"),
    "kPa": ("kilopascal", "кПа kpa KPA kPaG"),
    "MPa": ("megapascal", "МПа MPA mpa мпа"),
    "mPa": ("millipascal", "мПа"),
    "psi": ("psi", "lb/in2 lbf/in2 lbs/in2 lb/sqin pounds/in2 фунт/дюйм2 psid"),
    "ksi": ("ksi", ""),
    "kgf/cm2": ("kgf/cm**2", "kg/cm2 kp/cm2 кгс/см2 кг/см2 кгс/кв.см ksc at ат ати кгс"),
    "atm": ("atm", "атм атмосфера"),
    "mmHg": ("mmHg", "torr Torr ммрт.ст ммртст мм.рт.ст"),
    "inHg": ("inHg", '"Hg'),
    "mmH2O": ("mmH2O", "mmWC mmWS ммвод.ст ммводст"),
    "inH2O": ("inH2O", "inWC"),
    "mH2O": ("1000*mmH2O", "mWC mWS мвод.ст мводст"),
}
ABSOLUTE = {
    "bara": ("bar", "barabs bar-a бара барабс"),
    "psia": ("psi", "psiabs"),
    "kPaa": ("kilopascal", "kPaabs кПаабс"),
    "MPaa": ("megapascal", "MPaabs МПаабс"),
    "ata": ("kgf/cm**2", "ата"),
    "mbara": ("mbar", "mbarabs mbar-a мбара мбарабс"),
    "Paa": ("pascal", "Paabs Паабс"),
    "hPaa": ("hectopascal", "hPaabs гПаабс"),
    "atma": ("atm", "atmabs"),
    "mmHga": ("mmHg", "mmHgabs torrabs"),
    "inHga": ("inHg", "inHgabs"),
}
OTHERS = {
    "degC": Unit(
        "temperature", "degC", "C °C Celsius celsius oC градC град.C degreesC degreeC grC гр.C градусC °Ц deg.C"
    ),
    "degF": Unit("temperature", "degF", "F °F Fahrenheit degreesF degreeF deg.F oF"),
    "degR": Unit("temperature", "degR", "°R"),
    "K": Unit("temperature", "kelvin", "Kelvin kelvin °K degK К"),
    "g": Unit("acceleration", "standard_gravity", "G g's grms gn gs"),
    "mg": Unit("acceleration", "standard_gravity/1000", "mG"),
    "m/s2": Unit("acceleration", "m/s**2", "m/sec2 m/ss м/с2 м/сек2 m/s/s"),
    "mm/s2": Unit("acceleration", "mm/s**2", "мм/с2"),
    "ft/s2": Unit("acceleration", "ft/s**2"),
    "rpm": Unit(
        "speed", "rpm", "U/min u/min 1/min min-1 /min об/мин об./мин rev/min r/min rev./min obr/min Umdr/min мин-1"
    ),
    "rps": Unit("speed", "60*rpm", "rev/s r/s об/с об/сек U/s"),
    "rad/s": Unit("speed", "9.549296585513721*rpm", "рад/с rad/sec"),  # 60 / 2 pi
    "Hz": Unit("frequency", "Hz", "Гц hertz Hertz 1/s s-1 cps"),
    "kHz": Unit("frequency", "kHz", "кГц"),
    "A": Unit("current", "A", "А Amp Amps amp amps amperes ampere Ampere Arms"),
    "mA": Unit("current", "mA", "мА milliamps"),
    "kA": Unit("current", "kA", "кА"),
    "V": Unit("voltage", "V", "В volt volts Volt Volts Vdc Vac VDC VAC"),
    "mV": Unit("voltage", "mV", "мВ"),
    "kV": Unit("voltage", "kV", "кВ"),
    "W": Unit("power", "W", "Вт watt watts Watt Watts"),
    "kW": Unit("power", "kW", "кВт KW kw"),
    "MW": Unit("power", "MW", "МВт"),
    "hp": Unit("power", "hp", "HP bhp"),
    "PS": Unit("power", "metric_horsepower", "л.с. лс"),
    "kWh": Unit("energy", "kWh", "кВтч"),
    "%": Unit("ratio", "percent", "percent Percent pct проц проц. процент Prozent %RH %rel"),
    "ppm": Unit("ratio", "ppm", "млн-1"),
    "1": Unit("ratio", "dimensionless", "- [-]"),
    "mm": Unit("length", "mm", "мм"),
    "cm": Unit("length", "cm", "см"),
    "m": Unit("length", "m", "м"),
    "in": Unit("length", "inch", "inch inches"),
    "ft": Unit("length", "ft", "feet"),
    "um": Unit("length", "micrometer", "µm μm мкм micron microns"),
    "mil": Unit("length", "inch/1000", "mils thou"),
    "Nm": Unit("torque", "N*m", "Нм"),
    "kNm": Unit("torque", "kN*m", "кНм"),
    "lbf-ft": Unit("torque", "lbf*ft", "ft-lb ft-lbf lb-ft lbft ftlb"),
    "N": Unit("force", "N", "Н"),
    "kN": Unit("force", "kN", "кН"),
    "lbf": Unit("force", "lbf", "lb lbs"),
    "tf": Unit("force", "1000*kgf", "тс"),
    "cSt": Unit("viscosity", "cSt", "mm2/s мм2/с сСт"),
    "kg/h": Unit("mass flow", "kg/h", "кг/ч kg/hr"),
    "kg/s": Unit("mass flow", "kg/s", "кг/с"),
    "kg/min": Unit("mass flow", "kg/min", "кг/мин"),
    "s": Unit("time", "s", "sec secs second seconds с сек Sek"),
    "ms": Unit("time", "ms", "мс msec"),
    "min": Unit("time", "min", "мин minutes"),
    "h": Unit("time", "h", "hr hrs hours ч час Std"),
    "dB": Unit("sound level", "dB", "дБ dBA dB(A) дБА"),
}
VOLUMES = {
    "l": ("liter", "l L ltr Ltr liter litre liters litres lit л литр литров dm3 дм3"),
    "ml": ("milliliter", "ml mL cc ccm cm3 мл см3"),
    "m3": ("m**3", "m3 cbm cum м3 куб.м Nm3 нм3"),
    "gal": ("gallon", "gal gallon gallons usgal USgal galUS gal(US) галлон"),
    "impgal": ("imperial_gallon", "impgal UKgal gal(UK)"),
    "ft3": ("ft**3", "ft3 cuft cf"),
}
TIMES = {"s": "s sec second с сек", "min": "min мин", "h": "h hr hour ч час std Std"}
SPEEDS = {
    "mm/s": ("mm/s", "", "мм mm"),
    "cm/s": ("cm/s", "", "см cm"),
    "m/s": ("m/s", "", "м m"),
    "um/s": ("micrometer/s", "", "µm μm um мкм"),
    "in/s": ("inch/s", "ips", 'in inch inches in. "'),
    "ft/s": ("ft/s", "fps", "ft"),
}
FLOWS = {
    "l/min": "lpm LPM l/m",
    "ml/min": "ccm/m",
    "gpm": "GPM usgpm USgpm gpm(US)",
    "impgpm": "igpm IGPM UKgpm",
    "ft3/min": "cfm",
}
# Names of the usual flows in place of volume over time.
NAMED = {"gal/min": "gpm", "impgal/min": "impgpm"}
# Units that people give for a quantity, likeliest first: those that a value outside its range is tested against.
# Source: own choice; data sheets and displays of mobile and industrial hydraulics.
USUAL = {
    "pressure": ("psi", "MPa", "kPa", "kgf/cm2", "bar", "mbar", "Pa"),
    "temperature": ("degF", "K", "degC"),
    "flow": ("gpm", "l/s", "m3/h", "l/min", "ml/min", "l/h"),
    "velocity": ("in/s", "mm/s", "um/s", "m/s"),
    "acceleration": ("g", "m/s2", "mg"),
    "power": ("kW", "W", "hp"),
    "speed": ("rpm", "rps"),
    "current": ("A", "mA"),
    "voltage": ("V", "mV"),
    "ratio": ("%", "1"),
}
# What the mean square is told by; it is what is meant where nothing is said. A peak is another quantity.
RMS = re.compile(r"(?<=.)[\s,_.(\[-]*(?:rms|r\.m\.s\.?|скз|eff|effektiv|ср\.?кв\.?)[)\].]*$", re.IGNORECASE)
PEAK = re.compile(r"(?<=.)[\s,_.(\[-]*(?:0-p|p-p|pk-pk|pkpk|peak-peak|peak|pk|пик|spitze)[)\].]*$", re.IGNORECASE)
GAUGE = re.compile(r"(?<=.)(?:\s*\(g\)|[\s(_-]*(?:gauge|изб\.?|ü|üd)\)?)$|(?<=bar|psi|kPa|MPa)\s*g$", re.IGNORECASE)
ABS = re.compile(r"(?<=.)(?:\s*\(a\)|[\s(_,-]*(?:abs\.?|absolute|абс\.?)\)?)$", re.IGNORECASE)
ALIKE = str.maketrans("АВЕКМНОРСТХаеорсху", "ABEKMHOPCTXaeopcxy")
CHARACTERS = str.maketrans(
    {"º": "°", "˚": "°", "−": "-", "⁻": "-", "µ": "μ", "^": "", "·": "", "*": "", "⋅": "", "∙": ""}
)


def _units() -> Iterator[tuple[str, Unit]]:
    for name, (expression, spellings) in PRESSURE.items():
        yield name, Unit("pressure", expression, spellings)
    for name, (expression, spellings) in ABSOLUTE.items():
        yield name, Unit("pressure", expression, spellings, -ATMOSPHERE_BAR)
    yield from OTHERS.items()
    for (volume, (expression, words)), (time, times) in product(VOLUMES.items(), TIMES.items()):
        name = NAMED.get(f"{volume}/{time}", f"{volume}/{time}")
        yield name, Unit("flow", f"{expression}/{time}", f"{_over(words, times)} {FLOWS.get(name, '')}")
    for name, (expression, extra, words) in SPEEDS.items():
        yield name, Unit("velocity", expression, f"{_over(words, TIMES['s'])} {extra}")


def _over(words: str, times: str) -> str:
    """Return each word over each time."""
    return " ".join(f"{word}/{time}" for word, time in product(words.split(), times.split()))


UNITS = dict(_units())


@cache
def _spellings() -> tuple[dict[str, str], dict[str, str]]:
    """Return the unit of each spelling as it stands, and of each in small letters, where those are of one unit."""
    exact: dict[str, str] = {}
    for name, unit in UNITS.items():
        for spelling in (name, *unit.spellings.split()):
            exact.setdefault(_plain(spelling), name)
    folded: dict[str, str] = {}
    for spelling, name in exact.items():
        folded.setdefault(spelling.casefold(), name)
    return exact, folded


def _plain(text: str) -> str:
    """Return a text in one manner of writing: without spaces, powers as digits, `per` as a stroke."""
    text = unicodedata.normalize("NFKC", text.translate(CHARACTERS)).translate(CHARACTERS)
    text = re.sub(r"\bper\b|\bpro\b|(?<=\w) в (?=\w)", "/", text, flags=re.IGNORECASE).replace("\\", "/")
    text = re.sub(r"sq\.?\s*in(?:ch)?\.?|inch2", "in2", text)
    return "".join(text.split())


@lru_cache(maxsize=10_000)
def read_unit(text: str) -> str | None:
    """Return the canonical name of a unit as people write it; None where it is none that is known.

    A peak of a vibration is another quantity than its root mean square, and has ` peak` behind its name.
    """
    text = text.strip(" \t.,;:[](){}<>").strip()
    if f"({text})".count("(") != f"({text})".count(")"):
        text += ")"
    if not text or len(text) > LENGTH:
        return None
    if PEAK.search(text):
        name = read_unit(PEAK.sub("", text))
        return f"{name} peak" if name and quantity_of(name) in ("velocity", "acceleration", "length") else None
    text = GAUGE.sub("", RMS.sub("", text))
    if ABS.search(text):
        name = _known(ABS.sub("", text))
        return next((each for each in ABSOLUTE if name and UNITS[each].expression == UNITS[name].expression), None)
    return _known(text)


def _known(text: str) -> str | None:
    exact, folded = _spellings()
    plain = _plain(text)
    shortened = re.sub(r"^deg(?:rees?)?\.?|^grad|^град\.?", "°", plain, flags=re.IGNORECASE)
    for spelling in (plain, plain.rstrip("."), plain.translate(ALIKE), shortened.translate(ALIKE)):
        if spelling in exact:
            return exact[spelling]
    small = plain.casefold()
    # A single letter means something else in its other size: `c` is not a temperature, nor `k`.
    return folded.get(small) or folded.get(small.translate(ALIKE)) if len(small) > 1 else None


def quantity_of(unit: str) -> str | None:
    """Return what a canonical unit measures; None for names that are none."""
    if unit.endswith(" peak"):
        return f"{quantity_of(unit.removesuffix(' peak'))} (peak)"
    return UNITS[unit].quantity if unit in UNITS else None


@cache
def _registry() -> "pint.UnitRegistry[float]":
    import pint  # takes a third of a second

    return pint.UnitRegistry()


@cache
def _line(unit: str, to: str) -> tuple[float, float]:
    """Return factor and offset from one unit to another of its quantity."""
    ureg, (source, target) = _registry(), (UNITS[unit.removesuffix(" peak")], UNITS[to.removesuffix(" peak")])
    if source.quantity == "temperature":
        zero, one = (float(ureg.Quantity(value, source.expression).to(target.expression).m) for value in (0.0, 1.0))
        return one - zero, zero
    factor = float((1.0 * ureg.parse_expression(source.expression)).to(_whole(target.expression)).m)
    factor /= _share(target.expression)
    bar = 0.0
    if source.above != target.above:
        bar = float(((source.above - target.above) * ureg.bar).to(_whole(target.expression)).m)
    return factor, bar


def _whole(expression: str) -> str:
    """Return the unit in an expression such as `1000*mmH2O`."""
    return str(_registry().parse_expression(expression).u)


def _share(expression: str) -> float:
    return float(_registry().parse_expression(expression).m)


def convert(values: Floats, unit: str, to: str) -> Floats:
    """Return values of one canonical unit in another.

    Raises:
        InvalidInput: They are of different quantities, or one is not known; names both.
    """
    if unit == to:
        return values
    one, other = quantity_of(unit), quantity_of(to)
    if one is None or one != other:
        rule = f"cannot be converted to {to}: that is {_said(other)}, and {unit} is {_said(one)}"
        raise InvalidInput("unit", unit, rule)
    factor, offset = _line(unit, to)
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64) * factor + offset


def _said(quantity: str | None) -> str:
    return f"a unit of {quantity}" if quantity else "no unit that is known"


def fitting(value: float, channel: Channel) -> tuple[str, ...]:
    """Return the usual units in which a value that is far outside a channel's range would lie within it.

    The likeliest first: that whose value lies nearest to the channel's typical level.
    """
    quantity, margin = quantity_of(channel.unit), NEAR * (channel.high - channel.low)
    if channel.low - margin <= value <= channel.high + margin or quantity not in USUAL:
        return ()
    found = []
    for unit in USUAL[quantity]:
        (meant,) = convert(np.array([value]), unit, channel.unit).tolist()
        if unit != channel.unit and channel.low <= meant <= channel.high:
            found.append((_far(meant, channel), unit))
    return tuple(unit for _, unit in sorted(found))


def _far(value: float, channel: Channel) -> float:
    if channel.relation == "ratio" and value > 0 < channel.typical:
        return abs(log(value / channel.typical))
    return abs(value - channel.typical)


def range_rule(value: float, channel: Channel) -> str:
    """Return what is wrong with a value outside a channel's range, and the units that it may be in."""
    asked = "".join(f" {unit}?" for unit in fitting(value, channel)[:2])
    return f"must be between {channel.low:g} and {channel.high:g} {channel.unit}" + (f":{asked}" if asked else "")
