"""The signs of a page that a reader sees, each in the frame of its line."""

import ctypes
import math
from collections.abc import Mapping
from heapq import nlargest
from typing import Any, NamedTuple
from unicodedata import normalize

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import printable
from pipelines.knowledge.ingest.formats.pdf.drawn import OBJECTS, WHITE, Colour, Drawn, Fill, address, alike
from pipelines.knowledge.ingest.formats.pdf.frames import turned_box, turned_point
from pipelines.knowledge.ingest.formats.pdf.glyphs import Glyph
from pipelines.knowledge.ingest.formats.pdf.ruled import Box

# Source: own choice; the densest printed page has some 10,000 signs.
SIGNS = 100_000
# Source: own choices; a page takes no more than some seconds.
TESTS = 4_000_000
LEAST_FILLS = 50
# Units: points. Source: own choice; print of less than two points cannot be read.
SMALLEST = 2.0
INVISIBLE, CLIPPED = 3, 7  # text render modes. Source: ISO 32000-1, table 106
FIGURES = frozenset("0123456789+-−–")
SIGN_RAISED = 0.45  # so high, or higher, stands the middle of a raised sign; that of one on the line at a third
# Of the size of the type. Source: own choice; figures on the line are some 0.7 high, those of old style at least 0.42.
RAISED, LOWERED = 0.22, 0.41
MATHEMATICAL = 0x1D400  # letters of formulas, slanted or bold
HYPHEN = 2  # so PDFium marks a hyphen at the end of a line


class Look(NamedTuple):
    """How a text object looks; `visible` None where its place decides."""

    size: float
    bold: bool
    order: int
    colour: Colour
    invisible: bool


def glyphs_of(name: str, number: int, page: Any, area: Box, drawn: Drawn) -> dict[int, list[Glyph]]:
    """Return the signs that a reader sees, by the direction of their lines in degrees."""
    import pypdfium2.raw as pdfium

    text = page.get_textpage()
    try:
        count = pdfium.FPDFText_CountChars(text)
        if count > SIGNS:
            raise InvalidInput("document.content", name, f"must not have more than {SIGNS} signs on page {number + 1}")
        # Of many areas the largest: each sign is held against each of them.
        largest = nlargest(max(LEAST_FILLS, TESTS // max(1, count)), drawn.fills, key=lambda fill: fill.box.area)
        drawn.fills = sorted(largest, key=lambda fill: fill.order)
        looks: dict[int, Look] = {}
        found: dict[int, list[Glyph]] = {}
        apart = 2
        for place in range(max(0, count)):
            sign = _sign(text, place)
            handle = pdfium.FPDFText_GetTextObject(text, place)
            if not sign.strip() or not handle:
                apart = max(apart, 1 if pdfium.FPDFText_IsGenerated(text, place) else 2) if not sign.strip() else apart
                continue
            key = address(handle)
            if key not in looks:
                looks[key] = _look(text, place, handle, drawn)
            turned, glyph = _glyph(text, place, sign, looks[key])
            glyph.apart, apart = apart, 0
            if _is_seen(looks[key], text, place, area, drawn):
                found.setdefault(turned, []).append(glyph)
        return found
    finally:
        text.close()


def _sign(text: Any, place: int) -> str:
    import pypdfium2.raw as pdfium

    code = pdfium.FPDFText_GetUnicode(text, place)
    if code == HYPHEN:
        return "-"
    sign = chr(code) if 0 < code < 0x110000 else ""
    if MATHEMATICAL <= code < MATHEMATICAL + 1024:
        return normalize("NFKC", sign)
    return LIGATURES.get(sign, printable(sign))


LIGATURES: Mapping[str, str] = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "\u00ad": "-"}


def _look(text: Any, place: int, handle: Any, drawn: Drawn) -> Look:
    import pypdfium2.raw as pdfium

    size = ctypes.c_float()
    pdfium.FPDFTextObj_GetFontSize(handle, size)
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFText_GetMatrix(text, place, matrix)
    buffer, flags = ctypes.create_string_buffer(200), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text, place, buffer, 200, flags)
    font = buffer.value.lower()
    bold = b"bold" in font or b"black" in font or pdfium.FPDFText_GetFontWeight(text, place) > 600
    mode = pdfium.FPDFTextObj_GetTextRenderMode(handle)
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    pdfium.FPDFText_GetFillColor(text, place, red, green, blue, alpha)
    return Look(
        abs(size.value) * math.hypot(matrix.c, matrix.d),
        bold,
        drawn.order.get(address(handle), OBJECTS),
        (red.value, green.value, blue.value),
        mode in (INVISIBLE, CLIPPED) or alpha.value < 16,
    )


def _is_seen(look: Look, text: Any, place: int, area: Box, drawn: Drawn) -> bool:
    """Tell whether a sign is on the page, large enough, and of another colour than what lies behind or over it."""
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(text, place, box)
    x, y = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    if look.size < SMALLEST or not area.holds(x, y):
        return False
    behind: Fill | None = None
    for fill in drawn.fills:
        if fill.box.holds(x, y):
            if fill.order > look.order and fill.colour is not None:
                return False  # painted over
            if fill.order < look.order or look.invisible:
                behind = fill
    if look.invisible:
        return behind is not None and behind.colour is None  # what a machine read of the scan that is seen
    if behind is None:
        return not alike(look.colour, WHITE)
    return behind.colour is None or not alike(look.colour, behind.colour)


def _glyph(text: Any, place: int, sign: str, look: Look) -> tuple[int, Glyph]:
    """Return the direction of a sign, and the sign in the frame of that direction."""
    import pypdfium2.raw as pdfium

    angle = -pdfium.FPDFText_GetCharAngle(text, place)
    turned = round(math.degrees(angle) / 90) % 4 * 90
    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetLooseCharBox(text, place, box)
    pdfium.FPDFText_GetCharOrigin(text, place, x, y)
    placed = turned_box(Box(box.left, box.bottom, box.right, box.top), turned)
    _, base = turned_point(x.value, y.value, turned)
    glyph = Glyph(sign, *placed, base, max(look.size, 0.1), look.bold)
    glyph.shift = _shift(text, place, glyph, turned) if sign in FIGURES else 0
    return turned, glyph


def _shift(text: Any, place: int, glyph: Glyph, turned: int) -> int:
    """Tell a figure that its font draws small and high, or low, from one that stands on the line."""
    import pypdfium2.raw as pdfium

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    if not pdfium.FPDFText_GetCharBox(text, place, left, right, bottom, top):
        return 0
    tight = turned_box(Box(left.value, bottom.value, right.value, top.value), turned)
    if not glyph.text.isdigit():
        return int((tight.y0 + tight.y1) / 2 < glyph.base - SIGN_RAISED * glyph.size)
    if tight.y1 < glyph.base - RAISED * glyph.size:
        return 1
    return -1 if tight.y0 > glyph.base - LOWERED * glyph.size and tight.y1 > glyph.base + glyph.size / 20 else 0
