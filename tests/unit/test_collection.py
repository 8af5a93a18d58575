"""Rules of collections that are searched offline: every row is read as it was meant, or refused by name."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.errors import InvalidInput
from pipelines.knowledge.answer.collection import read_documents, read_queries
from pipelines.knowledge.search.text import language_named


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.parquet"
    pd.DataFrame(rows, dtype=object).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        *(("en", "en"), ("EN", "en"), ("en-US", "en"), ("en_GB.UTF-8", "en"), ("eng", "en"), ("English", "en")),
        *((" ru ", "ru"), ("RU", "ru"), ("ru-RU", "ru"), ("rus", "ru"), ("Russian", "ru"), ("русский", "ru")),
        *(("de", None), ("english-ish", "en"), ("enx", None), ("run", None), ("", None), ("-", None)),
    ],
)
def test_languages_are_known_by_what_people_write(tag: str, language: str | None) -> None:
    """Whatever follows the language in a tag says nothing of which one it is."""
    assert language_named(tag) == language


def test_a_row_is_of_the_language_it_names_or_of_its_texts(tmp_path: Path) -> None:
    """In a corpus and in queries alike; where no language is given the text tells."""
    texts = {"eng": "Pump", "RU": "Насос", None: "Клапан", "": "Valve", "en-US": "Насос"}
    corpus = written(tmp_path, [{"doc_id": f"d {tag}", "text": text, "lang": tag} for tag, text in texts.items()])
    assert [passage.language for passage in read_documents(corpus)] == ["en", "ru", "ru", "en", "en"]
    queries = written(tmp_path, [{"query_id": f"q {tag}", "text": text, "lang": tag} for tag, text in texts.items()])
    assert [row["lang"] for row in read_queries(queries)] == ["en", "ru", "ru", "en", "en"]


def test_rows_of_one_document_are_all_there(tmp_path: Path) -> None:
    """Chunks that share a `doc_id` are passages of it, each known by an id of its own."""
    rows = [{"doc_id": "d2", "text": "Set to 185 bar."}, {"doc_id": "d2", "text": "Set to 190 bar."}]
    found = read_documents(written(tmp_path, [*rows, {"doc_id": "long", "text": "A pump. " * 1_000}]))
    assert [passage.document_id for passage in found] == ["d2", "d2", *["long"] * (len(found) - 2)]
    assert len({passage.passage_id for passage in found}) == len(found) > 3
    assert [passage.text for passage in found[:2]] == ["Set to 185 bar.", "Set to 190 bar."]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"doc_id": "b", "text": "Pumpe", "lang": "de"}, r"corpus.lang\[2\].*got 'de'"),
        ({"doc_id": "b", "text": "Pump", "lang": "7"}, r"corpus.lang\[2\].*got '7'"),
        ({"doc_id": None, "text": "Pump"}, r"corpus.doc_id\[2\].*got None"),
        ({"doc_id": "", "text": "Pump"}, r"corpus.doc_id\[2\]"),
    ],
)
def test_a_document_that_cannot_be_read_is_named_by_row(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    """Rows count from 1, and nothing of the corpus is searched without it."""
    with pytest.raises(InvalidInput, match=said):
        read_documents(written(tmp_path, [{"doc_id": "a", "text": "Pump", "lang": None}, row]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query_id": "b", "text": "Pumpe?", "lang": "de"}, r"queries.lang\[2\].*got 'de'"),
        ({"query_id": "b", "text": None}, r"queries.text\[2\]"),
        ({"query_id": "b", "text": ""}, r"queries.text\[2\]"),
        ({"query_id": "a", "text": "Valve?"}, r"queries.query_id\[2\]: must be unique; row 1 has it; got 'a'"),
    ],
)
def test_a_query_that_cannot_be_asked_is_named_by_row(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    """Two queries of one id could not be told apart in what is written."""
    with pytest.raises(InvalidInput, match=said):
        read_queries(written(tmp_path, [{"query_id": "a", "text": "Pump?", "lang": None}, row]))
