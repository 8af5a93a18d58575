"""Reads numbers as people write them: decimal commas, thousands marks, units, marks of a missing value."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.signals.tabular.bounds import NUMERAL_MAX
from pipelines.signals.units import convert, quantity_of, read_unit
from pipelines.signals.windows import Floats

# What stands in a cell that has no value. Source: exports of historians and loggers, Excel's errors.
NO_VALUE = """
- -- --- ---- . .. ... * ? n/a na n.a. n.a #n/a #na nan -nan null none nil nodata missing novalue \\n – —
#div/0! #value! #ref! #null! #num! #name? н/д нд нет k.a. keine
"""
MISSING = frozenset(NO_VALUE.split()) | {"", "no data", "no value", "нет данных", "нет связи", "k. a.", "keine daten"}
# Values that mean none where all others are far above. Source: usual marks of data formats (LAS, 16-bit integers).
MARKS = (-999.0, -999.25, -9999.0, -9999.25, -99999.0, -32768.0, -999999.0)
MARKS_BELOW = -500.0
HUGE = 1e30  # as PI and LabVIEW mark what is none
# What a cell is read as that is too long to be a number.
LONG = "long text"
# Cells that evidence of marks is sought in. Source: own choice; spread over the whole column.
SAMPLE = 4000
# So many numbers with three digits behind the comma, beside one with none, are thousands. Source: of decimals without
# zeros behind one in ten has fewer than three, so that 50 with three each are one case in 200.
THREES = 50
SPACES = "[\u00a0\u202f\u2009\u2007' ’_]"
# Thousands: `101 3` is no number.
GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:" + SPACES + r"\d{3})+(?!\d)")
POINTED = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d{1,3})?"
COMMAED = r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d*)?(?:[eE][+-]?\d{1,3})?"
NUMERAL = re.compile(r"^[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d{1,3})?$")
WITH_UNIT = r"^([+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d{1,3})?)([^\d.,eE+-].{0,15})$"


class Marks(NamedTuple):
    """How often cells can only be read with one decimal mark, and how often with either.

    Attributes:
        plain_far: Whole numbers below a thousand, and far above what stands before the commas of others.
    """

    point: int = 0
    comma: int = 0
    either_comma: int = 0
    either_point: int = 0
    plain_below_thousand: int = 0
    plain_far: int = 0
    plain: int = 0

    @property
    def decimal(self) -> str:
        """Return the decimal mark of a column that shows one; empty where it shows none, or both."""
        if bool(self.point) == bool(self.comma):
            return ""
        return "." if self.point else ","


class Numbers(NamedTuple):
    """A column read as numbers.

    Attributes:
        values: NaN where there is none.
        missing: Cells that are empty or say that there is no value.
        text: Cells that hold something else.
        unit: Of the values, where one stands in the cells themselves.
        marks: Cells that hold a number which means none.
        mixed: What was done where cells are in several units, in words.
    """

    values: Floats
    missing: NDArray[np.bool_]
    text: NDArray[np.bool_]
    unit: str | None
    marks: NDArray[np.bool_]
    mixed: tuple[str, ...] = ()


def cleaned(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return cells without spaces about numbers and between their thousands, and with one kind of minus."""
    text = column.str.strip()
    if text.str.contains(r"^(?:[−–—]|-\s)").any():
        text = text.str.replace(r"^[-−–—]\s*(?=[\d.,])", "-", regex=True)
    if not text.str.contains(r"\d" + SPACES + r"\d").any():
        return text
    return text.str.replace(GROUPED, lambda found: re.sub(SPACES, "", found[0]), regex=True)


