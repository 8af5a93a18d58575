"""Tables of any format as rows that can be read without their table: each value with its column and its unit."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pipelines.errors import InvalidInput


class Cell(NamedTuple):
    """A cell as it is written: its text, how far it spans, and whether it is set as a heading."""

    text: str
    columns: int = 1
    rows: int = 1
    head: bool = False


Grid = list[list[Cell | None]]  # rows of equal length; a spanning cell stands at each place that it covers

# Source: own choices; a manual's widest tables have some twenty columns, its longest some thousand rows.
COLUMNS = 100
CELLS = 500_000

NUMBER = re.compile(r"^(?:[<>≤≥±~≈=+\-−–]|ca\.?|max\.?|min\.?|до|от|ок\.?|не более|не менее)?\s*\d", re.IGNORECASE)
AMOUNT = re.compile(r"^[<>≤≥±~≈+\-−–\s\d.,/…·×x^⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*\d[\d.,/…\s⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*$")
UNIT = re.compile(
    r"^[\[(]?\s*(?:bar|mbar|psi|k?pa|mpa|°\s?[cf]|k|l|ml|l/min|l/s|gpm|cm³/(?:rev|r|об)|cc/rev|m³/h|m|mm|cm|µm|um|in|kg|g|"
    r"t|nm|n·?m|n\*m|ft-?lb|kn|n|kw|w|hp|v|a|ma|hz|khz|rpm|min⁻¹|1/min|mm/s|m/s|mm²/s|cst|h|hrs?|hours?|s|ms|%|ppm|"
    r"pcs|бар|мбар|к?па|мпа|л|мл|л/мин|л/с|м³/ч|м|мм|см|мкм|кг|г|н·?м|к?н|к?вт|в|а|ма|к?гц|об/мин|мин⁻¹|мм/с|м/с|"
    r"мм²/с|сст|ч|час(?:а|ов)?|с|мс|шт\.?)\s*[\])]?$",
    re.IGNORECASE,
)
UNITS = re.compile(
    r"^(?:units?|uom|einheit|dim(?:ension)?\.?|ед(?:\.|иниц[аы])?\s*(?:изм(?:\.|ерения)?)?|единиц[аы]|размерность)$",
    re.IGNORECASE,
)
# What heads a column and is never a value itself, as the last or first word of a cell.
_TITLE = (
    r"no\.?|nr\.?|№|#|pos\.?|item|parts?|component|parameter|name|designation|description|property|characteristics?|"
    r"quantity|value|units?|setting|set|limits?|min(?:imum)?\.?|max(?:imum)?\.?|nominal|rated|type|model|code|meaning|"
    r"symptom|fault|failure|problem|cause|remedy|action|solution|check|machine|system|circuit|valve|port|sensor|signal|"
    r"function|position|location|note|remarks?|comment|pressure|torque|temperature|flow|volume|capacity|speed|force|"
    r"interval|period|hours|viscosity|level|time|date|size|range|weight|mass|length|diameter|stroke|power|voltage|"
    r"current|frequency|grade|material|status|result|term|definition|step|tool|thread|"
    r"поз\.?|п/п|наименование|обозначение|параметр|показатель|характеристика|величина|значение|ед\.?|единица|норма|"
    r"предел|мин\.?|макс\.?|номинал\w*|тип|модель|код|описание|признак|неисправность|причина|способ|устранение|"
    r"действие|машина|система|контур|клапан|порт|датчик|сигнал|функция|место|примечани[ея]|давление|момент|"
    r"температура|расход|об[ъь][её]м|вместимость|скорость|усилие|период\w*|интервал|вязкость|уровень|время|дата|"
    r"размер|диапазон|масса|вес|длина|диаметр|ход|мощность|напряжение|ток|частота|класс|материал|состояние|деталь|"
    r"узел|термин|определение|шаг|операция|резьба|настройка|затяжки|настройки"
)
TITLE = re.compile(rf"^(?:(?:{_TITLE})\b.*|.*\b(?:{_TITLE}))[\s:.]*$", re.IGNORECASE)
TITLE_LONGEST = 60  # characters; a section's title above its rows. Source: own choice
ENOUGH = 0.6  # of the cells of a column or a line, to say what it holds. Source: own choice


def placed(table: Sequence[Sequence[Cell]]) -> Grid:
    """Put cells where their spans put them.

    Raises:
        InvalidInput: It is far larger than any table.
    """
    grid: Grid = []
    below: dict[int, tuple[int, Cell]] = {}  # by column: for how many rows more a cell reaches down
    count = 0
    for given in table:
        row: list[Cell | None] = []
        cells = iter(given)
        while len(row) < COLUMNS:
            column = len(row)
            if column in below:
                left, cell = below.pop(column)
                row.append(cell)
                if left > 1:
                    below[column] = (left - 1, cell)
            elif following := next(cells, None):
                width = max(1, min(following.columns, COLUMNS - column))
                row += [following] * width
                for at in range(column, column + width if following.rows > 1 else column):
                    below[at] = (following.rows - 1, following)
            elif below and max(below) > column:
                row.append(None)
            else:
                break
        count += len(row)
        if count > CELLS:
            raise InvalidInput("document.content", "table", f"must have no table of more than {CELLS} cells")
        grid.append(row)
    width = max(map(len, grid), default=0)
    return _trimmed([row + [None] * (width - len(row)) for row in grid if count + len(grid) * width <= 2 * CELLS])


def _trimmed(grid: Grid) -> Grid:
    """Drop rows and columns without text, and columns that only spans made."""
    rows = [row for row in grid if any(cell and cell.text for cell in row)]
    width = len(rows[0]) if rows else 0
    kept = [
        at
        for at in range(width)
        if any(row[at] and row[at].text for row in rows)  # type: ignore[union-attr]
        and not (at and all(row[at] is row[at - 1] for row in rows))
    ]
    return [[row[at] for at in kept] for row in rows]


class Header(NamedTuple):
    """What the columns of a table are called.

    Attributes:
        titles: One a column, empty where it has none.
        depth: How many rows they take.
    """

    titles: list[str]
    depth: int


def read_rows(table: Sequence[Sequence[Cell]], titles: Sequence[str] = ()) -> list[str]:
    """Return a table as lines; `titles` are those of the table that it continues."""
    lines, grid = _captioned(placed(table))
    if not grid:
        return lines
    if len(grid[0]) == 1:
        return lines + [_text(row[0]) for row in grid]
    header = Header(list(titles), 0) if titles else header_of(grid)
    return lines + _read(grid, header)


def _captioned(grid: Grid) -> tuple[list[str], Grid]:
    """Cut rows off the top that are the table's own title."""
    lines = []
    while len(grid) > 1 and len(grid[0]) > 1 and _spans(grid[0]):
        lines.append(_text(grid[0][0]))
        grid = grid[1:]
    return lines, _trimmed(grid)


