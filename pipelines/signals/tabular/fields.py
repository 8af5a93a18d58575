"""Finds what each column of a file is: moment, machine, tag, value, quality, unit, channel or text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.account import Account
from pipelines.signals.tabular.bounds import NAME_MAX, check_size
from pipelines.signals.tabular.clocks import (
    ENOUGH,
    EPOCHS,
    NEVER,
    Moments,
    read_epoch,
    read_moments,
    zone_minutes,
)
from pipelines.signals.tabular.headings import Heading, read_heading, role_of
from pipelines.signals.tabular.layout import Body, Grid
from pipelines.signals.tabular.numerals import MISSING, Numbers
from pipelines.signals.tabular.validity import floats_in, says_quality, words_of
from pipelines.signals.tabular.zones import joined, past_midnight
from pipelines.signals.units import read_unit

# Share of a column's cells, empty ones aside, that are numbers in a column of numbers. Source: own choice.
NUMERIC = 0.5
# Tags or machines of one file at most. Source: own choice; a column with more names is one of remarks.
NAMES_MAX = 1000
AMERICAN = {"psi", "degF", "gpm", "in/s", "ksi", "hp", "inH2O", "lbf-ft", "ft3/min", "g peak"}
# A part of the machine: 0 and 1 under it, one row a moment, say whether it is well, and not which of two it is.
PART = re.compile(r"pumpe?|насос", re.IGNORECASE)
COUNTER = re.compile(r"column 1|unnamed.*|no\.?|nr\.?|n|№|#|index|row|id|record|п/п|№ п/п|lfd\.? ?nr\.?", re.IGNORECASE)
SUMMARY = re.compile(
    r"^\W*(average|avg|mean|min\b|max\b|minimum|maximum|sum\b|total|std|stdev|count|median|end of|"
    r"средн|итог|мин\b|макс|сумм|всего|mittel|summe|durchschnitt|gesamt|anzahl|конец|ende\b)",
    re.IGNORECASE,
)


@dataclass(slots=True, eq=False)
class Field:
    """One column on its way to a role.

    Attributes:
        named: Role that the header names.
        block: Rows that the column is of, where columns have moments of their own; -1 for all.
    """

    header: str
    heading: Heading
    named: str | None
    cells: "pd.Series[Any]"
    role: str = ""
    numbers: Numbers | None = None
    unit: str | None = None
    decimal: str = ""
    block: int = -1

    @property
    def words(self) -> "pd.Series[Any]":
        """The cells as text."""
        return words_of(self.cells)


def fields_of(grid: Grid, body: Body) -> list[Field]:
    """Return the columns of the data."""
    found = []
    for place, (header, column) in enumerate(zip(body.headers, grid.columns, strict=True)):
        heading = read_heading(header)
        unit = read_unit(body.units[place]) if body.units else None
        if unit:
            heading = read_heading(f"{header} [{body.units[place].strip('[]()')}]")._replace(text=header)
        elif body.units and body.units[place].strip() and not heading.unit and body.units[place] not in MISSING:
            heading = heading._replace(unknown=body.units[place].strip(" []()"))
        cells = column.iloc[body.first :].reset_index(drop=True)
        found.append(Field(header, heading, role_of(header), cells, unit=heading.unit))
    return found


def without_noise(fields: list[Field], body: Body, account: Account) -> tuple[list[Field], NDArray[np.int64]]:
    """Leave out rows without content, headers that are repeated, and columns without cells; return the rows that stay.

    Raises:
        InvalidInput: Most rows have more cells than the header.
    """
    filled = np.stack([_filled(field.cells) for field in fields])
    rows = np.arange(filled.shape[1], dtype=np.int64) + body.first
    empty = ~filled.any(axis=0)
    account.leave("rows", (rows[empty] + 1).tolist(), "empty")
    again = np.zeros_like(empty)
    if body.header_row is not None:
        first = fields[0].header.rpartition(" | ")[2]
        again = (fields[0].words == first).to_numpy(dtype=np.bool_) & ~empty
        if len(fields) > 1:
            again &= (fields[1].words == fields[1].header.rpartition(" | ")[2]).to_numpy(dtype=np.bool_)
        account.leave("rows", (rows[again] + 1).tolist(), "the header again")
    wide = _too_wide(fields, filled & ~(empty | again), body, rows, account)
    keep = ~(empty | again | wide)
    kept = [field for field, cells in zip(fields, filled, strict=True) if cells[keep].any()]
    if gone := [field.header for field in fields if field not in kept]:
        account.note(f"columns without cells: {', '.join(map(repr, gone[:20]))}")
    for field in kept:
        field.cells = field.cells[keep].reset_index(drop=True)
    return kept, rows[keep]


def _filled(cells: "pd.Series[Any]") -> NDArray[np.bool_]:
    if pd.api.types.is_float_dtype(cells):
        return cells.notna().to_numpy(dtype=np.bool_)
    return floats_in(cells) | (words_of(cells) != "").to_numpy(dtype=np.bool_)


def _too_wide(
    fields: Sequence[Field], filled: NDArray[np.bool_], body: Body, rows: NDArray[np.int64], account: Account
) -> NDArray[np.bool_]:
    """Return the rows with more cells than the header has names."""
    none = np.zeros(filled.shape[1], dtype=np.bool_)
    if body.header_row is None:
        return none
    named = [place for place, field in enumerate(fields) if not re.fullmatch(r"column \d+", field.header)]
    beyond = filled[max(named, default=0) + 1 :]
    if not len(beyond):
        return none
    wide = np.asarray(beyond.any(axis=0), dtype=np.bool_)
    if wide.mean() > NUMERIC:
        rule = f"must have a name for each column: the header has {max(named) + 1}, most rows have more cells"
        raise InvalidInput(
            "file", fields[-1].header, rule + "; numbers with decimal commas need quotes, or `;` between"
        )
    account.leave("rows", (rows[wide] + 1).tolist(), "more cells than the header")
    return wide


# --- time


def find_time(fields: list[Field], zone: str | None) -> tuple[Moments | None, list[Field], str | None]:
    """Return the moments of the rows, the columns that hold them, and their zone where a header names one.

    Raises:
        InvalidInput: Most moments name a zone that is not known.
    """
    found = moments_of(fields)
    if any(each.kind == "date" for each in found.values()):
        found |= _day_shares(fields)
    chosen = _chosen(fields, found)
    if not chosen:
        return None, [], zone
    columns = [fields[place] for place in chosen]
    moments = joined(found[chosen[0]], found[chosen[1]]) if len(chosen) == 2 else found[chosen[0]]
    if moments.unknown and moments.kind == "moment":
        raise InvalidInput(
            f"zone in {columns[-1].header!r}", moments.unknown, "must be a zone that is known, as +05:30 or UTC+05:30"
        )
    if moments.kind == "clock":
        moments = past_midnight(moments)
    for field in columns:
        field.role = "time"
    return moments, columns, next((named for field in columns if (named := header_zone(field.header))), zone)


def _day_shares(fields: Sequence[Field]) -> dict[int, Moments]:
    """Return columns of clocks that a spreadsheet holds as shares of a day, by place."""
    found = {}
    for place, field in enumerate(fields):
        if field.named == "time" and floats_in(field.cells).mean() >= ENOUGH:
            values = pd.to_numeric(field.cells, errors="coerce").to_numpy(dtype=np.float64)
            right = (values >= 0) & (values < 1)
            if right.mean() >= ENOUGH:
                seconds = np.round(np.where(right, values, 0) * 86_400, 3)
                nanos = np.where(right, (seconds * 1e9).astype(np.int64), NEVER)
                found[place] = Moments(nanos, "clock", "shares of a day")
    return found


def moments_of(fields: Sequence[Field]) -> dict[int, Moments]:
    """Return what each column would be as time, by place, for those that hold moments."""
    us = any(field.unit in AMERICAN for field in fields)
    read = {place: _moments(field, us) for place, field in enumerate(fields)}
    return {place: moments for place, moments in read.items() if moments is not None and moments.share >= ENOUGH}


def stacked(
    fields: list[Field], rows: NDArray[np.int64], cells: int
) -> tuple[list[Field], NDArray[np.int64], NDArray[np.int64]]:
    """Set columns with moments of their own one below the other; return also each row's number, and its block.

    That is how spreadsheets fetch tags from a historian: a column of moments before those of each tag.

    Raises:
        InvalidInput: That would be more than so many cells.
    """
    places = _own_moments(fields)
    if not places:
        return fields, rows, np.zeros(len(rows), dtype=np.int64)
    spans = list(zip(places, [*places[1:], len(fields)], strict=True))
    held = [np.logical_or.reduce([_filled(field.cells) for field in fields[first:end]]) for first, end in spans]
    check_size(sum(int(keep.sum()) for keep in held), len(fields), fields[0].header, cells)
    found = []
    for number, (first, end) in enumerate(spans):
        for field in fields[first + 1 : end]:
            parts = [
                field.cells[keep].astype(object) if other == number else pd.Series([""] * int(keep.sum()), dtype=object)
                for other, keep in enumerate(held)
            ]
            found.append(replace(field, cells=pd.concat(parts, ignore_index=True), block=number))
    times = [fields[place].cells[keep].astype(object) for place, keep in zip(places, held, strict=True)]
    blocks = np.repeat(np.arange(len(spans)), [int(keep.sum()) for keep in held])
    head = replace(fields[0], cells=pd.concat(times, ignore_index=True))
    return [head, *found], np.concatenate([rows[keep] for keep in held]), blocks


def _own_moments(fields: Sequence[Field]) -> list[int]:
    """Return the places of the columns of moments, each of which is followed by columns of its own; else nothing."""
    named = [place for place, field in enumerate(fields) if field.named == "time"]
    if len(named) < 2 or named[0] != 0 or min(np.diff([*named, len(fields)])) < 2:
        return []
    shorter = [replace(fields[place], cells=fields[place].cells[_filled(fields[place].cells)]) for place in named]
    if any(each.kind != "moment" for each in moments_of(shorter).values()) or len(moments_of(shorter)) < len(named):
        return []
    return [] if all((fields[place].words == fields[0].words).all() for place in named[1:]) else named


def _moments(field: Field, us: bool) -> Moments | None:
    if pd.api.types.is_float_dtype(field.cells):
        return read_epoch(field.cells.to_numpy(dtype=np.float64), field.unit, field.named == "time")
    floats = floats_in(field.cells)
    if floats.mean() > ENOUGH:
        values = pd.to_numeric(field.cells.where(floats), errors="coerce").to_numpy(dtype=np.float64)
        return read_epoch(values, field.unit, field.named == "time")
    text = field.cells.astype(str)
    if (found := read_moments(text, us)) is not None:
        return found
    if field.named != "time" and not text.iloc[:20].str.fullmatch(r"\s*\d{10,19}([.,]\d+)?\s*").all():
        return None
    return _epoch_text(text, field)


def _epoch_text(text: "pd.Series[Any]", field: Field) -> Moments | None:
    bare = text.str.strip().str.replace(",", ".", regex=False)
    whole = pd.to_numeric(bare, errors="coerce")
    digits = bare.str.fullmatch(r"\d{16,19}")
    if digits.mean() > ENOUGH:  # more digits than a float holds
        exact = bare.where(digits, "0").astype(np.int64).to_numpy(dtype=np.int64)
        if (found := read_epoch(np.where(digits, exact.astype(np.float64), np.nan), None, True)) is not None:
            nanos, zero = next((nanos, zero) for name, _, _, nanos, zero in EPOCHS if name == found.text)
            return replace(found, nanos=np.where(digits, (exact - zero) * nanos, NEVER))
    return read_epoch(whole.to_numpy(dtype=np.float64), field.unit, field.named == "time")


def _chosen(fields: Sequence[Field], found: dict[int, Moments]) -> list[int]:
    """Return the column of the time, or those of date and clock."""
    named = {place for place in found if fields[place].named == "time"}
    for places in (named, set(found)):
        kinds = {
            kind: [n for n in sorted(places) if found[n].kind == kind]
            for kind in ("moment", "date", "clock", "elapsed")
        }
        if kinds["moment"]:
            utc = [n for n in kinds["moment"] if header_zone(fields[n].header) or found[n].zoned]
            return (utc or kinds["moment"])[:1]
        if kinds["date"] and kinds["clock"]:
            return [kinds["date"][0], kinds["clock"][0]]
        if kinds["elapsed"] or kinds["clock"]:
            other = [n for n in sorted(found) if found[n].kind == "date"]
            if kinds["clock"] and other:
                return [other[0], kinds["clock"][0]]
            if places is named or kinds["clock"]:
                return (kinds["clock"] or kinds["elapsed"])[:1]
        if kinds["date"] and places is named:
            return kinds["date"][:1]
    return []


def header_zone(header: str) -> str | None:
    """Return the zone that a header names, as `Time (UTC+3)`."""
    if match := re.search(r"\b(?:UTC|GMT)\s?[+-]\s?\d{1,2}(?::?\d{2})?", header, re.IGNORECASE):
        return match.group().replace(" ", "")
    if match := re.search(r"\b[A-Z][a-z]+/[A-Z][A-Za-z_]+\b", header):
        return match.group() if match.group() not in ("Date/Time", "Datum/Uhrzeit", "Datum/Zeit") else None
    words = re.findall(r"[^\W\d_]{3,4}", header)
    return next((word for word in words if word.casefold() != "west" and zone_minutes(word) is not None), None)


# --- everything else


def name_rest(fields: Sequence[Field], moments: Moments | None) -> None:
    """Give the columns that are left their roles."""
    texts = [field for field in fields if not field.role and field.numbers is None]
    numeric = [field for field in fields if not field.role and field.numbers is not None]
    for field in texts:
        names = _names(field)
        field.role = "text"
        if not field.named and says_quality(field.cells) and not field.heading.quantity:
            field.role = "quality"
        elif field.named == "unit" and names and sum(read_unit(name) is not None for name in names) >= len(names) / 2:
            field.role = "unit"
        elif field.named == "machine" and names:
            field.role = "machine"
    values = [field for field in numeric if field.named == "value"] or numeric
    tag = next((field for field in texts if field.role == "text" and _is_tag(field, values)), None)
    if tag is not None and len(values) == 1 and not values[0].heading.quantity:
        tag.role, values[0].role = "tag", "value"
    for field in numeric:
        if _is_counter(field):
            field.role = "counter"
        field.role = field.role or ("machine" if _is_machine(field, moments, numeric) else "channel")
    if not any(field.role == "machine" for field in fields):
        _find_machine(fields, moments)


def _names(field: Field) -> list[str]:
    """Return the names in a column; nothing where they are too many, or too long for names."""
    found = [str(name) for name in field.words.unique() if str(name)]
    return found if len(found) <= NAMES_MAX and max(map(len, found), default=0) <= NAME_MAX else []


def _is_tag(field: Field, values: Sequence[Field]) -> bool:
    names = _names(field)
    if not names or not values or field.named == "quality":
        return False
    headings = [read_heading(name) for name in names]
    known = sum(bool(heading.quantity or heading.guess or heading.unit) for heading in headings)
    return 2 * known >= len(names) if field.named != "tag" else len(values) == 1


def _is_machine(field: Field, moments: Moments | None, numeric: Sequence[Field]) -> bool:
    """Return whether a column of numbers numbers machines: whole and few, under a header that says so."""
    if field.named != "machine" or field.heading.quantity or field.numbers is None or len(numeric) < 2:
        return False
    values = field.numbers.values
    once = moments is not None and len(np.unique(moments.nanos)) == len(values)
    if once and PART.fullmatch(field.header.strip()) and set(np.unique(values).tolist()) <= {0, 1}:
        return False
    return (
        not np.isnan(values).any() and bool((values == np.round(values)).all()) and len(np.unique(values)) <= NAMES_MAX
    )


def _is_counter(field: Field) -> bool:
    """Return whether a column numbers the rows of the file."""
    if field.role or field.numbers is None or not COUNTER.fullmatch(field.header) or len(field.cells) < 2:
        return False
    return bool((np.diff(field.numbers.values) == 1).all())


def _find_machine(fields: Sequence[Field], moments: Moments | None) -> None:
    """Take a column of words as the machine where it tells rows of one moment apart."""
    if moments is None:
        return
    keys = pd.DataFrame({"nanos": moments.nanos})
    for tag in (field for field in fields if field.role == "tag"):
        keys["tag"] = tag.words.to_numpy()
    doubled = keys.duplicated(keep=False).mean()
    for field in fields:
        if field.role != "text" or doubled <= NUMERIC or len(_names(field)) < 2:
            continue
        if keys.assign(name=field.words.to_numpy()).duplicated(keep=False).mean() < doubled / 2:
            field.role = "machine"
            return