def sampled(column: "pd.Series[Any]") -> list[str]:
    """Return cells from all over a column."""
    step = max(1, len(column) // SAMPLE)
    return list(cleaned(column.iloc[::step].astype("str")))


def marks_of(cells: Sequence[str]) -> Marks:
    """Count the evidence for either decimal mark."""
    found: Counter[str] = Counter()
    plain, before = list[int](), [0]
    for cell in cells:
        if len(cell) > NUMERAL_MAX:
            continue
        bare = re.split(r"[^\d.,+-]", cell.strip().lstrip("+-"), maxsplit=1)[0]
        if not NUMERAL.match(bare):
            continue
        shown = _evidence(bare)
        found[shown] += 1
        if bare.isdigit() and int(bare) < 1000:
            plain.append(int(bare))
        if shown == "either_comma":
            before.append(int(bare.partition(",")[0]))
    found["plain_below_thousand"] = len(plain)
    found["plain_far"] = sum(number > 2 * max(before) + 1 for number in plain)
    return Marks(**{name: found[name] for name in Marks._fields})


def _evidence(bare: str) -> str:
    """Return what one number shows: the field of `Marks`."""
    points, commas = bare.count("."), bare.count(",")
    if points and commas:
        return "point" if bare.rfind(".") > bare.rfind(",") else "comma"
    if points > 1 or commas > 1:
        return "comma" if points > 1 else "point"
    if not points and not commas:
        return "plain"
    whole, _, share = bare.replace(",", ".").partition(".")
    sure = len(share) != 3 or whole in ("", "0") or len(whole) > 3 or whole.startswith("0")
    if points:
        return "point" if sure else "either_point"
    return "comma" if sure else "either_comma"


def decimal_of(column: Marks, file: Marks, delimiter: str) -> tuple[str, bool]:
    """Return a column's decimal mark, and whether that is an assumption, as nothing in the file decides it."""
    if column.decimal:
        return column.decimal, False
    if column.point and column.comma:
        return ("." if column.point >= column.comma else ","), False
    if file.point or file.comma:
        return ("." if file.point >= file.comma else ","), False
    if column.either_comma:
        # `998` beside `1,002` is a column of thousands, `1` beside `1,002` need be none: decimals have no zeros behind.
        # Where every cell has three digits behind, they are decimals.
        many = column.plain_below_thousand > 0 and column.either_comma >= THREES
        thousands = column.plain_far > 0 or many or delimiter == ","
        return ("." if thousands else ","), True
    return ".", bool(column.either_point) and delimiter == ";"


def read_numbers(column: "pd.Series[str]", decimal: str, unit: str | None = None, bare: int = 0) -> Numbers:
    """Read a column of text as numbers, with one decimal mark; a cell that can only have the other is read by it.

    Args:
        unit: In the header, canonical; cells that name another are converted to it.
        bare: Numbers without a unit that the column has beside this text.
    """
    text = cleaned(column.where(column.str.len() <= NUMERAL_MAX, LONG))
    missing = text.str.casefold().isin(MISSING).to_numpy(dtype=np.bool_)
    values = _parsed(text, decimal)
    left = ~missing & np.isnan(values)
    if left.any():
        other = _parsed(text[left], "," if decimal == "." else ".", sure=True)
        values[left] = other
    left = ~missing & np.isnan(values)
    mixed: tuple[str, ...] = ()
    if left.any():
        unit, mixed = _read_units(text, left, values, decimal, unit, bare)
    wrong = ~missing & np.isnan(values)
    return Numbers(values, missing, wrong, unit, _without_marks(values), mixed)


def _read_units(
    text: "pd.Series[str]", left: NDArray[np.bool_], values: Floats, decimal: str, unit: str | None, bare: int
) -> tuple[str | None, tuple[str, ...]]:
    """Read numbers that have their unit beside them, in place; return the unit of the column, and what was done."""
    parts = text[left].str.slice(0, NUMERAL_MAX).str.extract(WITH_UNIT)
    words = parts[1].dropna().str.strip()
    names = words.map({word: read_unit(word) for word in words.unique()[:50]}).dropna()
    if not len(names):
        return unit, ()
    counts = Counter(map(str, names))
    plain = ~np.isnan(values)
    alone = bare + int(plain.sum())
    if unit is None and alone > len(names):
        return None, (f"{len(names)} cells have a unit ({next(iter(counts))}), most have none: those are left out",)
    notes = []
    if unit is None:
        unit = counts.most_common(1)[0][0]
        if alone:
            values[plain] = np.nan
            notes.append(f"{alone} cells have no unit, most are in {unit}: those without are left out")
    for other, count in counts.items():
        if quantity_of(other) != quantity_of(unit):
            notes.append(f"{count} cells are in {other}, which is not converted to {unit}: left out")
            continue
        mine = names.index[names == other]
        values[mine] = convert(_parsed(parts.loc[mine, 0], decimal), other, unit)
        notes += [f"{count} cells are in {other}: converted to {unit}"] if other != unit else []
    return unit, tuple(notes)


def _parsed(text: "pd.Series[str]", decimal: str, sure: bool = False) -> Floats:
    """Return numbers with a decimal mark, NaN for what is none.

    Args:
        sure: Only those that can have no other decimal mark.
    """
    group, pattern = ("," if decimal == "." else "."), (POINTED if decimal == "." else COMMAED)
    fits = text.str.fullmatch(pattern, na=False)
    if sure:
        fits &= pd.Series(
            [_evidence(cell.lstrip("+-")) == ("point" if decimal == "." else "comma") for cell in text],
            index=text.index, dtype=bool,
        )  # fmt: skip
    bare = text.where(fits, "").str.replace(group, "", regex=False).str.replace(decimal, ".", regex=False)
    return np.array(pd.to_numeric(bare, errors="coerce"), dtype=np.float64)


def numbers_of(values: Floats) -> Numbers:
    """Return a column that holds numbers already."""
    values = values.astype(np.float64, copy=True)
    values[np.isinf(values)] = np.nan
    missing = np.isnan(values)
    return Numbers(values, missing, np.zeros(len(values), dtype=np.bool_), None, _without_marks(values))


def _without_marks(values: Floats) -> NDArray[np.bool_]:
    """Set numbers that mean none to NaN, in place; return where they stood."""
    marks: NDArray[np.bool_] = np.abs(values) >= HUGE
    held = np.isin(values, MARKS)
    rest = values[~held & ~marks & ~np.isnan(values)]
    if held.any() and len(rest) and rest.min() > MARKS_BELOW:
        marks |= held
    values[marks] = np.nan
    return marks
