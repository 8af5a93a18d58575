"""Leaves out of a file, each with its reason, rows without a moment and cells without a good value."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.signals.tabular.account import Account, LeftCells
from pipelines.signals.tabular.clocks import NEVER, Moments
from pipelines.signals.tabular.fields import SUMMARY, Field
from pipelines.signals.tabular.headings import Heading
from pipelines.signals.tabular.numerals import Numbers
from pipelines.signals.tabular.tags import parts_of
from pipelines.signals.tabular.validity import base_of, good_readings
from pipelines.signals.tabular.zones import in_zone

# Marks of quality that are told one by one. Source: own choice; OPC has some twenty.
WORDS_TOLD = 30


@dataclass(slots=True, eq=False)
class Reading:
    """A file while it is read.

    Attributes:
        blocks: Of each row, where columns have moments of their own; else 0.
    """

    fields: list[Field]
    rows: NDArray[np.int64]
    blocks: NDArray[np.int64]
    moments: Moments | None
    account: Account
    headings: dict[str, Heading] = field(default_factory=dict)

    def only(self, keep: NDArray[np.bool_]) -> None:
        """Keep some rows."""
        self.rows = self.rows[keep]
        if self.moments is not None:
            own = self.moments.own
            self.moments = replace(self.moments, nanos=self.moments.nanos[keep], own=None if own is None else own[keep])
        self.blocks = self.blocks[keep]
        for each in self.fields:
            each.cells = each.cells[keep].reset_index(drop=True)
            if each.numbers is not None:
                n = each.numbers
                each.numbers = Numbers(n.values[keep], n.missing[keep], n.text[keep], n.unit, n.marks[keep])

    def machine_words(self) -> "pd.Series[str] | None":
        """Return the machine of each row; None where no column names it."""
        columns = self.with_role("machine")
        if not columns:
            return None
        names = columns[0].words
        for other in columns[1:]:
            names = names + " " + other.words
        return names

    def with_role(self, role: str) -> list[Field]:
        """Return the columns of a role."""
        return [each for each in self.fields if each.role == role]


def leave_timeless(reading: Reading, columns: Sequence[Field]) -> None:
    """Leave out rows whose moment cannot be read: summaries below the data, remarks, broken lines."""
    assert reading.moments is not None  # noqa: S101
    gone = reading.moments.nanos == NEVER
    if gone.any():
        first = reading.fields[0].words
        summary = gone & (first.str.match(SUMMARY) | columns[0].words.str.match(SUMMARY)).to_numpy(dtype=np.bool_)
        lines = reading.rows + 1
        for mask, reason in ((summary, "a summary and no reading"), (gone & ~summary, "no moment that can be read")):
            if mask.any():
                shown = " ".join(f.words.iloc[int(np.flatnonzero(mask)[0])] for f in reading.fields[:4]).strip()
                reading.account.leave("rows", lines[mask].tolist(), reason, shown)
    reading.only(~gone)


def put_in_zone(reading: Reading, zone: str | None) -> None:
    """Bring the moments to UTC, and tell what was assumed."""
    assert reading.moments is not None  # noqa: S101
    moments, notes = in_zone(reading.moments, zone)
    for note in [moments.assumed, *notes]:
        if note:
            reading.account.note(note)
    reading.moments = moments


def leave_bad(reading: Reading) -> None:
    """Leave out cells without a value, and readings that are marked as not good."""
    held = [each for each in reading.fields if each.role in ("channel", "value")]
    qualities = reading.with_role("quality")
    told = {each.header: np.zeros(len(reading.rows), dtype=np.bool_) for each in held}
    for quality in qualities:
        good, assumed = good_readings(quality.header, quality.cells)
        if assumed:
            reading.account.note(f"{quality.header!r}: {assumed}")
        for each in _judged_by(quality, qualities, held, reading.fields):
            if each.numbers is not None:
                _leave_marked(reading, each, each.numbers, ~good & ~told[each.header], quality.words)
                told[each.header] |= ~good
    for each in held:
        if each.numbers is not None:
            _leave_missing(reading, each, each.numbers, told[each.header])


def _leave_marked(
    reading: Reading, each: Field, numbers: Numbers, bad: NDArray[np.bool_], words: "pd.Series[str]"
) -> None:
    """Leave out the readings of one column that are not good."""
    lines, left = reading.rows + 1, bad.copy()
    for word in words[bad].unique()[:WORDS_TOLD]:
        mine = bad & (words == word).to_numpy(dtype=np.bool_)
        left &= ~mine
        reading.account.leave(f"cells of {each.header!r}", lines[mine].tolist(), f"quality {word[:20]!r}")
        _keep(reading, each, mine & ~numbers.missing, f"quality {word[:20]!r}")
    reading.account.leave(f"cells of {each.header!r}", lines[left].tolist(), "of another quality than good")
    _keep(reading, each, left & ~numbers.missing, "of another quality than good")
    numbers.values[bad] = np.nan


def _leave_missing(reading: Reading, each: Field, numbers: Numbers, told: NDArray[np.bool_]) -> None:
    """Tell the cells of one column that hold no number."""
    if not (numbers.missing | numbers.text | numbers.marks).any():
        return
    words, lines = each.words, reading.rows + 1
    empty = words.isin(["", "nan"]).to_numpy(dtype=np.bool_) & numbers.missing
    others = (reading.blocks != each.block) if each.block >= 0 else np.zeros_like(empty)
    for mask, reason in (
        (empty & ~others, "empty"),
        (numbers.missing & ~empty, "say that there is no value"),
        (numbers.text, "are no numbers"),
        (numbers.marks, "a number that marks what is missing"),
    ):
        mine = mask & ~told
        if mask is numbers.text or mask is numbers.marks:
            _keep(reading, each, mine, reason)
        for word in words[mine].unique()[:5] if reason == "are no numbers" else ():
            some = mine & (words == word).to_numpy(dtype=np.bool_)
            reading.account.leave(f"cells of {each.header!r}", lines[some].tolist(), reason, word)
            mine &= ~some
        shown = words[mine].iloc[0] if mine.any() else ""
        reading.account.leave(f"cells of {each.header!r}", lines[mine].tolist(), reason, shown)


def _keep(reading: Reading, each: Field, mask: NDArray[np.bool_], reason: str) -> None:
    """Keep cells that are left out as they stand, where their moment is known."""
    if reading.moments is None or not mask.any():
        return
    tags = reading.with_role("tag") if each.role == "value" else []
    headers = tags[0].words[mask].to_numpy(object) if tags else np.full(int(mask.sum()), each.header, dtype=object)
    names = reading.machine_words()
    # A path in front of a channel's name may be its machine.
    paths = {header: parts_of(header)[0] for header in set(headers)} if names is None else {}
    owners = [paths[header] for header in headers] if names is None else names[mask]
    machines, words = np.array(owners, dtype=object), each.words[mask].to_numpy(object)
    reading.account.cells.append(LeftCells(headers, machines, reading.moments.nanos[mask], words, reason))


def _judged_by(
    quality: Field, qualities: Sequence[Field], channels: Sequence[Field], fields: Sequence[Field]
) -> Sequence[Field]:
    """Return the channels whose quality a column tells: that of its name, the one before it, or all."""
    base = base_of(quality.header)
    if base:
        mine = [
            each for each in channels if base_of(each.header).startswith(base) or base.startswith(base_of(each.header))
        ]
        if mine:
            return mine
    if len(qualities) == 1:
        return channels
    before = fields[: fields.index(quality)]
    return [each for each in reversed(before) if each in channels][:1]
