"""Reads the cells of columns that hold numbers: which decimal mark they have, and which unit stands beside them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipelines.signals.tabular.account import Account
from pipelines.signals.tabular.fields import NUMERIC, Field
from pipelines.signals.tabular.numerals import Marks, Numbers, decimal_of, marks_of, numbers_of, read_numbers, sampled
from pipelines.signals.tabular.validity import floats_in, is_quality

# Share of a column's cells that are numbers in a column of values, where tags of states have words. Source: own choice.
FEW = 0.1


def read_columns(fields: Sequence[Field], delimiter: str, account: Account) -> str:
    """Read the cells of the columns that hold numbers; return the decimal mark of most of them."""
    open_ = [field for field in fields if not field.role]
    evidence = {field.header: _marks(field) for field in open_}
    whole = Marks(*(sum(counts) for counts in zip(*evidence.values(), strict=True))) if evidence else Marks()
    assumed: dict[str, list[str]] = {}
    for field in open_:
        if field.named == "quality" and is_quality(field.header, field.cells):
            field.role = "quality"
            continue
        field.decimal, unsure = decimal_of(evidence[field.header], whole, delimiter)
        numbers = _numbers(field, field.decimal)
        filled = ~numbers.missing
        enough = max(1, (FEW if field.named == "value" else NUMERIC) * filled.sum())
        if (~np.isnan(numbers.values) | numbers.marks)[filled].sum() >= enough or not filled.any():
            field.numbers = numbers
            field.unit = field.unit or numbers.unit
            for note in numbers.mixed:
                account.note(f"{field.header!r}: {note}")
            if unsure:
                assumed.setdefault(field.decimal, []).append(field.header)
    for mark, headers in assumed.items():
        account.note(
            f"{mark!r} is taken as decimal mark of {', '.join(map(repr, headers))}: nothing in the file decides it"
        )
    used = [field.decimal for field in open_ if field.numbers is not None and _is_text(field)]
    return max(set(used), key=used.count) if used else ""


def _marks(field: Field) -> Marks:
    """Return the evidence of a column's texts; numbers of a workbook have no mark."""
    return marks_of(sampled(field.cells[~floats_in(field.cells)]))


def _is_text(field: Field) -> bool:
    return not pd.api.types.is_float_dtype(field.cells)


def _numbers(field: Field, decimal: str) -> Numbers:
    if pd.api.types.is_float_dtype(field.cells):
        return numbers_of(field.cells.to_numpy(dtype=np.float64))
    floats = floats_in(field.cells)
    if not floats.any():
        return read_numbers(field.cells.astype("str"), decimal, field.unit)
    bare = int(floats.sum())
    text = read_numbers(field.cells.where(~floats, "").astype("str"), decimal, field.unit, bare)
    own = numbers_of(pd.to_numeric(field.cells.where(floats), errors="coerce").to_numpy(dtype=np.float64))
    # Numbers without a unit, where most cells have one and the header none.
    unsaid = floats & (field.unit is None and text.unit is not None)
    values = np.where(unsaid, np.nan, np.where(floats, own.values, text.values))
    missing = np.where(floats, own.missing, text.missing)
    marks = np.where(floats, own.marks, text.marks)
    return Numbers(values, missing, (text.text & ~floats) | (unsaid & ~missing), text.unit, marks, text.mixed)
