"""What goes on overleaf: tables with their header, sentences with their end; and which sizes of type are headings."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from pipelines.knowledge.ingest.formats.blocks import ITEM, NUMBER_OF_PAGE, joined, lines_of, runs_on
from pipelines.knowledge.ingest.formats.grid import Cell, header_of, placed, read_rows
from pipelines.knowledge.ingest.formats.pdf.heads import without_running_heads
from pipelines.knowledge.ingest.formats.pdf.layout import blocks_of
from pipelines.knowledge.ingest.formats.pdf.lines import Block, Paragraph, Table
from pipelines.knowledge.ingest.formats.pdf.pages import PageContent, laid_out

# Source: own choices, held by the manuals that the tests make.
SAME_COLUMN = 6.0  # points
HEADING_SIZE = 1.18  # of the size of most of the text
HEADING_LONGEST = 120  # characters
NOTE_SIZE = 0.93  # of the size of most of the text; smaller type at the foot is a note
LEVELS = 3
SENTENCE_END = re.compile(r"[.!?][\"»”)]*(?=\s+[A-ZА-ЯЁ\"«]|$)")


def texts_of(pages: Iterable[PageContent]) -> list[str]:
    """Return the text of each page; no more than a few pages are held as signs."""
    blocks = [
        [block for region in (page.main, *page.others) for block in blocks_of(region)]
        for page in without_running_heads(map(laid_out, pages))
    ]
    body = _body_size(blocks)
    _join_sentences(blocks, body)
    titles = _continued(blocks)
    sizes = _heading_sizes(blocks, body)
    return [lines_of(line for block in page for line in _lines(block, sizes, titles)) for page in blocks]


def _body_size(pages: Sequence[Sequence[Block]]) -> float:
    counted: Counter[float] = Counter()
    for page in pages:
        for block in page:
            if isinstance(block, Paragraph):
                counted[round(block.size, 1)] += len(block.text)
    return counted.most_common(1)[0][0] if counted else 0.0


def _join_sentences(pages: list[list[Block]], body: float) -> None:
    """Move the rest of a sentence that goes on overleaf to where it begins."""
    for number in range(len(pages) - 2, -1, -1):
        following = next((at for at in range(number + 1, len(pages)) if pages[at]), None)
        last = _last_text(pages[number], body)
        if last is None or following is None or not isinstance(first := pages[following][0], Paragraph):
            continue
        if abs(first.size - last.size) > 0.1 * last.size or not runs_on(last.text, first.text):
            continue
        if first.size > HEADING_SIZE * body or NUMBER_OF_PAGE.match(first.text):
            continue
        end = SENTENCE_END.search(first.text)
        cut = end.end() if end else len(first.text)
        last.text = joined(last.text, first.text[:cut])
        first.text = first.text[cut:].strip()
        if not first.text:
            pages[following].pop(0)


def _last_text(page: Sequence[Block], body: float) -> Paragraph | None:
    """Return the paragraph that a page ends with, notes at its foot left aside."""
    for block in reversed(page):
        if not isinstance(block, Paragraph):
            return None
        if block.size >= NOTE_SIZE * body:
            return block
    return None


def _continued(pages: Sequence[Sequence[Block]]) -> dict[int, list[str]]:
    """Return the titles of the columns of tables that go on overleaf, by table."""
    titles: dict[int, list[str]] = {}
    last: Table | None = None
    header: list[list[Cell]] = []
    for page in pages:
        tables = [block for block in page if isinstance(block, Table)]
        first = page[0] if page else None
        if last is not None and isinstance(first, Table) and _same_columns(last, first):
            known = titles.get(id(last)) or header_of(placed(last.rows)).titles
            header = header if id(last) in titles else last.rows[: header_of(placed(last.rows)).depth]
            _continue(first, last, header)
            titles[id(first)] = known
        last = tables[-1] if tables and _ends_with(page, tables[-1]) else None
    return titles


def _ends_with(page: Sequence[Block], table: Table) -> bool:
    at = next(place for place, block in enumerate(page) if block is table)
    return all(isinstance(block, Paragraph) and len(block.text) < HEADING_LONGEST for block in page[at + 1 :])


def _same_columns(one: Table, other: Table) -> bool:
    return len(one.columns) == len(other.columns) and all(
        abs(left - right) <= SAME_COLUMN for left, right in zip(one.columns, other.columns, strict=True)
    )


def _continue(table: Table, before: Table, header: Sequence[Sequence[Cell]]) -> None:
    """Drop a header that is printed again, and carry on what stands in a cell over both pages."""
    depth = len(header)
    if [[cell.text for cell in row] for row in table.rows[:depth]] == [[cell.text for cell in row] for row in header]:
        table.rows = table.rows[depth:]
    rows = placed(before.rows)
    if not table.rows or not rows or len(table.rows[0]) < 2 or table.rows[0][0].text:
        return
    above = rows[-1][0]
    if above is not None and any(cell.text for cell in table.rows[0][1:]):
        first = table.rows[0][0]
        table.rows[0] = [Cell(above.text, first.columns, first.rows, first.head), *table.rows[0][1:]]


def _heading_sizes(pages: Sequence[Sequence[Block]], body: float) -> list[float]:
    paragraphs = (block for page in pages for block in page if isinstance(block, Paragraph))
    return sorted(
        {round(one.size, 1) for one in paragraphs if one.size >= HEADING_SIZE * body and _may_head(one)}, reverse=True
    )


def _may_head(block: Paragraph) -> bool:
    return (
        len(block.text) <= HEADING_LONGEST
        and not block.text.endswith((".", ";", ","))
        and not ITEM.match(block.text)
        and any(char.isalpha() for char in block.text)
    )


def _lines(block: Block, sizes: Sequence[float], titles: dict[int, list[str]]) -> list[str]:
    if isinstance(block, Table):
        return read_rows(block.rows, titles.get(id(block), ()))
    size = round(block.size, 1)
    if size in sizes and _may_head(block):
        return [f"{'#' * min(LEVELS, 1 + sizes.index(size))} {block.text}"]
    return [block.text]
