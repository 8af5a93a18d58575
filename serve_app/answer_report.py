"""What people said of answers, together: how often they helped, what was wrong or missing, out of which document."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from serve_app.store.records import written
from serve_app.store.records_answers import Cited, Helpfulness, SpokenOf

VERDICTS: tuple[Helpfulness, ...] = get_args(Helpfulness)
NOTHING = Cited("", "nothing was cited", 0, 0, 0)


def report_of(found: Sequence[SpokenOf]) -> dict[str, Any]:
    """Return how many words there are of each verdict, the answers that did not help, and verdicts by document.

    An answer out of two documents counts once for each of them; one that cites nothing counts for a document
    whose id is empty. A share is that of the words that say `helped`, None where there are none.
    """
    return {
        **_counted(Counter(each.said.verdict for each in found)),
        "questions": [_shown(each) for each in found if each.said.verdict != "helped"],
        "documents": _by_document(found),
    }


def _counted(counts: Mapping[Helpfulness, int]) -> dict[str, Any]:
    words: dict[str, int] = {verdict: counts.get(verdict, 0) for verdict in VERDICTS}
    total = sum(words.values())
    return {**words, "words": total, "helped_share": round(words["helped"] / total, 4) if total else None}


def _shown(each: SpokenOf) -> dict[str, Any]:
    said = each.said
    return {
        "verdict": said.verdict,
        "question": each.question,
        "cited": [place._asdict() for place in each.cited],
        "abstained": each.abstained,
        "comment": said.comment,
        "actor": said.actor,
        "trace_id": str(said.trace_id),
        "created_at": written(said.created_at),
    }


def _by_document(found: Sequence[SpokenOf]) -> list[dict[str, Any]]:
    """Return verdicts by document, those that helped least often first."""
    counts: dict[str, Counter[Helpfulness]] = {}
    titles: dict[str, str] = {}
    for each in found:
        for place in {place.document_id: place for place in each.cited or [NOTHING]}.values():
            titles.setdefault(place.document_id, place.title)
            counts.setdefault(place.document_id, Counter())[each.said.verdict] += 1
    rows = [{"document_id": key, "title": titles[key], **_counted(own)} for key, own in counts.items()]
    return sorted(rows, key=lambda row: (row["helped_share"], -row["words"], row["document_id"]))
