"""Opens a PDF and reads its pages one by one."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import Read, printable, spaced
from pipelines.knowledge.ingest.formats.pdf.drawn import OBJECTS, Drawn, walk
from pipelines.knowledge.ingest.formats.pdf.fields import field_glyph, notes_of
from pipelines.knowledge.ingest.formats.pdf.overleaf import texts_of
from pipelines.knowledge.ingest.formats.pdf.pages import PageContent
from pipelines.knowledge.ingest.formats.pdf.recognition import Recogniser
from pipelines.knowledge.ingest.formats.pdf.ruled import Box
from pipelines.knowledge.ingest.formats.pdf.signs import glyphs_of

PAGES = 5_000  # Source: own choice; the longest manuals have some thousand
# Shares of a page. Source: own choices.
PICTURE = 0.05
SCAN = 0.5
SCAN_SIGNS = 60  # a stamp or a page number on a scan is not its text
SLIPS = 3  # signs that a machine may see where none are
DRAWN = 40  # lines of a page without text, for it to show something

JUNK_TITLE = re.compile(
    r"^\W*(?:anonymous|untitled|unspecified|document\d*|microsoft \w+ - .*|.*\.(?:docx?|indd|pdf))?\W*$", re.I
)


def read_pdf(name: str, content: bytes) -> Read:
    """Read the text, tables and form fields of each page; an empty page keeps its number.

    Raises:
        InvalidInput: It is encrypted, broken, or has more pages or signs than any manual.
    """
    import pypdfium2

    try:
        with _opened(content) as file:
            if len(file) > PAGES:
                raise InvalidInput("document.content", name, f"must not have more than {PAGES} pages")
            title = spaced(printable(file.get_metadata_value("Title") or ""))
            pages: list[PageContent] = []
            texts = texts_of(_pages(name, file, pages))
    except pypdfium2.PdfiumError as error:
        broken = "must be a readable PDF; this one is broken"
        locked = error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD
        raise InvalidInput("document.content", name, "must not be encrypted" if locked else broken) from None
    unread = tuple(
        page.number for page, text in zip(pages, texts, strict=True) if page.scan or (page.shows and not text)
    )
    confidence = {page.number: page.confidence for page in pages if page.confidence is not None}
    return Read("" if JUNK_TITLE.match(title) else title, "", texts, unread, confidence)


def _pages(name: str, file: Any, told: list[PageContent]) -> Iterator[PageContent]:
    """Yield what each page holds, and keep what was seen of it without its signs."""
    recogniser = Recogniser()
    for number in range(len(file)):
        page = _page(name, file, number)
        if page.scan:
            page = _recognised(file, page, recogniser)
        told.append(replace(page, glyphs={}, across=[], down=[]))
        yield page


def _opened(content: bytes) -> Any:
    import pypdfium2

    file = pypdfium2.PdfDocument(content)
    file.init_forms()
    return file


def _recognised(file: Any, page: PageContent, recogniser: Recogniser) -> PageContent:
    """Return a scan with what a machine reads of it, where one does."""
    opened = file[page.number - 1]
    try:
        found = recogniser.read(opened)
        width, height = opened.get_size()
    finally:
        opened.close()
    own = sum(map(len, page.glyphs.values()))
    if found is None or sum(len(glyph.text) for glyph in found.glyphs) <= own + SLIPS:
        return page  # it saw the stamp and nothing else
    return PageContent(
        page.number, Box(0, -height, width, 0), {0: found.glyphs}, [], [], page.shows, False, 0, found.confidence
    )


def _page(name: str, file: Any, number: int) -> PageContent:
    """Return what a page holds, each text in the frame in which it is read."""
    import pypdfium2.raw as pdfium

    page = file[number]
    try:
        if pdfium.FPDFPage_CountObjects(page) > OBJECTS:
            raise InvalidInput(
                "document.content", name, f"must not have more than {OBJECTS} objects on page {number + 1}"
            )
        area = Box(*page.get_bbox())  # PDFium looks for it above the page, too
        upright = page.get_rotation()
        drawn = Drawn()
        walk(page, drawn, (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), 0)
        glyphs = glyphs_of(name, number, page, area, drawn)
        for text, box in notes_of(file, page):
            if area.holds((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2):
                glyphs.setdefault(0, []).append(field_glyph(text, box))
    finally:
        page.close()
    count = sum(map(len, glyphs.values()))
    covered = drawn.pictures / max(1.0, area.area)
    return PageContent(
        number=number + 1,
        box=area,
        glyphs=glyphs,
        across=drawn.across,
        down=drawn.down,
        shows=covered >= PICTURE or drawn.segments >= DRAWN,
        scan=covered >= SCAN and count < SCAN_SIGNS,
        upright=upright,
    )
