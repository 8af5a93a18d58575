"""Running heads and feet, and numbers of pages: what is printed on pages and is no text of them."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from pipelines.knowledge.ingest.formats.blocks import NUMBER_OF_PAGE
from pipelines.knowledge.ingest.formats.pdf.glyphs import Glyph, Span, spans_of
from pipelines.knowledge.ingest.formats.pdf.lines import WIDEST
from pipelines.knowledge.ingest.formats.pdf.pages import Laid
from pipelines.knowledge.ingest.formats.pdf.ruled import Box

# Source: own choices, held by the manuals that the tests make.
MARGIN = 0.12  # of the height of a page, at its top and at its foot
SAME_PLACE = 4.0  # points
SET_OFF = 1.4  # of the usual distance of lines
NEIGHBOURS = 4  # pages before and behind
OUTER_LINES = 40
NUMBERS = 8  # of a line that may be that of the page
TABLE_ROWS = 2  # a box of fewer rows may be the foot of a drawing
FRAME = 0.3  # of a page: a cell this large makes its lines a frame, and no table
INTEGER = re.compile(r"(?<![\w.,])\d{1,4}(?![\w.,])")


def without_running_heads(pages: Iterable[Laid]) -> Iterator[Laid]:
    """Yield pages without lines at their top and foot that come again nearby, and without numbers of pages alone.

    Left and right pages may have heads of their own, and a chapter too: a page is held against its neighbours.
    """
    near: deque[tuple[Laid, _Outer]] = deque()
    at = 0
    for number, page in enumerate(pages):
        near.append((page, _outer(page, number)))
        if len(near) > NEIGHBOURS + 1 + at:
            yield _without(near, at)
            at += 1
        if at > NEIGHBOURS:
            near.popleft()
            at -= 1
    for place in range(at, len(near)):
        yield _without(near, place)


def _without(near: Sequence[tuple[Laid, "_Outer"]], place: int) -> Laid:
    """Take out of a page what also stands on one of its neighbours."""
    page, lines = near[place]
    others = [outer for at, (_, outer) in enumerate(near) if at != place and abs(at - place) <= NEIGHBOURS]
    gone = [
        line.base for line in lines if NUMBER_OF_PAGE.match(line.text) or any(_stands(line, other) for other in others)
    ]
    if gone:
        tables = _tables(page)
        page.main.glyphs = [glyph for glyph in page.main.glyphs if not _on(glyph, gone) or _stands_in(glyph, tables)]
    return page


class _OuterLine(NamedTuple):
    """A line at the top or foot of a page, and what it is known by."""

    text: str
    base: float
    keys: frozenset[str]


_Outer = list[_OuterLine]


def _outer(page: Laid, number: int) -> _Outer:
    return [_OuterLine(text, base, _keys(text, number)) for text, base in islice(_outer_lines(page), OUTER_LINES)]


def _stands(line: _OuterLine, others: _Outer) -> bool:
    return any(abs(line.base - other.base) <= SAME_PLACE and line.keys & other.keys for other in others)


def _keys(text: str, number: int) -> frozenset[str]:
    """Return what a line says, as it stands and with one of its numbers counted from the page's."""
    found = islice(INTEGER.finditer(text), NUMBERS)
    return frozenset((text, *(f"{text[: one.start()]}#{int(one[0]) - number}{text[one.end() :]}" for one in found)))


def _on(glyph: Glyph, lines: Sequence[float]) -> bool:
    return any(abs(glyph.base - y) < glyph.size for y in lines)


def _outer_lines(page: Laid) -> Iterator[tuple[str, float]]:
    """Yield the lines at the top and foot that a gap sets off from the text, with their places."""
    lines: list[Span] = []
    tables = _tables(page)
    for span in spans_of(glyph for glyph in page.main.glyphs if not _stands_in(glyph, tables)):
        if lines and abs(lines[-1].base - span.base) < span.size / 2:
            lines[-1].text += f" {span.text}"
        else:
            lines.append(span)
    pitches = sorted(below.base - line.base for line, below in pairwise(lines))
    usual = pitches[len(pitches) // 4] if pitches else 0.0
    upper, lower = page.top + MARGIN * page.height, page.top + (1 - MARGIN) * page.height
    top = _set_off([line for line in lines if line.base <= upper], lines, usual)
    foot = _set_off([line for line in reversed(lines) if line.base >= lower], lines[::-1], usual)
    yield from ((line.text, line.base) for line in (*top, *foot))


def _set_off(outer: Sequence[Span], lines: Sequence[Span], usual: float) -> Sequence[Span]:
    """Return the outermost lines up to the last wide gap; all of them where the page has no others."""
    for count in range(len(outer), 0, -1):
        following = lines[count : count + 1]
        if not following or abs(following[0].base - outer[count - 1].base) > SET_OFF * min(
            usual, WIDEST * following[0].size
        ):
            return outer[:count]
    return []


def _tables(page: Laid) -> list[Box]:
    """Return the tables of a page; the frame of a drawing and a box of one row are none."""
    return [
        one.box
        for one in page.main.drawn
        if len({cell.row for cell in one.cells}) > TABLE_ROWS
        and max(cell.box.area for cell in one.cells) < FRAME * page.main.area
        and one.box.y1 > page.top + MARGIN * page.height
        and one.box.y0 < page.top + (1 - MARGIN) * page.height
    ]


def _stands_in(glyph: Glyph, tables: Sequence[Box]) -> bool:
    return any(table.holds((glyph.x0 + glyph.x1) / 2, (glyph.y0 + glyph.y1) / 2) for table in tables)
