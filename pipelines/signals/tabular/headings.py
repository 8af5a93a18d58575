"""Understands the headers of columns and the tags of historians, in English, Russian and German."""

import re
from functools import lru_cache
from typing import NamedTuple

from pipelines.signals.units import quantity_of, read_unit


class Heading(NamedTuple):
    """What a header says.

    Attributes:
        quantity: By its unit, or by its words; `vibration` where they leave open of what kind.
        unit: Canonical.
        guess: Quantity by the letters of a tag such as `PT101`, which people have to confirm.
        secondary: It is not the machine's main reading of that quantity: a case drain, an ambient temperature.
        unknown: What stands there as a unit and is none that is known, as `0.1 bar`; empty where nothing does.
    """

    text: str
    quantity: str | None = None
    unit: str | None = None
    guess: str | None = None
    secondary: bool = False
    unknown: str = ""

    @property
    def asked(self) -> str:
        """Return what people have to say, as a question."""
        if self.unit is None and self.unknown:
            return f"unit {self.unknown!r} is not known: which is it?"
        if self.unit is None and self.quantity is None:
            return f"{self.guess}? in which unit?" if self.guess else "which quantity, in which unit?"
        return ""


# Headers and tags whose meaning is remembered. Source: own choice; a file has at most a few thousand.
NAMES_KEPT = 10_000
# Longest header that is looked at. Source: own choice; those of historians with path and description stay below.
LENGTH = 200
# Stems by quantity, found anywhere in a word, so in German compounds, too.
STEMS = {
    "flow": "flow|durchfluss|volumenstrom|förderstrom|foerderstrom|ölstrom|расход|подач",
    "pressure": "pressure|druck|давлен",
    "temperature": "temper|темпер",
    "vibration": "vibr|schwing|вибр|beschleunig|accelerat|ускорен",
    "voltage": "voltage|spannung|напряж",
    "power": "power|leistung|мощност",
    "speed": "speed|drehzahl|оборот|rotation|вращен",
    "level": "level|füllstand|fuellstand|niveau|уровень|уровня",
    "humidity": "humidity|feucht|влажн|moisture",
    "viscosity": "viscos|viskos|вязкост",
    "torque": "torque|drehmoment|крутящ",
    "ratio": "efficien|wirkungsgrad|кпд",
    "current": "current|strom|ампер",
}
# Whole words, which within others would mean something else.
WORDS = {
    "pressure": "press prs pres дав",
    "temperature": "temp temps tmp темп",
    "flow": "flw",
    "vibration": "vib accel accelerometer",
    "current": "ток тока amps amperage",
    "speed": "rpm",
}
# Source: ISA-5.1, first letters of instruments; V is vibration there.
ISA = {"P": "pressure", "T": "temperature", "F": "flow", "V": "vibration", "L": "level", "S": "speed", "I": "current"}
TAG = re.compile(r"^(PD|DP|[A-Z])(IT|IC|[TEI])[-_ ]?\d{1,6}[A-Z]{0,2}$", re.IGNORECASE)
SECONDARY = re.compile(
    r"drain|leak|ambient|\bair\b|room|bearing|winding|\bmotor temp|coolant|cooling water|set ?point|\bsp\b|target|"
    r"limit|\bmin\b|\bmax\b|alarm|return|\btank pressure|pilot|charge|differential|\bdp\b|delta|"
    r"дренаж|утечк|окружа|воздух|подшипник|обмотк|уставк|задан|предел|слив|перепад|управлени|подпит|"
    r"leckage|leckö|umgebung|raumtemp|lager|wicklung|sollwert|grenzwert|rücklauf|differenz|steuerdruck",
    re.IGNORECASE,
)
ROLES = {
    "time": "time timestamp datetime date datetimes ts zeit zeitstempel datum uhrzeit время дата datumzeit epoch unix "
    "unixtime метка moment час utc t clock elapsed seconds laufzeit",
    "tag": "tag tagname tagnames tagid name parameter variable signal sensor point pointname pointid channel item "
    "itemid наименование название обозначение тег имя параметр сигнал датчик переменная "
    "канал messstelle kanal bezeichnung messgröße variablenname series metric measurement",
    "value": "value val values vvalue numericvalue wert messwert значение знач reading measure pv",
    "quality": "quality qual qc q status state качество статус достоверность qualität qualitaet gültig valid validity "
    "isgood opcquality statuscode flag good",
    "unit": "unit units uom eu einheit ед единица единицы изм engineeringunits engunit",
    "machine": "machine machineid asset assetid system systemid equipment device deviceid serial unitid машина агрегат "
    "установка станок оборудование система anlage maschine gerät geraet station line linie линия hpu host node "
    "source vehicle truck pump насос pumpe location site place объект цех участок standort",
}
ROLE_OF = {word: role for role, words in ROLES.items() for word in words.split()}
# A unit per minute, which is no minimum.
PER_MINUTE = re.compile(r"\b(?:l|ml|m3|1|u|rev|r|gal)[\s_/]+min\b|_(?:l|ml|m3|rev)_min\b", re.IGNORECASE)
NAMING = {"id", "no", "nr", "name", "number", "num", "code", "номер", "код", "имя", "nummer", "key"}
BRACKETS = re.compile(r"[\[({<]([^\[\](){}<>]{1,24}(?:\([^()]{1,8}\))?)[\])}>]")
# Brackets as a unit stands in, and words in them that are notes. Source: own choice; headers of loggers and historians.
SQUARE = re.compile(r"[\[{<]([^\[\]{}<>]{1,24})[\]}>]")
NOTE = re.compile(
    r"main|sensor|raw|avg|mean|average|actual|measured|value|calc|filter|input|output|inlet|outlet|left|right|front|rear|"
    r"pump|motor|tank|oil|port|line|side|total|test|датчик|насос|масл|средн|текущ|ist\b|mittel|gemessen|wert|pumpe|öl",
    re.IGNORECASE,
)
# A tag, a number, or a name in words of their own.
NAMED_THING = re.compile(r"[^\W\d_]{0,5}[-_ .]?\d{1,6}[^\W\d_]?")
# A number before or behind a unit, or what it is multiplied by.
SCALE = re.compile(r"\s*(?:[x×*·/]\s*)?\d+(?:[.,]\d+)?(?:e[+-]?\d+|\^-?\d+)?\s*(?:[x×*·]\s*)?", re.IGNORECASE)
TAIL = re.compile(r"[\s,;:/_|.-]+(?:in\s+|в\s+)?([^\s,;:|]{1,16}(?:\s(?:RMS|rms|СКЗ|ст\.?))?)$")


