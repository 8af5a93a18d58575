"""Lines of text as paragraphs, headings and items: what was broken only to fit the width is joined."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.knowledge.ingest.formats.blocks import ENDED, ITEM, joined, unmarked
from pipelines.knowledge.ingest.formats.grid import Cell
from pipelines.knowledge.ingest.formats.pdf.glyphs import Span
from pipelines.knowledge.ingest.formats.pdf.ruled import Box

# Source: own choices, held by the manuals that the tests make. Units: the size of the type.
LEADING = 1.3  # of the usual distance of lines; more of it parts paragraphs
WIDEST = 2.4  # lines set twice as far apart as usual still are
SAME_SIZE = 0.1
SAME_LINE = 0.4
RAGGED = 0.2
EMPHASIS_LONGEST = 60  # characters; a longer bold line is text, and no title
LEADERS = re.compile(r"\s*(?:\.{4,}|(?:\. ){4,}\.?|…{2,}|_{4,})\s*")


@dataclass(slots=True)
class Paragraph:
    """Running text, a heading or an item. Units: points."""

    text: str
    size: float
    box: Box


@dataclass(slots=True)
class Table:
    """Rows of cells, and where its columns begin and end. Units: points."""

    rows: list[list[Cell]]
    columns: list[float]
    box: Box


Block = Paragraph | Table


@dataclass(slots=True)
class Placed:
    """Blocks that were read by themselves and stand somewhere on the page."""

    box: Box
    blocks: list[Block]


def box_of(atom: Span | Placed) -> Box:
    """Return where something stands."""
    return atom.box if isinstance(atom, Placed) else Box(atom.x0, atom.y0, atom.x1, atom.y1)


def around(spans: Sequence[Span]) -> Box:
    """Return the box around spans."""
    return Box(
        min(one.x0 for one in spans),
        min(one.y0 for one in spans),
        max(one.x1 for one in spans),
        max(one.y1 for one in spans),
    )


def paragraphs(atoms: Sequence[Span | Placed]) -> list[Block]:
    """Join lines that were broken only to fit the width; boxes and tables keep their place among them."""
    found: list[Block] = []
    lines: list[Span] = []
    for atom in sorted(
        atoms, key=lambda one: (box_of(one).y0 if isinstance(one, Placed) else one.base, box_of(one).x0)
    ):
        if isinstance(atom, Placed):
            found += _joined_lines(lines)
            found += atom.blocks
            lines = []
        elif lines and abs(atom.base - lines[-1].base) < SAME_LINE * max(atom.size, lines[-1].size):
            lines[-1] = _beside(lines[-1], atom)
        else:
            lines.append(atom)
    return found + _joined_lines(lines)


def _beside(left: Span, right: Span) -> Span:
    if right.x0 < left.x0:
        left, right = right, left
    return Span(
        f"{left.text} {right.text}", left.x0, min(left.y0, right.y0), max(left.x1, right.x1), max(left.y1, right.y1),
        left.base, max(left.size, right.size), left.bold and right.bold, right.filled,
    )  # fmt: skip


def _joined_lines(lines: Sequence[Span]) -> list[Block]:
    pitches = sorted(below.base - line.base for line, below in pairwise(lines))
    usual = pitches[len(pitches) // 4] if pitches else 0.0
    groups: list[list[Span]] = []
    for line in lines:
        if groups and _together(groups[-1][-1], line, usual):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [block for group in groups for block in _group_blocks(group)]


def _together(line: Span, below: Span, usual: float) -> bool:
    """Tell whether two lines belong to one stretch of text, by distance and type."""
    return (
        below.base - line.base <= min(LEADING * usual, WIDEST * line.size)
        and abs(below.size - line.size) < SAME_SIZE * line.size
        and (below.bold == line.bold or not line.bold or len(line.text) > EMPHASIS_LONGEST)
    )


def _group_blocks(group: Sequence[Span]) -> list[Block]:
    right = max(line.x1 for line in group)
    found: list[list[Span]] = []
    for line in group:
        if found and _continues(found[-1], line, right):
            found[-1].append(line)
        else:
            found.append([line])
    return [Paragraph(_led(_text_of(part)), part[0].size, around(part)) for part in found]


def _continues(part: Sequence[Span], below: Span, right: float) -> bool:
    """Tell whether a line was broken only because the next word did not fit."""
    line = part[-1]
    if ITEM.match(below.text) or line.filled or LEADERS.search(line.text) or LEADERS.search(below.text):
        return False
    if below.text[0].islower() and not ENDED.search(line.text):
        return True
    if ITEM.match(part[0].text) and ENDED.search(line.text) and below.x0 <= part[0].x0 + 1:
        return False  # an item's own lines hang under its text
    word = below.text.split()[0]
    width = (below.x1 - below.x0) * (len(word) + 1) / max(1, len(below.text))
    return line.x1 + width > right - RAGGED * line.size


def _text_of(lines: Sequence[Span]) -> str:
    text = lines[0].text
    for line in lines[1:]:
        text = joined(text, line.text)
    return unmarked(text)


def _led(text: str) -> str:
    """Write a value at the end of a row of dots as one: `Oil ..... HLP 46` is `Oil: HLP 46`."""
    label, dots, value = _partition(text)
    if not dots or not label:
        return text
    return f"{label}: {value}" if value and not value.isdigit() else f"{label} … {value}".strip()


def _partition(text: str) -> tuple[str, str, str]:
    match = LEADERS.search(text)
    return (text[: match.start()].rstrip(" :"), match[0], text[match.end() :]) if match else (text, "", "")
