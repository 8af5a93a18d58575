"""What fields of a form hold, and what was written onto a page."""

from collections.abc import Iterator
from typing import Any

from pipelines.knowledge.ingest.formats.blocks import printable, spaced
from pipelines.knowledge.ingest.formats.pdf.drawn import OBJECTS
from pipelines.knowledge.ingest.formats.pdf.frames import turned_box
from pipelines.knowledge.ingest.formats.pdf.glyphs import Glyph
from pipelines.knowledge.ingest.formats.pdf.ruled import Box

WIDGET, FREE_TEXT, STICKY = 20, 3, 1  # kinds of annotations. Source: PDFium, fpdf_annot.h
CHECKED, RADIO, CHOICE, LISTED, TEXT = 2, 3, 4, 5, 6  # kinds of fields. Source: PDFium, fpdf_formfill.h
UNSEEN = 0b100011  # flags of annotations: invisible, hidden, no view. Source: ISO 32000-1, table 165
# Units: points. Source: own choice; a taller field holds several lines, and begins at its top.
TALL = 40.0
LINE = 14.0


def field_glyph(text: str, box: Box) -> Glyph:
    """Return what a field holds as a sign that stands in its line."""
    placed = turned_box(box, 0)
    height = min(placed.y1 - placed.y0, LINE)
    # It stands in its box as a line of text would.
    base = (
        placed.y0 + (placed.y1 - placed.y0) / 2 + height / 3.2 if placed.y1 - placed.y0 < TALL else placed.y0 + height
    )
    return Glyph(text, placed.x0, base - height, placed.x1, base + 2, base, height / 1.3, apart=2, filled=True)


def notes_of(file: Any, page: Any) -> Iterator[tuple[str, Box]]:
    """Yield what fields hold and what was written on the page, with its place."""
    import pypdfium2.raw as pdfium

    for place in range(min(OBJECTS, pdfium.FPDFPage_GetAnnotCount(page))):
        note = pdfium.FPDFPage_GetAnnot(page, place)
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(note)
            box = pdfium.FS_RECTF()
            if pdfium.FPDFAnnot_GetFlags(note) & UNSEEN or not pdfium.FPDFAnnot_GetRect(note, box):
                continue
            text = _field(file, note) if kind == WIDGET else ""
            if kind in (FREE_TEXT, STICKY):
                text = _string(lambda *to, of=note: pdfium.FPDFAnnot_GetStringValue(of, b"Contents", *to))
            if text := spaced(printable(text)):
                yield text, Box(box.left, min(box.bottom, box.top), box.right, max(box.bottom, box.top))
        finally:
            pdfium.FPDFPage_CloseAnnot(note)


def _field(file: Any, note: Any) -> str:
    import pypdfium2.raw as pdfium

    if not file.formenv:
        return ""
    kind = pdfium.FPDFAnnot_GetFormFieldType(file.formenv, note)
    if kind in (CHECKED, RADIO):
        return "☒" if pdfium.FPDFAnnot_IsChecked(file.formenv, note) else "☐"
    if kind in (TEXT, CHOICE, LISTED):
        return _string(lambda *to: pdfium.FPDFAnnot_GetFormFieldValue(file.formenv, note, *to))
    return ""


def _string(ask: Any) -> str:
    """Return a text that PDFium writes into a buffer of ours, as UTF-16."""
    import pypdfium2.raw as pdfium

    length = min(ask(None, 0), 100_000)
    buffer = (pdfium.FPDF_WCHAR * (length // 2 + 1))()
    ask(buffer, length)
    return bytes(buffer)[: max(0, length - 2)].decode("utf-16-le", "ignore")