@lru_cache(maxsize=NAMES_KEPT)
def read_heading(text: str) -> Heading:
    """Return what a header says of its column."""
    text = " ".join(text.split())[:LENGTH]
    words = quantity_by_words(text)
    unit = _unit(text, words)
    quantity = quantity_of(unit) if unit else words
    if unit and words == "level" and quantity in ("length", "ratio"):
        quantity = "level"
    if unit and words == "humidity":
        quantity = "humidity"
    tag = _instrument(text)
    words_alone = PER_MINUTE.sub("", BRACKETS.sub("", text)).replace("_", " ")
    secondary = bool(SECONDARY.search(words_alone)) or bool(tag and tag[0] != tag)
    guess = tag[-1:] and ISA.get(tag[-1:]) if tag else None
    return Heading(text, quantity, unit, guess, secondary, "" if unit else _unknown(text))


def quantity_by_words(text: str) -> str | None:
    """Return the quantity that a header's words name; of several the last, in Russian the first."""
    small = text.casefold()
    found = {match.start(): name for name, stems in STEMS.items() for match in re.finditer(stems, small)}
    for match in re.finditer(r"[^\W\d_]+", small):
        for name, words in WORDS.items():
            if match.group() in words.split():
                found.setdefault(match.start(), name)
    if "volumenstrom" in small or "förderstrom" in small or "ölstrom" in small or "foerderstrom" in small:
        found = {place: name for place, name in found.items() if name != "current"}
    if not found:
        return None
    russian = re.search("[а-яё]", small) is not None
    return found[min(found) if russian else max(found)]


