"""Brings readings to one moment a row: long layouts are turned, duplicates merged, slower tags held for a while."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.account import Account
from pipelines.signals.windows import Floats

# The last value of a slower tag is held for so many of its own intervals. Source: own choice; two samples may be lost
# before a tag counts as silent.
HOLD = 3
# A column with fewer than one value for so many of the densest one's is slower, and not one with gaps.
SLOWER = 1.5
# Share of a column's values that must stand at moments of the densest one, or its clock is another. Source: own choice.
TOGETHER = 0.5
# A step so many times the usual one is a gap. Source: own choice; some lost samples are none.
GAP = 5
# Channels of all machines together. Source: own choice; each takes some 50 us whatever it holds.
SERIES_MAX = 20_000


class Merged(NamedTuple):
    """Readings with one row a moment and machine, in the order of time.

    Attributes:
        rows: Row of the source that each was made from last.
    """

    machines: NDArray[np.object_]
    nanos: NDArray[np.int64]
    values: dict[str, Floats]
    rows: NDArray[np.int64]


def merge(frame: pd.DataFrame, names: list[str], account: Account) -> Merged:
    """Merge a wide table.

    Args:
        frame: Columns `machine`, `nanos`, `row`, `block`, and those of `names`, in the file's order.

    Raises:
        InvalidInput: It has too many channels of too many machines.
    """
    if (series := frame["machine"].nunique() * len(names)) > SERIES_MAX:
        raise InvalidInput("file", series, f"must hold at most {SERIES_MAX} channels of all machines together")
    _disorder(frame, account)
    keys = ["machine", "nanos"]
    doubled = frame.duplicated(keys, keep=False)
    if doubled.any():
        # What columns with moments of their own have at one moment are no duplicates.
        own = [*keys, "block"]
        identical = frame.duplicated([*own, *names], keep="first")
        again = frame.duplicated(own, keep="first")
        account.leave("rows", _lines(frame, identical), "the same moment again with the same values: merged")
        account.leave(
            "rows", _lines(frame, again & ~identical), "the same moment again with other values: the last one counts"
        )
    merged = (
        frame.groupby(keys, sort=True, as_index=False).last()
        if doubled.any()
        else frame.sort_values(keys, kind="stable")
    )
    aligned = [_aligned(part, names, account) for _, part in merged.groupby("machine", sort=True)]
    whole = pd.concat(aligned, ignore_index=True) if len(aligned) > 1 else aligned[0]
    values = {name: whole[name].to_numpy(dtype=np.float64) for name in names}
    return Merged(
        whole["machine"].to_numpy(dtype=object),
        whole["nanos"].to_numpy(np.int64),
        values,
        whole["row"].to_numpy(np.int64),
    )


def turn(frame: pd.DataFrame, account: Account) -> tuple[pd.DataFrame, list[str]]:
    """Turn a long table: columns `machine`, `nanos`, `row`, `tag` and `value` become one column a tag."""
    keys = ["machine", "nanos", "tag"]
    identical = frame.duplicated([*keys, "value"], keep="first")
    again = frame.duplicated(keys, keep="first")
    account.leave("rows", _lines(frame, identical), "the same tag and moment again with the same value: merged")
    account.leave(
        "rows",
        _lines(frame, again & ~identical),
        "the same tag and moment again with another value: the last one counts",
    )
    _disorder(frame, account)
    single = frame.drop_duplicates(keys, keep="last")
    tags = list(dict.fromkeys(single["tag"]))
    wide = single.pivot(index=["machine", "nanos"], columns="tag", values="value")[tags]
    wide["block"] = 0
    wide["row"] = single.groupby(["machine", "nanos"])["row"].max()
    return wide.reset_index(), tags


def _lines(frame: pd.DataFrame, mask: "pd.Series[bool]") -> list[int]:
    return [int(row) for row in frame.loc[mask, "row"] + 1]


def _disorder(frame: pd.DataFrame, account: Account) -> None:
    """Note rows that stand after a later moment of their machine."""
    back = frame.groupby(["machine", "block"] if "block" in frame else "machine")["nanos"].diff() < 0
    if back.any():
        first = int(frame.loc[back, "row"].iloc[0]) + 1
        account.note(f"{int(back.sum())} rows stand after a later moment: sorted (first: line {first})")


def _aligned(part: pd.DataFrame, names: list[str], account: Account) -> pd.DataFrame:
    """Bring the columns of one machine to the moments of the densest one."""
    counts = {name: int(part[name].notna().sum()) for name in names}
    densest = max(counts, key=lambda name: counts[name], default="")
    if not densest or not counts[densest]:
        return part
    moments = part["nanos"].to_numpy(np.int64)
    grid = part[densest].notna().to_numpy(np.bool_)
    usual = _interval(moments[grid])
    limits: dict[str, float] = {}
    for name in names:
        mine = part[name].notna().to_numpy(np.bool_)
        if name == densest or not mine.any():
            continue
        interval = _interval(moments[mine])
        slower = interval > 0 and interval >= SLOWER * usual
        if slower or grid[mine].mean() < TOGETHER:
            limits[name] = HOLD * max(interval, usual)
            every = f"every {interval / 1e9:g} s" if slower else "at moments of its own"
            account.note(f"{name!r} comes {every}: its last value is held, at most {limits[name] / 1e9:g} s")
    if not limits:
        return part
    keep = grid | part[[name for name in names if name not in limits]].notna().any(axis=1).to_numpy(np.bool_)
    found = part.loc[keep].reset_index(drop=True)
    for name, limit in limits.items():
        found[name] = _held(moments, part[name].to_numpy(np.float64), moments[keep], limit)
    return found


def _interval(moments: NDArray[np.int64]) -> float:
    """Return the usual step, in nanoseconds."""
    return float(np.median(np.diff(moments))) if len(moments) > 1 else 0.0


def _held(moments: NDArray[np.int64], values: Floats, at: NDArray[np.int64], limit: float) -> Floats:
    """Return at each moment the last value before it that is no older than a limit."""
    known = np.flatnonzero(~np.isnan(values))
    places = np.searchsorted(moments[known], at, side="right") - 1
    found = np.where(places >= 0, values[known[np.maximum(places, 0)]], np.nan)
    found[at - moments[known[np.maximum(places, 0)]] > limit] = np.nan
    return found


def gaps(merged: Merged) -> tuple[float, int, float]:
    """Return the usual step in seconds, the number of gaps, and the longest in seconds."""
    steps = np.diff(merged.nanos)
    steps = steps[merged.machines[1:] == merged.machines[:-1]]
    steps = steps[steps > 0]
    if not len(steps):
        return 0.0, 0, 0.0
    usual = float(np.median(steps))
    long = steps[steps > GAP * usual]
    return usual / 1e9, len(long), float(long.max()) / 1e9 if len(long) else 0.0