def _spans(row: Sequence[Cell | None]) -> bool:
    return row[0] is not None and all(cell is row[0] for cell in row)


def _text(cell: Cell | None) -> str:
    return cell.text if cell else ""


def header_of(grid: Grid) -> Header:
    """Return what the columns are called; by marks where they tell rows apart, else by what the cells hold."""
    depth = _marked_depth(grid)
    if depth is None:
        depth = 0 if _pairs(grid) else _depth_by_content(grid)
    if depth:
        depth = _deepened(grid, depth)
    titles = [_title([row[at] for row in grid[:depth]]) for at in range(len(grid[0]))]
    return Header(titles if depth else [], depth)


def _marked_depth(grid: Grid) -> int | None:
    """Return how many rows at the top are set as headings, or None where marks say nothing."""
    marked = [
        [cell.head for cell in row if cell and cell.text and not (at and _spans(row))] for at, row in enumerate(grid)
    ]
    depth = next((at for at, row in enumerate(marked) if not row or not all(row)), len(grid))
    if 0 < depth < len(grid):
        return depth
    # A first column of headings in every row, the first one too, is the header of the rows.
    first = all(row[0] is not None and row[0].head for row in grid)
    return 0 if depth == 0 and first and not _headed_corner(grid) else None


def _headed_corner(grid: Grid) -> bool:
    return not _text(grid[0][0])


def _deepened(grid: Grid, depth: int) -> int:
    """Count the rows of a header that spans and units make deeper than it is marked."""
    while depth < len(grid) - 1 and _heads_too(grid[depth - 1], grid[depth]):
        depth += 1
    return depth


def _heads_too(above: Sequence[Cell | None], row: Sequence[Cell | None]) -> bool:
    """Tell whether a row below a header belongs to it."""
    if any(cell is not None and cell is over for cell, over in zip(row, above, strict=True)):
        return True  # a cell of the header reaches into it
    texts = [_text(cell) for cell in row if _text(cell)]
    spanned = any(left is not None and left is right for left, right in pairwise(above))
    return bool(texts) and (
        (spanned and not any(NUMBER.match(text) for text in texts)) or all(UNIT.match(text) for text in texts)
    )


def _depth_by_content(grid: Grid) -> int:
    """Return 1 where the first row names columns, 0 where it holds values like the others."""
    first, *rest = ([_text(cell) for cell in row] for row in grid)
    if not rest:
        return 0
    if any(cell is not None and cell is following for cell, following in pairwise(grid[0])):
        return 1  # a cell over several columns is their common title
    if any(NUMBER.match(text) for text in first[1:]):
        return _numbered_titles(first, rest)
    titles = any(_titled(text) for text in first)
    if len(first) == 2:
        return int(_titled(first[1]) or not first[0] or _alike([row[1] for row in rest]))
    return int(titles or not first[0] or not any(_measured(row[at]) for row in rest for at in (0,)))


