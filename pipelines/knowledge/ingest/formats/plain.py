"""Reads Markdown and plain text."""

import re
from itertools import groupby
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.formats.blocks import (
    HEADING,
    ITEM,
    Blocks,
    Read,
    fractions,
    in_columns,
    lines_of,
    lowered,
    printable,
    raised,
    reflowed,
    unmarked,
)
from pipelines.knowledge.ingest.formats.grid import Cell, read_rows
from pipelines.knowledge.ingest.formats.html import blocks as html_blocks
from pipelines.knowledge.ingest.formats.tree import parsed

FRONT_MATTER = re.compile(r"\A\s{0,9}(---|\+\+\+)[ \t]*\n(.*?)\n(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
FIELD = re.compile(r"^(title|language|lang)[ \t]*[:=][ \t]*(.{1,500})$", re.MULTILINE | re.IGNORECASE)
# Source: a title and a language need some hundred; longer YAML is looked through line by line, and never multiplied.
YAML_CHARACTERS = 4_000

FENCE = re.compile(r"^\s*(```|~~~)")
RULE = re.compile(r"^\s*+([-*_=]\s*+){3,}$")
TABLE_RULE = re.compile(r"^\s*+\|?\s*+:?-++:?\s*+(\|\s*+:?-++:?\s*+)*+\|?\s*$")
# Inline markup has bounded lengths, so that no file takes more than linear time.
LINK = re.compile(
    r"(!?)\[((?:[^\[\]\n]|\[[^\[\]\n]{0,60}\]){0,300})\]\(<?([^()\n]{0,1000}?)>?(?:\s\"[^\"\n]{0,300}\")?\)"
)
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3}|_{1,3})(?=\S)([^\n]{1,300}?)(?<=\S)\1(?![\w*])")
CODE = re.compile(r"(`{1,2})([^`\n]{1,300})\1")
ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~])")
SMALL = re.compile(r"<(sup|sub)>([^<>\n]{1,40})</\1>", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:br|p|b|i|em|strong|sub|sup|span|div|u|img|a|font|center|small|kbd|code|mark|details|summary|hr)\b[^>\n]{0,300}>",
    re.IGNORECASE,
)
HTML = re.compile(r"^ {0,3}<(table|div|dl|ul|ol|details|section|form|p|h[1-6])\b", re.IGNORECASE)
NOTE = re.compile(r"^\[\^([^\]\s]{1,40})\]:\s*")
NOTED = re.compile(r"\[\^([^\]\s]{1,40})\]")


def read_markdown(name: str, content: bytes) -> Read:
    """Read Markdown: one block a line, without inline markup; tables and HTML inside it row by row."""
    title, language, text = _front_matter(decoded(name, content))
    return Read(title, language, [plain_markdown(text)])


def read_text(name: str, content: bytes) -> Read:
    """Read plain text; no sign at the beginning of a line makes a heading of it."""
    return Read("", "", [_with_tables(decoded(name, content))])


def _with_tables(text: str) -> str:
    """Return text with the lines that are set in columns as rows."""
    found: list[str] = []
    for columns, lines in groupby(text.split("\n"), lambda line: len(in_columns(unmarked(line)))):
        group = list(lines)
        if columns and len(group) > 1:
            found += read_rows([[Cell(cell) for cell in in_columns(unmarked(line))] for line in group])
        else:
            found.append(reflowed("\n".join(group)))
    return lines_of(found)


