"""Lines drawn on a page as tables and boxes: which cells they make, and which of these span."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

# Units: points. Source: own choices; lines of one table miss each other by less than the width of a stroke.
NEAR = 3.0
SHORTEST = 6.0
WIDEST_UNDERLINE = 60.0
# Source: own choice; a page of more lines is a drawing, and its lines make no table.
LINES = 2_500
CROSSINGS = 200_000
CELLS = 20_000
COVERED = 0.6


class Box(NamedTuple):
    """A rectangle; lines follow downwards. Units: points."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies inside."""
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1

    def within(self, other: "Box") -> bool:
        """Tell whether it lies inside another one."""
        return other.x0 <= self.x0 and other.y0 <= self.y0 and self.x1 <= other.x1 and self.y1 <= other.y1

    @property
    def area(self) -> float:
        """Return its area in square points."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


class Stroke(NamedTuple):
    """A line that runs across, or down: at `at`, from `start` to `end`. Units: points."""

    at: float
    start: float
    end: float


class RuledCell(NamedTuple):
    """A cell between lines, and how many rows and columns it spans."""

    box: Box
    row: int
    column: int
    rows: int
    columns: int


@dataclass(slots=True)
class Ruled:
    """Lines that hang together, and the cells that they make."""

    box: Box
    cells: list[RuledCell] = field(default_factory=list)

    @property
    def columns(self) -> list[float]:
        """Return where its columns begin and end."""
        return sorted({round(edge) for cell in self.cells for edge in (cell.box.x0, cell.box.x1)})


def ruled(across: Sequence[Stroke], down: Sequence[Stroke]) -> list[Ruled]:
    """Return what lines enclose, largest first; none where there are more lines than any table has."""
    flat, upright = merged(across), merged(down)
    if not flat or len(flat) > LINES or len(upright) > LINES:
        return []
    found, single = list[Ruled](), list[Stroke]()
    for rows, columns in _groups(flat, upright):
        made = _cells(rows, columns) if len(rows) > 1 and len(columns) > 1 else None
        if made and made.cells:
            found.append(made)
        elif not columns:
            single += rows
    found += _barred(single)
    return sorted(found, key=lambda one: -one.box.area)


def merged(strokes: Sequence[Stroke]) -> list[Stroke]:
    """Join strokes that go on in each other, and drop what is too short to part cells."""
    found: list[Stroke] = []
    for stroke in sorted(strokes):
        for place in range(len(found) - 1, max(-1, len(found) - 12), -1):
            other = found[place]
            if stroke.at - other.at <= NEAR and stroke.start <= other.end + NEAR and other.start <= stroke.end + NEAR:
                found[place] = Stroke(other.at, min(other.start, stroke.start), max(other.end, stroke.end))
                break
        else:
            found.append(stroke)
    return [stroke for stroke in found if stroke.end - stroke.start >= SHORTEST]


def _groups(flat: list[Stroke], upright: list[Stroke]) -> Iterator[tuple[list[Stroke], list[Stroke]]]:
    """Yield strokes that cross or touch each other, over however many others."""
    parent = list(range(len(flat) + len(upright)))

    def top(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    heights = [stroke.at for stroke in flat]
    crossings = 0
    for number, column in enumerate(upright):
        for place in range(bisect_left(heights, column.start - NEAR), bisect_right(heights, column.end + NEAR)):
            crossings += 1
            if crossings > CROSSINGS:
                return
            if flat[place].start - NEAR <= column.at <= flat[place].end + NEAR:
                parent[top(len(flat) + number)] = top(place)
    groups: dict[int, tuple[list[Stroke], list[Stroke]]] = {}
    for node in range(len(parent)):
        rows, columns = groups.setdefault(top(node), ([], []))
        (rows if node < len(flat) else columns).append(flat[node] if node < len(flat) else upright[node - len(flat)])
    yield from groups.values()


def _barred(rows: list[Stroke]) -> list[Ruled]:
    """Return tables that have lines between rows alone: those of equal extent are of one."""
    groups: dict[tuple[int, int], list[Stroke]] = {}
    for row in rows:
        if row.end - row.start >= WIDEST_UNDERLINE:
            groups.setdefault((round(row.start / NEAR), round(row.end / NEAR)), []).append(row)
    found = []
    for group in groups.values():
        if len(ys := _places(group)) > 1:
            x0, x1 = min(row.start for row in group), max(row.end for row in group)
            cells = [RuledCell(Box(x0, top, x1, end), at, 0, 1, 1) for at, (top, end) in enumerate(pairwise(ys))]
            found.append(Ruled(Box(x0, ys[0], x1, ys[-1]), cells))
    return found


def _places(strokes: Sequence[Stroke]) -> list[float]:
    places: list[float] = []
    for stroke in sorted(strokes):
        if not places or stroke.at - places[-1] > NEAR:
            places.append(stroke.at)
    return places


def _cells(rows: list[Stroke], columns: list[Stroke]) -> Ruled:
    """Return the cells of one group of strokes; where no stroke parts two of them, they are one."""
    ys, xs = _opened(rows, columns)
    if len(ys) < 2 or len(xs) < 2:
        return Ruled(Box(0, 0, 0, 0))
    box = Box(xs[0], ys[0], xs[-1], ys[-1])
    if (len(ys) - 1) * (len(xs) - 1) > CELLS:
        return Ruled(box)
    right = [[_covered(columns, xs[j + 1], ys[i], ys[i + 1]) for j in range(len(xs) - 1)] for i in range(len(ys) - 1)]
    under = [[_covered(rows, ys[i + 1], xs[j], xs[j + 1]) for j in range(len(xs) - 1)] for i in range(len(ys) - 1)]
    made = Ruled(box)
    taken: set[tuple[int, int]] = set()
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            if (i, j) in taken:
                continue
            width = 1
            while j + width < len(xs) - 1 and not right[i][j + width - 1] and (i, j + width) not in taken:
                width += 1
            height = 1
            while i + height < len(ys) - 1 and not any(under[i + height - 1][j : j + width]):
                height += 1
            taken.update((i + down, j + over) for down in range(height) for over in range(width))
            place = Box(xs[j], ys[i], xs[j + width], ys[i + height])
            made.cells.append(RuledCell(place, i, j, height, width))
    return made


def _opened(rows: list[Stroke], columns: list[Stroke]) -> tuple[list[float], list[float]]:
    """Return where rows and columns begin, those included that reach beyond the last line that crosses them."""
    ys, xs = _places(rows), _places(columns)
    left, right = min(row.start for row in rows), max(row.end for row in rows)
    top, bottom = min(column.start for column in columns), max(column.end for column in columns)
    xs = [left] * (xs[0] - left > 3 * NEAR) + xs + [right] * (right - xs[-1] > 3 * NEAR)
    ys = [top] * (ys[0] - top > 3 * NEAR) + ys + [bottom] * (bottom - ys[-1] > 3 * NEAR)
    return ys, xs


def _covered(strokes: list[Stroke], at: float, start: float, end: float) -> bool:
    """Tell whether strokes run along most of a side."""
    first = bisect_left(strokes, at - NEAR, key=lambda stroke: stroke.at)
    length = 0.0
    for stroke in strokes[first : first + 200]:
        if stroke.at > at + NEAR:
            break
        length += max(0.0, min(end, stroke.end) - max(start, stroke.start))
    return length >= COVERED * (end - start)
