"""Reads a collection of documents and queries from Parquet, or refuses it by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.errors import InvalidInput
from pipelines.knowledge.records import Language, Passage
from pipelines.knowledge.search.text import language_named, language_of

# Characters from which a document is cut before it is searched. Source: SciFact's abstracts, whole, nDCG@10 .723.
WHOLE = 4_000

Row = dict[str, Any]


def read_documents(path: Path) -> list[Passage]:
    """Read a corpus: `doc_id`, `text`, and where it has them `title` and `lang`; rows may share a `doc_id`.

    Raises:
        InvalidInput: A column is missing, or a row lacks its id or names a language that is not read.
    """
    rows = _rows(path, "corpus", "doc_id")
    return [passage for number, row in enumerate(rows, 1) for passage in _cut(number, row)]


def read_queries(path: Path) -> list[Row]:
    """Read queries: `query_id`, `text` and `lang`, which is told from the text where the file has none.

    Raises:
        InvalidInput: A column is missing, or a row lacks its id or text, has an earlier one's id, or names a language
            that is not read.
    """
    rows = _rows(path, "queries", "query_id")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if not row["text"]:
            raise InvalidInput(f"queries.text[{number}]", row["text"], "must be a question")
        if (first := seen.setdefault(row["query_id"], number)) != number:
            raise InvalidInput(f"queries.query_id[{number}]", row["query_id"], f"must be unique; row {first} has it")
    return rows


def _rows(path: Path, field: str, key: str) -> list[Row]:
    table = pq.read_table(path)
    if missing := {key, "text"} - set(table.column_names):
        raise InvalidInput(
            field, path.name, f"must have the columns {key} and text; lacks {', '.join(sorted(missing))}"
        )
    read = [name for name in (key, "title", "text", "lang") if name in table.column_names]
    rows: list[Row] = table.select(read).to_pylist()
    return [_checked(row, number, field, key) for number, row in enumerate(rows, 1)]


def _checked(row: Row, number: int, field: str, key: str) -> Row:
    """Return a row with its id as text, no text missing, and its language as ours; rows count from 1."""
    if row[key] is None or row[key] == "":
        raise InvalidInput(f"{field}.{key}[{number}]", row[key], "must be an id")
    texts = {name: "" if row.get(name) is None else row[name] for name in ("text", "title")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InvalidInput(f"{field}.{name}[{number}]", text, "must be text")
    return {key: str(row[key]), **texts, "lang": _language(row.get("lang"), texts["text"], f"{field}.lang[{number}]")}


def _language(given: object, text: str, field: str) -> Language:
    if given is None or given == "":
        return language_of(text)
    if (named := language_named(str(given))) is None:
        raise InvalidInput(field, given, "must be English or Russian, such as en, en-US, eng or ru")
    return named


def _cut(number: int, row: Row) -> Iterator[Passage]:
    """Return a document as one passage, a long one as several; `start` and `end` count in the text of its row."""
    from semantic_text_splitter import TextSplitter

    key, text = row["doc_id"], row["text"]
    parts = [(0, text)] if len(text) <= WHOLE else TextSplitter(WHOLE).chunk_indices(text)
    for start, part in parts:
        place = f"{key}:{number}:{start}"
        yield Passage(place, key, row["title"], row["lang"], 1, start, start + len(part), "", part)