def _unit(text: str, words: str | None) -> str | None:
    """Return the unit in brackets, or at the end of a header."""
    for inner in reversed(BRACKETS.findall(text)):
        if unit := read_unit(inner):
            return unit
    bare = BRACKETS.sub("", text).strip()
    tokens = re.split(r"[\s_]+", bare)
    # A field name as `flow_l_min`, then what follows the last separator.
    candidates = ["/".join(tokens[-2:])] if len(tokens) > 2 else []
    candidates += tokens[-1:] if len(tokens) > 1 else []
    candidates += [match.group(1)] if (match := TAIL.search(bare)) else []
    candidates += [bare.rpartition(",")[2], bare.partition("/")[2]]
    for candidate in candidates:
        unit = read_unit(candidate) or (len(candidate) == 1 and words and read_unit(candidate.upper())) or None
        # A letter at the end is a unit only of what the words say: `Pump A` is no current.
        if unit and (len(candidate) > 2 or alike(words, quantity_of(unit)) or not candidate.isalnum()):
            return unit
    return None


def _unknown(text: str) -> str:
    """Return what stands in brackets as a unit and is none that is known: in square ones whatever is no note."""
    square = [match[1].strip() for match in SQUARE.finditer(text)]
    for inner in (*square, *(match[1].strip() for match in BRACKETS.finditer(text))):
        rest = SCALE.sub("", inner)
        scaled = rest != inner and read_unit(rest) is not None
        if _instrument(inner) or (NAMED_THING.fullmatch(inner) and not (scaled and inner[0].isdigit())):
            continue
        if scaled or (re.search(r"[^\W\d_]/[^\W\d_]|[%°]", inner) and not NOTE.search(inner)):
            return inner
        plain = inner in square and re.search(r"[^\W\d_]", inner) and not NOTE.search(inner)
        if plain and not (quantity_by_words(inner) or role_of(inner) or SECONDARY.search(inner)):
            return inner
    return ""


def alike(words: str | None, quantity: str | None) -> bool:
    """Return whether a quantity by its words and one by its unit may be the same."""
    if words in ("vibration", "speed", "level"):
        kinds = {"vibration": ("velocity", "acceleration", "length"), "speed": ("speed", "frequency")}
        base = (quantity or "").removesuffix(" (peak)")
        return base in kinds.get(words, ("length", "ratio"))
    return words is not None and words == quantity


def _instrument(text: str) -> str:
    """Return the first letters of an instrument's tag in a header, `PD` for differences; empty where there is none."""
    for part in re.split(r"[.\\/:|\s\[\]()]+", text):
        if (match := TAG.match(part)) and match.group(1)[-1].upper() in ISA:
            return match.group(1).upper().replace("PD", "DP")
    return ""


def role_of(header: str) -> str | None:
    """Return the role that a header's words name: of the word that says it first."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-zа-я])(?=[A-ZА-Я])", " ", header))
    whole = "".join(words).casefold()
    if whole in ROLE_OF:
        return ROLE_OF[whole]
    named = [ROLE_OF[word.casefold()] for word in words if word.casefold() in ROLE_OF]
    role = next((role for role in ("time", "quality", "tag", "value", "unit", "machine") if role in named), None)
    # `Pump no.` names a pump, and `Pump running` says what one does.
    return None if role == "machine" and len(named) + sum(w.casefold() in NAMING for w in words) < len(words) else role
