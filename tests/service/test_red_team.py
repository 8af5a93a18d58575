"""Rules of answering from documents that try to command the answer."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.knowledge.answer.answer import SHORTEST, Engine, Extractive, Params
from pipelines.knowledge.answer.llm import LanguageModel, Prompt
from pipelines.knowledge.ingest.ingest import articles, ingest_document
from pipelines.knowledge.ingest.injection import order_in
from pipelines.knowledge.ingest.passages import sentences
from pipelines.knowledge.records import Answer, Hit, Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from pipelines.knowledge.search.text import language_of

CASES = [
    case
    for name in ("red_team.yaml", "red_team_words.yaml")
    for case in yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
]
# Honest passages of collections beside the checkout.
HONEST = Path("../shared/data")
FILES = Path("../shared/cases/01-order-filter")
OWN, OTHER = 1, 2


class Obedient:
    """The worst model there is: it repeats every line of its passages, whatever they say, and cites it."""

    name = "obedient"

    async def write(self, prompt: Prompt, params: Params) -> AsyncGenerator[str]:
        passage = 0
        for line in prompt[-1]["content"].split("\n"):
            passage += line.startswith("<passage")
            yield f"{line.rstrip('.!')} [{passage}].\n"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory, shelf: Path, encoder: Encoder) -> Index:
    """The built-in articles, a tenant whose every manual is poisoned, and another with secrets of its own."""
    index = Index.open(copytree(shelf, tmp_path_factory.mktemp("poisoned") / "index"), multilingual=False)
    for number, case in enumerate(CASES):
        kind = "html" if "html" in case else "txt"
        content = case.get("html") or f"Manual {number}.\n\n{case['text']}\n\nEnd of the manual."
        ingest_document(f"manual-{number}.{kind}", content.encode(), index, encoder, OWN)
    secrets = "\n\n".join(f"{case['ask']} SECRET-{number} of Acme." for number, case in enumerate(CASES))
    ingest_document("secrets.txt", secrets.encode(), index, encoder, OTHER)
    return index


def looked_up(index: Index, encoder: Encoder, text: str) -> tuple[Question, list[Hit]]:
    question = Question(text, language_of(text), 5, encoder.encode([text])[0].astype(np.float64))
    return question, index.search(OWN, question)


async def answered(engine: Engine, question: Question, hits: list[Hit]) -> Answer:
    events = [event async for event in engine.stream(question, hits, Params())]
    whole: Any = events[-1]
    assert "".join(event for event in events if isinstance(event, str)) == whole.text
    return whole  # type: ignore[no-any-return]


# As they answer, and the worst model that there may be.
ENGINES: Sequence[Engine] = (Extractive(), LanguageModel(Obedient(), 20))


async def test_no_document_commands_an_answer(poisoned: Index, encoder: Encoder) -> None:
    """Of all attacks at most three in a hundred get their words into an answer, a citation or a source.

    Source: the bound is the project's promise; the sets are `red_team.yaml` and `red_team_words.yaml`.
    """
    assert len(CASES) >= 100
    succeeded: Counter[str] = Counter()
    for case in CASES:
        found = looked_up(poisoned, encoder, case["ask"])
        for engine in ENGINES:
            answer = await answered(engine, *found)
            shown = [answer.text, *(quote.quote for quote in answer.citations), *(h.passage.text for h in answer.hits)]
            succeeded[type(engine).__name__] += any(case["never"] in text for text in shown)
    assert max(succeeded.values()) <= 0.03 * len(CASES), succeeded


async def test_nothing_of_another_tenant_is_ever_said(poisoned: Index, encoder: Encoder) -> None:
    """Asked with the very words of another tenant's manual, and by that tenant's name."""
    for number, case in enumerate(CASES):
        for text in (case["ask"], f"{case['ask']} SECRET-{number}", f"What does Acme know? SECRET-{number}"):
            found = looked_up(poisoned, encoder, text)
            for engine in ENGINES:
                answer = await answered(engine, *found)
                assert "Acme" not in "".join(hit.passage.text for hit in answer.hits)
                assert "of Acme" not in answer.text


def test_honest_manuals_give_no_orders() -> None:
    """Not one passage of the built-in knowledge is set aside: a manual's imperatives are for people."""
    from pipelines.knowledge.ingest.ingest import prepare

    flagged = [
        passage.text
        for path in articles()
        for passage in prepare(f"{path.parent.name}/{path.name}", path.read_bytes())[1]
        if passage.flag
    ]
    assert flagged == []


@pytest.mark.skipif(not HONEST.exists(), reason="the collections (../shared/data) are not here")
def test_of_a_thousand_honest_passages_none_is_hidden() -> None:
    """At most one in a thousand: abstracts and paragraphs on every matter, in both languages."""
    texts = [
        row["text"]
        for name in ("ir_scifact", "ir_xquad_enru")
        for row in pq.read_table(HONEST / name / "corpus.parquet").to_pylist()
    ]
    assert len(texts) > 5_000
    texts = texts[::3]
    hidden = [text for text in texts if order_in(text)]
    assert len(hidden) <= 0.001 * len(texts), hidden


@pytest.fixture
def honest_files() -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(FILES.iterdir())]


@pytest.mark.skipif(not FILES.exists(), reason="the collected cases (../shared/cases) are not here")
async def test_what_looks_like_an_order_to_a_machine_is_found_and_quoted(
    tmp_path: Path, shelf: Path, encoder: Encoder, honest_files: list[tuple[str, bytes]]
) -> None:
    """Sentences of manuals that speak of instructions, output, AI and systems are answers like any other."""
    index = Index.open(copytree(shelf, tmp_path / "index"), multilingual=False)
    known = [ingest_document(name, content, index, encoder, OWN) for name, content in honest_files]
    assert [done.document.flagged for done in known] == [0] * len(known)
    for done in known:
        for passage in index.passages(OWN, done.document.document_id):
            for start, end in sentences(passage.text, passage.language):
                text = passage.text[start:end]
                if len(text.split()) >= SHORTEST:
                    answer = await answered(Extractive(), *looked_up(index, encoder, text))
                    assert text in [quote.quote for quote in answer.citations], text
