"""The reading order of a page: columns one after the other, boxes and tables where they stand, lines as paragraphs."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from pipelines.knowledge.ingest.formats.blocks import HYPHENATED, ITEM, joined, runs_on, spaced
from pipelines.knowledge.ingest.formats.grid import Cell
from pipelines.knowledge.ingest.formats.pdf.aligned import Columns, aligned_table, is_table, row_gaps
from pipelines.knowledge.ingest.formats.pdf.glyphs import CELL_GAP, Glyph, Span, spans_of
from pipelines.knowledge.ingest.formats.pdf.lines import (
    LEADING,
    SAME_SIZE,
    Block,
    Paragraph,
    Placed,
    Table,
    around,
    box_of,
    paragraphs,
)
from pipelines.knowledge.ingest.formats.pdf.ruled import Box, Ruled, RuledCell

# Source: own choices, held by the manuals that the tests make. Units: the size of the type where nothing else is said.
GUTTER = 0.9
NARROW = 0.6
GUTTER_LINES = 2  # lines on either side, for a gap to be a gutter
NARROW_LINES = 4  # for a narrow one, which two lines of text may have by chance
CANDIDATES = 60
ROWS = 3  # spans that a table has at least
DEPTH = 12
SPANS = 20_000  # on a page; a plan with more text is read line by line
LARGE = 0.3  # of its table's area and of the page's: such a cell is a part of the page and no cell
FAR = 1e9


@dataclass(slots=True)
class Region:
    """What stands on a page, or in a part of it, in the frame of its text.

    Attributes:
        aside: Text that runs another way, as spans.
    """

    glyphs: list[Glyph]
    drawn: list[Ruled]
    area: float
    aside: list[Span] = field(default_factory=list)


def blocks_of(region: Region) -> list[Block]:
    """Return the blocks of a region in reading order."""
    atoms: list[Span | Placed] = []
    glyphs, aside = region.glyphs, region.aside
    for found, inner in _outermost(region.drawn):
        outer = _with_header(found, glyphs)
        own = [glyph for glyph in glyphs if _lies_in(glyph, outer.box)]
        turned = [span for span in aside if _lies_in(span, outer.box)]
        if not own or (len(outer.cells) == 1 and len({round(glyph.base) for glyph in own}) == 1 and not inner):
            continue
        glyphs = [glyph for glyph in glyphs if not _lies_in(glyph, outer.box)]
        aside = [span for span in aside if not _lies_in(span, outer.box)]
        atoms.append(Placed(outer.box, _enclosed(outer, Region(own, inner, region.area, turned))))
    spans = spans_of(glyphs)
    if len(spans) > SPANS:
        return paragraphs(spans)
    return _ordered([*spans, *atoms])


def _with_header(outer: Ruled, glyphs: Sequence[Glyph]) -> Ruled:
    """Return a table of bars with the row above its first bar, where that stands in the same columns."""
    if len(outer.cells) < GUTTER_LINES or any(cell.columns > 1 or cell.column for cell in outer.cells):
        return outer
    top, end = outer.box.y0, outer.cells[0].box.y1
    above = Box(outer.box.x0, top - (end - top), outer.box.x1, top)
    titles = spans_of((glyph for glyph in glyphs if _lies_in(glyph, above)), CELL_GAP)
    columns = _parted(spans_of((glyph for glyph in glyphs if _lies_in(glyph, outer.box)), CELL_GAP))
    fit = len(titles) == len(columns) > 1 and all(
        title.x0 < column.x1 and column.x0 < title.x1
        for title, column in zip(sorted(titles, key=lambda span: span.x0), columns, strict=True)
    )
    if not fit:
        return outer
    header = RuledCell(above, -1, 0, 1, 1)
    return Ruled(Box(above.x0, above.y0, above.x1, outer.box.y1), [header, *outer.cells])


def _lies_in(thing: Glyph | Span, box: Box) -> bool:
    return box.holds((thing.x0 + thing.x1) / 2, (thing.y0 + thing.y1) / 2)


def _outermost(drawn: Sequence[Ruled]) -> Iterator[tuple[Ruled, list[Ruled]]]:
    """Yield what lies in nothing else, largest first, each with what lies in it."""
    left = list(drawn)
    while left:
        outer, *others = left
        wide = Box(outer.box.x0 - 1, outer.box.y0 - 1, outer.box.x1 + 1, outer.box.y1 + 1)
        inner = [one for one in others if wide.holds(*one.box[:2]) and wide.holds(*one.box[2:])]
        yield outer, inner
        inside = set(map(id, inner))
        left = [one for one in others if id(one) not in inside]


def _enclosed(outer: Ruled, region: Region) -> list[Block]:
    """Read what lines enclose: a box, a part of the page beside others, or a table."""
    parts = [cell for cell in outer.cells if _is_part(cell, outer, region)]
    if len(outer.cells) == 1 or parts:
        found: list[Block] = []
        for cell in parts or outer.cells:
            found += blocks_of(_inside(cell.box, region))
        kept = [cell for cell in outer.cells if cell not in parts] if parts else []
        rows = _rows(kept, region)
        return found + ([Table(rows, outer.columns, outer.box)] if any(map(bool, rows)) else [])
    rows = _rows(outer.cells, region)
    if all(len(row) == 1 for row in rows):
        return _striped(outer, region)
    return [Table(rows, outer.columns, outer.box)]


def _inside(box: Box, region: Region) -> Region:
    return Region(
        [glyph for glyph in region.glyphs if _lies_in(glyph, box)],
        [one for one in region.drawn if box.holds((one.box.x0 + one.box.x1) / 2, (one.box.y0 + one.box.y1) / 2)],
        region.area,
        [span for span in region.aside if _lies_in(span, box)],
    )


def _is_part(cell: RuledCell, outer: Ruled, region: Region) -> bool:
    """Tell whether a cell is a part of the page, such as the inside of a drawing frame."""
    if cell.box.area < LARGE * outer.box.area:
        return False
    if any(cell.box.holds((one.box.x0 + one.box.x1) / 2, (one.box.y0 + one.box.y1) / 2) for one in region.drawn):
        return True
    spans = spans_of(glyph for glyph in region.glyphs if _lies_in(glyph, cell.box))
    items = sum(bool(ITEM.match(span.text)) for span in spans)
    return items > 1 or cell.box.area >= LARGE * region.area


def _rows(cells: Sequence[RuledCell], region: Region) -> list[list[Cell]]:
    """Return the cells of a table, row by row."""
    glyphs = sorted((((glyph.y0 + glyph.y1) / 2, at) for at, glyph in enumerate(region.glyphs)))
    lines = {cell: _cell_spans(cell, region, glyphs) for cell in cells}
    rows: dict[int, list[Cell]] = {}
    for cell in sorted(cells, key=lambda one: (one.row, one.column)):
        spans = lines[cell]
        bold = bool(spans) and all(span.bold for span in spans)
        rows.setdefault(cell.row, []).append(Cell(_flowed(spans), cell.columns, cell.rows, bold))
    found = list(rows.values())
    if len(found) <= 3 and (split := _split(cells, lines)):
        return split
    return found


def _cell_spans(cell: RuledCell, region: Region, by_height: Sequence[tuple[float, int]]) -> list[Span]:
    """Return what stands in a cell; of the signs by their heights only those level with it are looked at."""
    level = by_height[bisect_left(by_height, (cell.box.y0, 0)) : bisect_right(by_height, (cell.box.y1, len(by_height)))]
    own = spans_of(glyph for _, at in level for glyph in [region.glyphs[at]] if _lies_in(glyph, cell.box))
    return own + [span for span in region.aside if _lies_in(span, cell.box)]


def _flowed(spans: Iterable[Span]) -> str:
    """Return the text of a cell in one line."""
    return spaced(HYPHENATED.sub("", "\n".join(span.text for span in spans)))


def _split(cells: Sequence[RuledCell], lines: dict[RuledCell, list[Span]]) -> list[list[Cell]] | None:
    """Cut a row of a table that has lines between columns alone: its lines of text are its rows."""
    rows: list[list[Cell]] = []
    cut = False
    for number in sorted({cell.row for cell in cells}):
        row = sorted((cell for cell in cells if cell.row == number), key=lambda cell: cell.column)
        first = lines[row[0]]
        starts = [span.base for span in first]
        others = [span for cell in row[1:] for span in lines[cell]]
        level = [span for span in others if any(abs(span.base - base) < span.size / 3 for base in starts)]
        whole = len(starts) < 3 or not others or any(span.text[0].islower() for span in first)
        if whole or len(level) < len(others) or any(cell.rows > 1 for cell in row):
            rows.append([_cell(lines[cell], cell.columns) for cell in row])
            continue
        cut = True
        for base in starts:
            at = [[span for span in lines[cell] if abs(span.base - base) < span.size / 3] for cell in row]
            rows.append([_cell(spans, cell.columns) for spans, cell in zip(at, row, strict=True)])
    return rows if cut else None


def _cell(spans: Sequence[Span], columns: int) -> Cell:
    return Cell(_flowed(spans), columns, 1, bool(spans) and all(span.bold for span in spans))


def _striped(outer: Ruled, region: Region) -> list[Block]:
    """Read bars that lie under each other: rows of a table without lines between columns, or boxes."""
    spans = spans_of(region.glyphs, CELL_GAP)
    columns = _parted(spans)
    if len(outer.cells) > 1 and is_table(columns):
        return [_aligned(columns, [cell.box.y1 for cell in outer.cells], ruled=True)]
    return [block for cell in outer.cells for block in blocks_of(_inside(cell.box, region))]


# --- reading order


def _ordered(atoms: Sequence[Span | Placed], depth: int = 0) -> list[Block]:
    """Return blocks in reading order: cut where a gutter runs, else from top to bottom."""
    if not atoms:
        return []
    cut = _gutter(atoms) if depth < DEPTH and len(atoms) > GUTTER_LINES else None
    if cut is None:
        return paragraphs(atoms)
    x, top, bottom = cut
    run = [atom for atom in atoms if top < _middle(atom) < bottom]
    above = [atom for atom in atoms if _middle(atom) <= top]
    below = [atom for atom in atoms if _middle(atom) >= bottom]
    return [*_ordered(above, depth + 1), *_columns(run, x, depth), *_ordered(below, depth + 1)]


def _middle(atom: Span | Placed) -> float:
    box = box_of(atom)
    return (box.y0 + box.y1) / 2


def _gutter(atoms: Sequence[Span | Placed]) -> tuple[float, float, float] | None:
    """Return the place of the gutter with the most text beside it, and from where to where it runs."""
    sizes = [atom.size for atom in atoms if isinstance(atom, Span)]
    if len(sizes) <= GUTTER_LINES:
        return None
    size = median(sizes)
    boxes = sorted((_middle(atom), box_of(atom)) for atom in atoms)
    ends = sorted({round(box.x1, 1) for _, box in boxes})
    for width, least in ((GUTTER, GUTTER_LINES), (NARROW, NARROW_LINES)):
        runs = [run for end in ends[:: 1 + len(ends) // CANDIDATES] for run in _runs(boxes, end, width * size, least)]
        if runs:
            return max(runs)[1:]
    return None


def _runs(
    boxes: Sequence[tuple[float, Box]], end: float, width: float, least: int
) -> Iterator[tuple[int, float, float, float]]:
    """Yield the stretches in which nothing crosses a gutter, with how much stands beside it."""
    left, right, count, top = set[int](), set[int](), 0, -FAR
    for middle, box in [*boxes, (FAR, Box(-FAR, FAR, FAR, FAR))]:
        if box.x0 < end + width and box.x1 > end + 0.1:
            if min(len(left), len(right)) >= least and _overlap(left, right):
                yield count, end, top, middle
            left, right, count, top = set(), set(), 0, middle
            continue
        (left if box.x1 <= end + 0.1 else right).add(round(middle))
        count += 1


def _overlap(left: set[int], right: set[int]) -> bool:
    """Tell whether two columns stand side by side, and not one below the other."""
    shared = min(max(left), max(right)) - max(min(left), min(right))
    return shared >= 0.3 * min(max(left) - min(left), max(right) - min(right))


def _columns(run: Sequence[Span | Placed], x: float, depth: int) -> list[Block]:
    """Read what stands on both sides of a gutter: rows of a table, or one column after the other."""
    spans = [atom for atom in run if isinstance(atom, Span)]
    if len(spans) == len(run):
        begin, end = _rows_of_table(spans)
        columns = _parted(spans[begin:end])
        if is_table(columns):
            table = _aligned(columns, row_gaps(columns), ruled=False)
            return [*paragraphs(spans[:begin]), table, *paragraphs(spans[end:])]
    left = [atom for atom in run if box_of(atom).x1 <= x + 0.1]
    right = [atom for atom in run if box_of(atom).x1 > x + 0.1]
    first, second = _ordered(left, depth + 1), _ordered(right, depth + 1)
    if first and second and isinstance(last := first[-1], Paragraph) and isinstance(second[0], Paragraph):
        following = second[0]
        if abs(last.size - following.size) < SAME_SIZE * last.size and runs_on(last.text, following.text):
            last.text = joined(last.text, following.text)
            second = second[1:]
    return first + second


def _rows_of_table(spans: list[Span]) -> tuple[int, int]:
    """Return where rows may begin and end: what stands alone above or below, set off or in other type, is no row."""
    spans.sort(key=lambda span: (span.base, span.x0))
    pitches = [below.base - span.base for span, below in pairwise(spans) if below.base - span.base > span.size / 2]
    usual = median(pitches) if pitches else 0.0
    begin, end = 0, len(spans)
    while begin < end - ROWS and _set_off(spans[begin], spans[begin + 1], usual):
        begin += 1
    while begin < end - ROWS and spans[end - 1].base - spans[end - 2].base > LEADING * usual:
        end -= 1
    return begin, end


def _set_off(span: Span, below: Span, usual: float) -> bool:
    gap = below.base - span.base
    other_type = span.size > 1.1 * below.size or (span.bold and not below.bold)
    return gap > span.size / 2 and (other_type or gap > LEADING * usual)


def _aligned(columns: Sequence[Columns], rules: Sequence[float], *, ruled: bool) -> Table:
    spans = [span for column in columns for span in column.spans]
    return Table(
        aligned_table(columns, rules, ruled=ruled), [column.x0 for column in columns] + [columns[-1].x1], around(spans)
    )


def _parted(spans: Sequence[Span]) -> list[Columns]:
    """Part spans into all columns that they stand in."""
    found: list[Columns] = []
    for span in sorted(spans, key=lambda one: one.x0):
        if found and span.x0 < found[-1].x1 + NARROW * span.size / 2:
            found[-1].spans.append(span)
            found[-1].x1 = max(found[-1].x1, span.x1)
        else:
            found.append(Columns(span.x0, span.x1, [span]))
    return found
