"""Frames of directions: in each, text reads from left to right and lines follow downwards."""

from pipelines.knowledge.ingest.formats.pdf.ruled import Box


def turned_point(x: float, y: float, turned: int) -> tuple[float, float]:
    """Return a point in the frame of a direction: along its lines, and down from line to line."""
    match turned:
        case 90:
            return y, x
        case 180:
            return -x, y
        case 270:
            return -y, -x
    return x, -y


def turned_box(box: Box, turned: int) -> Box:
    """Return a box in the frame of a direction."""
    (x0, y0), (x1, y1) = turned_point(box.x0, box.y0, turned), turned_point(box.x1, box.y1, turned)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def back(box: Box, turned: int) -> Box:
    """Return a box of the frame of a direction in that of the page."""
    match turned:
        case 90:
            return Box(box.y0, box.x0, box.y1, box.x1)
        case 180:
            return Box(-box.x1, box.y0, -box.x0, box.y1)
        case 270:
            return Box(-box.y1, -box.x1, -box.y0, -box.x0)
    return Box(box.x0, -box.y1, box.x1, -box.y0)
