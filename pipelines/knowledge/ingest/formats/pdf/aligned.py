"""Tables without lines: whether columns of text are one, and which lines make its rows."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pipelines.knowledge.ingest.formats.blocks import joined, spaced
from pipelines.knowledge.ingest.formats.grid import NUMBER, UNIT, Cell
from pipelines.knowledge.ingest.formats.pdf.glyphs import Span

# Source: own choices, held by the manuals that the tests make.
LEVEL = 0.35  # of the size of the type: base lines this near are one
ALIGNED = 0.7  # share of the lines of the shorter column that are level with lines of the other
PROSE_WORDS = 4  # in a line
PROSE_WIDTH = 0.7  # of its column that a line of prose fills
PROSE_LINES = 0.6  # share of lines that are so
ROW_GAP = 1.3  # of the usual distance of lines
ROW_LINES = 4  # of text in a row, on average
RULED_ROWS = 3  # lines between rows; fewer only set off the header and the end
RUNNING = 0.3  # share of a column's lines that go on from the line above, for it to be prose


@dataclass(slots=True)
class Columns:
    """One column of spans. Units: points."""

    x0: float
    x1: float
    spans: list[Span] = field(default_factory=list)


def is_table(columns: Sequence[Columns]) -> bool:
    """Tell whether columns are those of a table, and not of running text."""
    if len(columns) < 2:
        return False
    for column in columns:
        column.spans.sort(key=_base)
    prose = [column for column in columns if _is_prose(column)]
    key = columns[0]
    shorter = min(columns[1:], key=lambda column: len(column.spans))
    few, many = sorted((key, shorter), key=lambda column: len(column.spans))
    level = sum(_level(span, many.spans) is not None for span in few.spans)
    if level < ALIGNED * len(few.spans):
        return False
    if len(prose) > 1 or (prose and key in prose):
        return _in_groups(columns)
    return not any(_runs(column, key) for column in prose)


def _is_prose(column: Columns) -> bool:
    width = column.x1 - column.x0
    full = [len(span.text.split()) >= PROSE_WORDS and span.x1 - span.x0 >= PROSE_WIDTH * width for span in column.spans]
    return len(full) > 2 and sum(full) >= PROSE_LINES * len(full)


def _level(span: Span, others: Sequence[Span]) -> Span | None:
    """Return the first of others, in order of their base lines, that is level with a span."""
    return next(iter(_all_level(span.base, span.size, others)), None)


def _all_level(base: float, size: float, others: Sequence[Span]) -> Sequence[Span]:
    first = bisect_left(others, base - LEVEL * size, key=_base)
    return others[first : bisect_right(others, base + LEVEL * size, key=_base)]


def _base(span: Span) -> float:
    return span.base


def _runs(column: Columns, key: Columns) -> bool:
    """Tell whether the lines beside labels go on from the lines above, as those of a table do not."""
    beside = [span for span in column.spans if _level(span, key.spans)]
    running = sum(span.text[0].islower() for span in beside[1:])
    return running > RUNNING * max(1, len(beside) - 1)


def row_gaps(columns: Sequence[Columns]) -> list[float]:
    """Return the heights at which wide gaps part all columns into rows; none where single lines are rows."""
    bases = _bases(columns)
    pitches = [below[0] - base[0] for base, below in pairwise(bases)]
    if not pitches:
        return []
    gaps = [(base[0] + below[0]) / 2 for base, below in pairwise(bases) if below[0] - base[0] > ROW_GAP * min(pitches)]
    starts = _starts(columns[0].spans, min(pitches))
    level = sum(all(_level(start, column.spans) for column in columns[1:]) for start in starts)
    wrapped = len(bases) > len(gaps) + 1
    return gaps if len(gaps) > 1 and wrapped and level >= ALIGNED * len(starts) > 2 * ALIGNED else []


def _in_groups(columns: Sequence[Columns]) -> bool:
    """Tell whether wide gaps part all columns at the same heights, each time after few lines."""
    gaps = row_gaps(columns)
    spans = sum(len(column.spans) for column in columns)
    return bool(gaps) and spans <= ROW_LINES * len(columns) * (len(gaps) + 1)


def _starts(spans: Sequence[Span], pitch: float) -> list[Span]:
    """Return the lines of a column that stand after a gap."""
    return [
        span
        for before, span in zip([None, *spans], spans, strict=False)
        if before is None or span.base - before.base > ROW_GAP * pitch
    ]


def aligned_table(columns: Sequence[Columns], rules: Sequence[float], *, ruled: bool) -> list[list[Cell]]:
    """Return the rows of a table without lines between columns.

    Args:
        columns: With the spans of each.
        rules: Heights of lines or gaps between rows; where there is one after every row, they part rows. Else a line of
            text that only goes on belongs to the row above.
        ruled: Lines they are, and the first and last may be the only ones.
    """
    starts = _bases(columns)
    by_rule = len(rules) > (RULED_ROWS if ruled else 0)
    last = -1
    lines: list[list[list[Span]]] = []  # by line and column
    for base, size in starts:
        band = bisect_left(rules, base)
        line = [list(_all_level(base, size, column.spans)) for column in columns]
        goes_on = band == last if by_rule else band == last and _goes_on(lines, line)
        last = band
        if lines and goes_on:
            lines[-1] = [[*cell, *more] for cell, more in zip(lines[-1], line, strict=True)]
        else:
            lines.append(line)
    return [[_cell(spans) for spans in line] for line in lines]


def _bases(columns: Sequence[Columns]) -> list[tuple[float, float]]:
    """Return each line of text, as its base line and the size of its type."""
    found: list[tuple[float, float]] = []
    for span in sorted((span for column in columns for span in column.spans), key=_base):
        if not found or span.base - found[-1][0] > LEVEL * span.size:
            found.append((span.base, span.size))
    return found


def _goes_on(lines: Sequence[Sequence[Sequence[Span]]], line: Sequence[Sequence[Span]]) -> bool:
    """Tell whether a line of text continues cells of the row above."""
    filled = [cell[0] for cell in line if cell]
    if line[0]:
        above = lines[-1][0]
        alone = len(filled) == 1
        return alone and bool(above) and line[0][0].text[0].islower()
    above_all = [lines[-1][at] for at, cell in enumerate(line) if cell]
    if not all(above_all):
        return len(filled) == 1
    return len(filled) == 1 and not (_value(filled[0]) and all(_value(cell[0]) for cell in above_all))


def _value(span: Span) -> bool:
    return bool(NUMBER.match(span.text)) or bool(UNIT.match(span.text))


def _cell(spans: Sequence[Span]) -> Cell:
    text = ""
    for span in spans:
        text = joined(text, span.text) if text else span.text
    return Cell(spaced(text), head=bool(spans) and all(span.bold for span in spans))