def _numbered_titles(first: Sequence[str], rest: Sequence[Sequence[str]]) -> int:
    """Columns called by sizes or years: bare numbers above values with units, under a word that is a title."""
    bare = all(_amount(text) for text in first[1:] if text)
    measured = [_measured(text) and not _amount(text) for row in rest for text in row[1:] if text]
    return int(len(first) > 2 and bare and bool(measured) and all(measured))


def _measured(text: str) -> bool:
    return bool(NUMBER.match(text))


def _amount(text: str) -> bool:
    """Tell whether a text is a bare number."""
    return len(text) <= TITLE_LONGEST and bool(AMOUNT.match(text))


def _titled(text: str) -> bool:
    """Tell whether a text is what heads a column."""
    return len(text) <= TITLE_LONGEST and bool(TITLE.match(text))


def _alike(column: Sequence[str]) -> bool:
    """Tell whether a column holds amounts of one unit."""
    units = {re.sub(r"[\d\s.,/+\-−–]", "", text) for text in column}
    return len(column) > 1 and all(map(_measured, column)) and len(units) == 1


def _pairs(grid: Grid) -> bool:
    """Tell whether columns are label, value, label, value."""
    if len(grid[0]) not in (4, 6):
        return False
    labels = [_text(cell) for row in grid for cell in row[::2] if _text(cell)]
    first = [_text(cell) for cell in grid[0]]
    values = [_text(cell) for row in grid for cell in row[1::2] if _text(cell)]
    measured = sum(map(_holds_number, values))
    return (
        bool(values)
        and measured >= ENOUGH * len(values)
        and any(_holds_number(text) for text in first[1::2])
        and not any(_measured(label) for label in labels)
        and len(set(labels)) == len(labels)
    )


def _holds_number(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _title(cells: Sequence[Cell | None]) -> str:
    """Join what stands above a column, outermost first, a unit in brackets."""
    texts = list(dict.fromkeys(_text(cell).rstrip(" :") for cell in cells if _text(cell)))
    if len(texts) > 1 and UNIT.match(texts[-1]) and texts[-1][0] not in "[(":
        texts[-1] = f"({texts[-1]})"
    return " ".join(texts)


def _read(grid: Grid, header: Header) -> list[str]:
    rows, lines, section = grid[header.depth :], list[str](), ""
    for row in rows:
        texts = [_text(cell) for cell in row]
        if len(row) > 1 and _spans(row):
            section = texts[0] if len(texts[0]) <= TITLE_LONGEST and row is not rows[-1] else ""
            lines += [texts[0]] if not section else []
        elif header.titles:
            lines.append(named(header.titles, texts, section))
        elif _pairs(grid):
            lines += [
                f"{label.rstrip(' :')}: {value}" for label, value in zip(texts[::2], texts[1::2], strict=False) if label
            ]
        else:
            lines.append(_keyed(texts, section))
    return lines


def named(titles: Sequence[str], texts: Sequence[str], section: str = "") -> str:
    """Write a row under the titles of its columns; a column of units goes to the amounts beside it."""
    cells = dict(enumerate(texts))
    at = next((place for place, title in enumerate(titles) if UNITS.match(title)), None)
    if at is not None and cells.get(at) and not _amount(cells[at]):
        amounts = [place for place, text in cells.items() if place != at and place and _amount(text)]
        unit = cells[at].strip("[]()") if amounts else ""
        cells |= {place: f"{cells[place]} {unit}" for place in amounts}
        cells = {place: text for place, text in cells.items() if not amounts or place != at}
    parts = [
        f"{title}: {text}" if title and title != text else text
        for place, text in cells.items()
        if text
        for title in [titles[place] if place < len(titles) else ""]
    ]
    return "; ".join([section, *parts] if section else parts)


def _keyed(texts: Sequence[str], section: str) -> str:
    """Write a row of a table without titles: what it begins with is what the rest is about."""
    key, *rest = [text for text in dict.fromkeys(texts) if text]
    if rest and not any(map(str.isalnum, key)):
        key, *rest = rest  # a sign beside a warning
    if len(rest) > 1 and UNIT.match(rest[-1]) and _amount(rest[-2]):
        rest[-2:] = [f"{rest[-2]} {rest[-1].strip('[]()')}"]
    line = f"{key.rstrip(' :')}: {'; '.join(rest)}" if rest else key
    return f"{section}; {line}" if section else line
