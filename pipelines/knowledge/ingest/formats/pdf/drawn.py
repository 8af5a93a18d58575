"""What a page shows beside text: lines, painted areas and pictures."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.knowledge.ingest.formats.pdf.ruled import Box, Stroke

# Source: own choices; a plan of a plant has some 50,000 lines.
OBJECTS = 100_000
SEGMENTS = 20_000
NESTED = 6
RINGS = 60  # parts of a path; one of more is a drawing, and no ground for text
# Units: points. Source: own choice; a bar thinner than three is a line.
THIN = 3.0
STRAIGHT = 1.0
# Of 255. Source: own choice; colours this close are one to the eye.
ALIKE = 24
WHITE = (255, 255, 255)

Matrix = tuple[float, float, float, float, float, float]
Colour = tuple[int, int, int]


class Fill(NamedTuple):
    """An area painted over what was there before; None for a picture, or where that shines through."""

    order: int
    box: Box
    colour: Colour | None


@dataclass
class Drawn:
    """What a page shows beside text, in the page's own frame: upwards. Units: points."""

    across: list[Stroke] = field(default_factory=list)
    down: list[Stroke] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    pictures: float = 0.0
    order: dict[int, int] = field(default_factory=dict)
    segments: int = 0


def address(handle: Any) -> int:
    """Return what tells one object of PDFium from another."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def walk(page: Any, drawn: Drawn, outer: Matrix, depth: int, form: Any = None) -> None:
    """Collect lines, painted areas and pictures, those of forms within the page included."""
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFPage_CountObjects(page) if form is None else pdfium.FPDFFormObj_CountObjects(form)
    for place in range(max(0, count)):
        found = pdfium.FPDFPage_GetObject(page, place) if form is None else pdfium.FPDFFormObj_GetObject(form, place)
        if len(drawn.order) >= OBJECTS:
            return
        drawn.order[address(found)] = len(drawn.order)
        kind = pdfium.FPDFPageObj_GetType(found)
        if kind == pdfium.FPDF_PAGEOBJ_FORM and depth < NESTED:
            walk(page, drawn, _times(_matrix(found), outer), depth + 1, found)
        elif kind == pdfium.FPDF_PAGEOBJ_PATH and drawn.segments < SEGMENTS:
            _path(found, drawn, _times(_matrix(found), outer))
        elif kind in (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING):
            _picture(found, kind == pdfium.FPDF_PAGEOBJ_IMAGE, drawn, _times(_matrix(found), outer))


def _matrix(found: Any) -> Matrix:
    import pypdfium2.raw as pdfium

    made = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(found, made):
        return (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    return (made.a, made.b, made.c, made.d, made.e, made.f)


def _times(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def _picture(found: Any, is_image: bool, drawn: Drawn, matrix: Matrix) -> None:
    corners = [_moved(x, y, matrix) for x in (0.0, 1.0) for y in (0.0, 1.0)]
    box = hull(corners) if is_image else Box(-1e6, -1e6, 1e6, 1e6)
    drawn.fills.append(Fill(drawn.order[address(found)], box, None))
    drawn.pictures += box.area if is_image else 0.0


def _moved(x: float, y: float, matrix: Matrix) -> tuple[float, float]:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def hull(points: list[tuple[float, float]]) -> Box:
    """Return the box around points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _path(found: Any, drawn: Drawn, matrix: Matrix) -> None:
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(found, fill, stroke)
    parts = list(_subpaths(found, drawn, matrix))
    boxes = [hull(points) for points in parts]
    colour = _painted(found) if fill.value else None
    seen = bool(stroke.value) and not alike(_stroked(found), WHITE)
    shown = seen or (colour is not None and not alike(colour, WHITE))
    for points, box in zip(parts, boxes, strict=True):
        if min(box.x1 - box.x0, box.y1 - box.y0) < THIN:
            if shown:
                _add_line(drawn, box)
            continue
        if colour is not None and not _ring(box, boxes) and (area := _clipped(found, box)):
            through = pdfium.FPDFPageObj_HasTransparency(found)  # as a marker over text does
            drawn.fills.append(Fill(drawn.order[address(found)], area, None if through else colour))
        if seen or (shown and len(points) in (4, 5)):
            for start, end in pairwise(points):
                _add_line(drawn, hull([start, end]))


def _ring(box: Box, boxes: list[Box]) -> bool:
    """Tell whether a part of a path lies in or around another one, as the two sides of a border do."""
    if len(boxes) > RINGS:
        return True
    return any(other is not box and (box.within(other) or other.within(box)) for other in boxes)


def _clipped(found: Any, box: Box) -> Box | None:
    """Return what clipping leaves of an area, by the boxes of its clip paths."""
    import pypdfium2.raw as pdfium

    clip = pdfium.FPDFPageObj_GetClipPath(found)
    x, y = ctypes.c_float(), ctypes.c_float()
    for path in range(max(0, min(RINGS, pdfium.FPDFClipPath_CountPaths(clip))) if clip else 0):
        points = []
        for place in range(min(SEGMENTS, max(0, pdfium.FPDFClipPath_CountPathSegments(clip, path)))):
            segment = pdfium.FPDFClipPath_GetPathSegment(clip, path, place)
            pdfium.FPDFPathSegment_GetPoint(segment, x, y)
            points.append((x.value, y.value))
        if points:
            of = hull(points)
            box = Box(max(box.x0, of.x0), max(box.y0, of.y0), min(box.x1, of.x1), min(box.y1, of.y1))
    return box if box.x0 < box.x1 and box.y0 < box.y1 else None


def _add_line(drawn: Drawn, box: Box) -> None:
    """Keep a line that runs across or down; slanting ones part no cells."""
    if box.y1 - box.y0 < THIN and box.x1 - box.x0 > STRAIGHT:
        drawn.across.append(Stroke((box.y0 + box.y1) / 2, box.x0, box.x1))
    elif box.x1 - box.x0 < THIN and box.y1 - box.y0 > STRAIGHT:
        drawn.down.append(Stroke((box.x0 + box.x1) / 2, box.y0, box.y1))


def _subpaths(found: Any, drawn: Drawn, matrix: Matrix) -> Iterator[list[tuple[float, float]]]:
    """Yield the corners of each part of a path, a closed one back to its beginning."""
    import pypdfium2.raw as pdfium

    points: list[tuple[float, float]] = []
    x, y = ctypes.c_float(), ctypes.c_float()
    for place in range(max(0, pdfium.FPDFPath_CountSegments(found))):
        drawn.segments += 1
        if drawn.segments > SEGMENTS:
            return
        segment = pdfium.FPDFPath_GetPathSegment(found, place)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        if pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_MOVETO and points:
            yield points
            points = []
        points.append(_moved(x.value, y.value, matrix))
        if pdfium.FPDFPathSegment_GetClose(segment):
            points.append(points[0])
    if points:
        yield points


def _painted(found: Any) -> Colour | None:
    import pypdfium2.raw as pdfium

    return _colour(pdfium.FPDFPageObj_GetFillColor, found)


def _stroked(found: Any) -> Colour | None:
    import pypdfium2.raw as pdfium

    return _colour(pdfium.FPDFPageObj_GetStrokeColor, found)


def _colour(ask: Any, found: Any) -> Colour | None:
    """Return a colour; None for one that lets through what lies behind it."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not ask(found, red, green, blue, alpha) or alpha.value < 128:
        return None
    return red.value, green.value, blue.value


def alike(one: Colour | None, other: Colour) -> bool:
    """Tell whether two colours are one to the eye."""
    return one is not None and all(abs(left - right) < ALIKE for left, right in zip(one, other, strict=True))
