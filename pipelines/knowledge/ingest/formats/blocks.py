"""Lines as every reader writes them: one block a line, headings and items marked, small type kept apart from large."""

import re
from collections.abc import Iterable
from typing import NamedTuple


class Read(NamedTuple):
    """What a file says of itself, and the text of each page.

    Attributes:
        unread: Numbers of pages that show something and hold no text.
        confidence: By number of a page that a machine read, how sure it was, 0..1.
    """

    title: str
    language: str
    texts: list[str]
    unread: tuple[int, ...] = ()
    confidence: dict[int, float] = {}  # noqa: RUF012 (nobody writes to it)


HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(\S.*)$")
ITEM = re.compile(r"^(\s*)([-*+•]|\d{1,3}[.)])\s+(.*)$")
MARKS = re.compile(r"^\s*#+(?=\s|$)")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\ud800-\udfff]")
HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[a-zа-яё])")
SPACES = re.compile(r"[ \t\n\r\f\u2002-\u200a]+")
COLUMN_GAP = re.compile(r"\t+| {3,}|(?<=:) {2,}")
ENDED = re.compile(r"[.!?:;…][\"»”')\]]*$")
NUMBER_OF_PAGE = re.compile(
    r"^[\W_]*(?:page|p\.|стр(?:аница)?\.?|с\.|seite|лист)?\s*(?:\d{1,4}|[ivxl]{1,6})\s*(?:(?:of|из|/|von)\s*\d{1,4})?[\W_]*$",
    re.IGNORECASE,
)

# A line shorter than this share of its page's longest ends a block: type is set to the width of the column.
SHORT_LINE = 0.6
# Characters; a narrower text was not broken to fit, its lines are its own. Source: own choice; letters have 60 to 80.
SET_WIDTH = 60

_SMALL = "0123456789+-=()"
_RAISED = str.maketrans(_SMALL + "−–ni°oо", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾" + "⁻⁻ⁿⁱ°°°")
_LOWERED = str.maketrans(_SMALL + "−–", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎" + "₋₋")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "01234567890123456789")
FRACTION = re.compile(r"(\d?) ?([⁰¹²³⁴⁵⁶⁷⁸⁹]{1,3}) ?[/⁄∕] ?([₀₁₂₃₄₅₆₇₈₉]{1,3})")


def printable(text: str) -> str:
    """Return text without control characters, its spaces plain."""
    return UNPRINTABLE.sub("", text).replace("\u00a0", " ").replace("\u202f", " ").replace("\x85", "\n")


def spaced(text: str) -> str:
    """Return text in one line with single spaces."""
    return SPACES.sub(" ", text).strip()


def raised(text: str) -> str:
    """Write what stands above the line: `10` and `-3` are 10⁻³, and never 10-3."""
    text = spaced(text)
    small = text.translate(_RAISED)
    if not text or text[0] == "[" or (len(text) > 1 and text.isalpha()):
        return text  # a note's number in brackets, `st`, `TM`
    return small if all(char not in text for char in small) else f"^({text})"


def lowered(text: str) -> str:
    """Write what stands below the line: CO₂, p_max."""
    text = spaced(text)
    small = text.translate(_LOWERED)
    return small if all(char not in text for char in small) else f"_{text}"


def fractions(text: str) -> str:
    """Write a fraction of small figures, ¹⁄₂, as 1/2, apart from a whole number before it."""
    return FRACTION.sub(
        lambda match: f"{match[1]}{' ' if match[1] else ''}{match[2]}/{match[3]}".translate(_DIGITS), text
    )


def unmarked(line: str) -> str:
    """Return a line of running text that cannot be taken for a heading."""
    return MARKS.sub("", line).strip().rstrip("#").rstrip() if MARKS.match(line) else line.strip()


class Blocks:
    """Collects lines into blocks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open: list[str] = []

    def close(self) -> None:
        """End the block that is open."""
        if self.open:
            self.lines.append(" ".join(self.open))
        self.open = []

    def whole(self, line: str) -> None:
        """Add a block that is one line."""
        self.close()
        if line:
            self.lines.append(line)


def reflowed(text: str) -> str:
    """Join lines that were broken only to fit the width, one block a line; `#` marks no heading here."""
    raw = HYPHENATED.sub("", text).split("\n")
    lines = [unmarked(line) for line in raw]
    width = max(map(len, lines), default=0)
    blocks = Blocks()
    for line, before in zip(lines, raw, strict=True):
        own = (MARKS.match(before) and width < SET_WIDTH) or in_columns(line)
        if not line or ITEM.match(line) or own:
            blocks.close()
        if line:
            blocks.open.append(spaced(line))
        if len(line) < SHORT_LINE * width or own:
            blocks.close()
    blocks.close()
    return "\n".join(blocks.lines)


def in_columns(line: str) -> list[str]:
    """Return the cells of a line that gaps part into columns; none of any other line."""
    cells = [cell.strip() for cell in COLUMN_GAP.split(line.strip())]
    return cells if len(cells) > 1 and all(cells) else []


def runs_on(before: str, after: str) -> bool:
    """Tell whether a block goes on in the next one, on the other side of a break that the sheet made."""
    if not before or not after or ENDED.search(before) or HEADING.match(before) or ITEM.match(after):
        return False
    return after[0].islower() or after[0].isdigit() or before[-1] in ",-–(" or len(before) > SET_WIDTH


def joined(before: str, after: str) -> str:
    """Return two parts of one sentence as one, a word that was cut whole again."""
    if re.search(r"[^\W\d_][-\u00ad\u2010]$", before) and after[:1].islower():
        return before[:-1] + after
    return f"{before} {after}"


def lines_of(parts: Iterable[str]) -> str:
    """Return blocks as the text of a page."""
    return "\n".join(part for part in parts if part)