def decoded(name: str, content: bytes) -> str:
    """Return the text of a file.

    Raises:
        InvalidInput: It is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("document.content", name, f"must be UTF-8; byte {error.start} is not") from None
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))


def _front_matter(text: str) -> tuple[str, str, str]:
    """Cut title and language off the top; what cannot be understood of it is left out, and the text behind it stays."""
    match = FRONT_MATTER.match(text)
    if match is None:
        return "", "", text
    fields = _fields(match[2])
    return _inline(fields.get("title", "")).strip(), fields.get("language", fields.get("lang", "")), text[match.end() :]


def _fields(text: str) -> dict[str, str]:
    import yaml

    loaded: Any = None
    if len(text) <= YAML_CHARACTERS:
        try:
            # Texts alone: no tag makes anything of a value, and no merge multiplies it.
            loaded = yaml.load(text, yaml.BaseLoader)  # noqa: S506 (it makes fewer kinds of things than the safe one)
        except (yaml.YAMLError, ValueError, RecursionError):
            loaded = None  # such as a colon in a title
    if isinstance(loaded, dict):
        return {str(key).lower(): value for key, value in loaded.items() if isinstance(value, str)}
    return {key.lower(): value.strip().strip("\"'") for key, value in FIELD.findall(text)}


def _inline(text: str) -> str:
    text = SMALL.sub(lambda match: (raised if match[1].lower() == "sup" else lowered)(match[2]), text)
    text = LINK.sub(_linked, fractions(text))
    text = CODE.sub(r"\2", TAG.sub(" ", text))
    text = EMPHASIS.sub(r"\2", EMPHASIS.sub(r"\2", text))
    text = NOTED.sub(r" [\1]", text)
    return re.sub(r"[ \t]+", " ", ESCAPE.sub(r"\1", text)).strip()


def _linked(link: re.Match[str]) -> str:
    address = link[3].strip()
    if link[1]:
        return link[2]  # what stands below a picture
    return f"{link[2]} ({address})" if address.startswith("http") and " " not in address else link[2]


def _cells(line: str) -> list[str]:
    return [_inline(cell) for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))]


def _without_comments(text: str) -> str:
    first, *rest = text.split("<!--")
    # An opening without an end is text.
    return first + "".join(part.partition("-->")[2] if "-->" in part else f"<!--{part}" for part in rest)


class _Markdown:
    """Reads lines of Markdown into blocks."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._blocks = Blocks()
        self._table: list[list[Cell]] = []
        self._fenced = False

    def read(self) -> list[str]:
        """Return the blocks."""
        at = 0
        while at < len(self._lines):
            at = self._read_from(at)
        self._end_table()
        self._blocks.close()
        return self._blocks.lines

    def _read_from(self, at: int) -> int:
        """Read the block or line that begins here; return where the next one does."""
        line = re.sub(r"^\s*(>\s?)+", "", self._lines[at])
        below = re.sub(r"^\s*(>\s?)+", "", self._lines[at + 1]) if at + 1 < len(self._lines) else ""
        if FENCE.match(line):
            self._end_table()
            self._fenced = not self._fenced
            self._blocks.close()
        elif self._fenced:
            self._blocks.whole(line.strip())
        elif (found := HTML.match(line)) and not self._table:
            return self._html(at, found[1].lower())
        elif "|" in line and (self._table or ("|" in below and TABLE_RULE.match(below))):
            self._row(line)
        else:
            self._end_table()
            self._line(line)
        return at + 1

    def _row(self, line: str) -> None:
        self._blocks.close()
        if not TABLE_RULE.match(line):
            self._table.append([Cell(text) for text in _cells(line)])

    def _end_table(self) -> None:
        """Write a table; Markdown makes a header of the first row of every one, also where it is a row like others."""
        for line in read_rows(self._table) if self._table else ():
            self._blocks.whole(line)
        self._table = []

    def _html(self, at: int, tag: str) -> int:
        """Read what is written in HTML: up to the end of its table, or to the next empty line."""
        end = at
        opened = closed = 0
        while end < len(self._lines):
            line = self._lines[end].lower()
            opened, closed = opened + line.count(f"<{tag}"), closed + line.count(f"</{tag}")
            if opened <= closed or (not line.strip() and tag != "table"):
                break
            end += 1
        self._blocks.close()
        found = html_blocks(parsed("\n".join(self._lines[at : end + 1])))
        for line in found:
            self._blocks.whole(_inline(line))
        return end + 1

    def _line(self, line: str) -> None:
        if heading := HEADING.match(line):
            title = _inline(heading[2].strip().rstrip("#"))
            self._blocks.whole(f"{heading[1]} {title}" if title else "")
        elif not line.strip() or RULE.match(line):
            self._blocks.close()
        elif item := ITEM.match(line):
            self._blocks.close()
            marker = item[2] if item[2][0].isdigit() else "-"
            self._blocks.open = [f"{marker} {_inline(item[3])}"]
        else:
            self._blocks.open.append(_inline(NOTE.sub(r"[\1] ", line)))


def plain_markdown(text: str) -> str:
    """Return one block a line, without inline markup."""
    return "\n".join(line for line in _Markdown(_without_comments(text).split("\n")).read() if line.strip())
