"""Pages as regions: the frame of most of their text, and what runs other ways."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.knowledge.ingest.formats.pdf.frames import back, turned_box
from pipelines.knowledge.ingest.formats.pdf.glyphs import Glyph, Span, spans_of
from pipelines.knowledge.ingest.formats.pdf.layout import Region
from pipelines.knowledge.ingest.formats.pdf.ruled import Box, Ruled, Stroke, ruled

UPRIGHT = 0.25  # of a page's signs; with fewer, the page is one to be turned. Source: own choice
TABLES = 200  # Source: own choice; a page of more boxes is a form or a plan, whose largest are kept


@dataclass(slots=True)
class PageContent:
    """What a page holds. Units: points; the box upwards, signs in the frames of their directions.

    Attributes:
        glyphs: By direction in degrees.
        upright: The direction that a reader sees upright.
        shows: It shows more than text: a picture, or a drawing.
        scan: It is one picture with hardly any text.
        confidence: How sure the machine that read it was; None where the file holds the text.
    """

    number: int
    box: Box
    glyphs: dict[int, list[Glyph]]
    across: list[Stroke]
    down: list[Stroke]
    shows: bool
    scan: bool
    upright: int = 0
    confidence: float | None = None


@dataclass(slots=True)
class Laid:
    """A page as regions in the frame of most of its text, and those of its other directions."""

    main: Region
    others: list[Region]
    top: float
    height: float


def laid_out(page: PageContent) -> Laid:
    """Return a page in the frame of most of its text."""
    direction = max(page.glyphs, key=lambda turned: len(page.glyphs[turned]), default=0)
    if len(page.glyphs.get(page.upright, ())) >= UPRIGHT * sum(map(len, page.glyphs.values())):
        direction = page.upright
    glyphs = page.glyphs.get(direction, [])
    box = turned_box(page.box, direction)
    across, down = _turned_strokes(page, direction)
    drawn = ruled(across, down)[:TABLES]
    aside, others = list[Span](), list[Region]()
    for turned, more in page.glyphs.items():
        if turned == direction:
            continue
        inside, outside = _parted(more, turned, direction, drawn)
        aside += inside
        if outside:
            others.append(Region(outside, [], box.area))
    return Laid(Region(glyphs, drawn, box.area, aside), others, box.y0, box.y1 - box.y0)


def _turned_strokes(page: PageContent, direction: int) -> tuple[list[Stroke], list[Stroke]]:
    boxes = [Box(one.start, one.at, one.end, one.at) for one in page.across]
    boxes += [Box(one.at, one.start, one.at, one.end) for one in page.down]
    across, down = list[Stroke](), list[Stroke]()
    for box in (turned_box(box, direction) for box in boxes):
        if box.y0 == box.y1:
            across.append(Stroke(box.y0, box.x0, box.x1))
        else:
            down.append(Stroke(box.x0, box.y0, box.y1))
    return across, down


def _parted(
    glyphs: Sequence[Glyph], turned: int, direction: int, drawn: Sequence[Ruled]
) -> tuple[list[Span], list[Glyph]]:
    """Part text of another direction into what stands in cells of tables, as spans of their frame, and the rest."""
    tables = [one.box for one in drawn if len(one.cells) > 1]
    inside, outside = list[Glyph](), list[Glyph]()
    for glyph in glyphs:
        box = turned_box(back(Box(glyph.x0, glyph.y0, glyph.x1, glyph.y1), turned), direction)
        held = any(table.holds((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for table in tables)
        (inside if held else outside).append(glyph)
    spans = []
    for span in spans_of(inside):
        box = turned_box(back(Box(span.x0, span.y0, span.x1, span.y1), turned), direction)
        spans.append(Span(span.text, *box, box.y1, span.size, span.bold))
    return spans, outside
