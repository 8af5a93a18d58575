"""Tells good readings from bad ones by what historians write beside them."""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Source: OPC DA 3.0, 6.8: the two highest bits of the low byte are 11 for good; OPC UA part 8: 0 is good.
OPC_GOOD, OPC_LEAST = 0xC0, 64
GOOD = re.compile(
    r"^(good|ok\b|valid|true|yes|g$|gut|gültig|gueltig|хорош|норм|достовер|да$|normal|confirmed)", re.IGNORECASE
)
BAD = re.compile(
    r"^(bad|uncertain|questionable|invalid|fail|err|fault|false|no$|comm|stale|timeout|disconnect|substitut|not |b$|u$|"
    r"schlecht|ungült|unguelt|unsicher|fehler|плох|недостовер|сомнит|ошиб|отказ|нет|непол|unreliable|over|under)",
    re.IGNORECASE,
)
PLAIN = re.compile(r"^(good|bad|uncertain|questionable|хорош|плох|недостовер|schlecht)", re.IGNORECASE)
NAMED = re.compile(r"quali|качеств|\bqc?\b|valid|good|достовер|gültig", re.IGNORECASE)
WORDS = re.compile(
    r"quality|qualität|qual|status|state|качество|статус|достоверность|valid|flag|\bqc?\b|\(\d+\)", re.IGNORECASE
)
# Of cells that are not empty, so many must be known words. Source: own choice.
KNOWN = 0.5


def is_quality(header: str, column: "pd.Series[Any]") -> bool:
    """Return whether a column whose header names a quality or a state holds words or numbers of quality."""
    text = words_of(column)
    text = text[text != ""]
    if not len(text):
        return False
    words = [word for word in text.unique()[:1000] if GOOD.match(word) or BAD.match(word)]
    # `OK` beside `High pressure`, and `Normal` beside `Alarm`, say how the machine is, and not the reading.
    sure = NAMED.search(header) or any(BAD.match(word) or PLAIN.match(word) for word in words)
    if text.isin(words).mean() >= KNOWN:
        return bool(sure)
    numbers = pd.to_numeric(text, errors="coerce")
    whole = numbers.notna().all() and (numbers == numbers.round()).all()
    found = set(numbers.dropna().unique()[:1000].tolist())
    return bool(whole) and (
        192 in found or (bool(NAMED.search(header)) and (found <= {0, 1} or max(found) >= OPC_LEAST))
    )


def says_quality(column: "pd.Series[Any]") -> bool:
    """Return whether a column whose header says nothing of it holds the words of a quality."""
    text = words_of(column)
    text = text[text != ""]
    return bool(len(text)) and bool(text.str.match(PLAIN).mean() >= KNOWN)


def floats_in(cells: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Return which cells hold a number of the file's own."""
    if pd.api.types.is_float_dtype(cells):
        return np.ones(len(cells), dtype=np.bool_)
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=np.bool_)
    return np.array([isinstance(cell, float) for cell in cells], dtype=np.bool_)


def words_of(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return cells as text."""
    if cells.dtype == object or pd.api.types.is_float_dtype(cells):
        cells = cells.map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell)).astype("str")
    return cells.str.strip()


def good_readings(header: str, column: "pd.Series[Any]") -> tuple[NDArray[np.bool_], str]:
    """Return which readings are good, and what was assumed of the marks; a reading without a mark is good."""
    text = words_of(column)
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    empty = (text == "").to_numpy(dtype=np.bool_)
    if np.isnan(numbers[~empty]).any():
        well = text.str.match(GOOD).to_numpy(dtype=np.bool_) | empty
        if NAMED.search(header):
            return well, ""
        # Under `Status` a word that is none of a quality says how the machine is.
        other = ~well & ~text.str.match(BAD).to_numpy(dtype=np.bool_) & np.isnan(numbers)
        told = ", ".join(map(repr, text[other].unique()[:5]))
        return well | other, f"{told} are no words of quality: their readings stay" if told else ""
    found = set(numbers[~empty].tolist())
    if max(found, default=0) >= 2**30 and 192 not in found:
        return (numbers == 0) | empty, "numbers of quality are those of OPC UA: 0 is good"
    if max(found, default=0) >= OPC_LEAST:
        whole = np.where(empty, OPC_GOOD, numbers).astype(np.int64)
        return (whole & OPC_GOOD) == OPC_GOOD, "numbers of quality are those of OPC: 192 and above is good"
    if re.search(r"bad|fault|error|invalid|fehler|ошиб|недост", header, re.IGNORECASE):
        return (numbers == 0) | empty, "0 is good"
    sure = re.search(r"good|valid|gültig|достов", header, re.IGNORECASE)
    good = 1.0 if sure or (numbers == 1).sum() >= (numbers == 0).sum() else 0.0
    return (
        numbers == good
    ) | empty, "" if sure else f"of the marks of quality {good:g} is the usual one and read as good"


def base_of(header: str) -> str:
    """Return a header without its words of quality, to find the channel that it belongs to."""
    return "".join(re.findall(r"[^\W_]+", WORDS.sub("", header.replace("_", " ")))).casefold()
