"""What answers are worth where machines have nearly the same name: right ones, strange values, refusals."""

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.manuals import Asked, Manual, collection
from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.ingest.ingest import articles, ingest, ingest_document
from pipelines.knowledge.records import Answer, Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import BUILT_IN, Index

OWNER, SHOWN = 1, 3
NAMED = re.compile(r"^nothing found speaks of (?!it)|^в найденном нет ничего о ")


def judged(asked: Asked, answer: Answer) -> str:
    """Return what an answer is worth: right, refused, strange (of another machine), or wrong otherwise."""
    if answer.abstained:
        return "refused by name" if NAMED.search(answer.reason) else "refused"
    if asked.kind == "general":
        return "answered"
    own = f"{Path(asked.file).stem}-"
    if any(not citation.document_id.startswith(own) for citation in answer.citations):
        return "strange"
    if asked.kind in ("absent", "unsaid"):
        return "answered"
    return "right" if any(asked.value in citation.quote for citation in answer.citations) else "wrong"


def measured(seeds: range, encoder: Encoder) -> Counter[tuple[str, str]]:
    """Return how many questions of each kind got which answer, over the collections of some seeds."""
    counted: Counter[tuple[str, str]] = Counter()
    for seed in seeds:
        manuals, asked = collection(seed)
        with TemporaryDirectory(prefix="hdx-manuals-") as folder:
            index = filled(Path(folder), manuals, encoder)
            vectors = encoder.encode([each.text for each in asked])
            for each, vector in zip(asked, vectors, strict=True):
                question = Question(each.text, each.language, SHOWN, vector.astype(np.float64))
                answer = extract(question, index.search(OWNER, question))
                counted[each.kind, judged(each, answer)] += 1
    return counted


def shares(counted: Counter[tuple[str, str]]) -> dict[str, float]:
    """Return the promised shares: right, absent names answered, strange values, names refused, unsaid answered."""

    def share(kinds: tuple[str, ...], *worths: str) -> float:
        every = sum(count for (kind, _), count in counted.items() if kind in kinds)
        return sum(counted[kind, worth] for kind in kinds for worth in worths) / every

    there = ("asked", "spelled")
    return {
        "right": share(there, "right"),
        "absent": share(("absent",), "answered", "strange"),
        "strange": share((*there, "unsaid"), "strange"),
        "by name": share((*there, "general"), "refused by name"),
        "unsaid": share(("unsaid",), "answered", "strange"),
    }


def filled(folder: Path, manuals: list[Manual], encoder: Encoder) -> Index:
    """Return an index that holds manuals beside the built-in knowledge."""
    index = Index.open(folder, multilingual=False)
    ingest(articles(), index, encoder, BUILT_IN)
    for manual in manuals:
        ingest_document(manual.file, manual.content.encode(), index, encoder, OWNER)
    index.optimise(OWNER)
    return index
