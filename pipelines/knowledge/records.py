"""Documents, passages, questions and answers, and where a quote stands in its source."""

from dataclasses import dataclass, field
from typing import Literal

from pipelines.signals.windows import Floats

Language = Literal["en", "ru"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a document; text formats have a single page 1.

    Attributes:
        confidence: How sure the machine was that read the page off a picture, 0..1; None where the file holds the text.
    """

    number: int
    text: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A source that answers can cite.

    Attributes:
        document_id: Stable; equal content under an equal name gives an equal id.
        sha256: Of the file.
        unread: Numbers of pages that show something, such as a scan, and of which no text was read.
    """

    document_id: str
    title: str
    language: Language
    pages: tuple[Page, ...]
    sha256: str
    unread: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of one page.

    Attributes:
        start: Offset of `text` in the page's text; `page.text[start:end] == text`.
        heading: The headings it stands under, outermost first, joined by ` > `.
        flag: What it attempts by giving orders; such a passage is kept, and never found. Empty for any other.
    """

    passage_id: str
    document_id: str
    title: str
    language: Language
    page: int
    start: int
    end: int
    heading: str
    text: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """What made vectors. Only those of one maker are compared.

    Attributes:
        encoder: Its name.
        dims: Length of the part by which texts of one language are compared.
        shared: Length of the part behind it in which the languages meet; 0 where there is none.
    """

    encoder: str
    dims: int
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, with its score in 0..1."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search finds.

    Attributes:
        hits: Best first.
        manual: The whole document of the first hit, in reading order, where a remedy was asked for; else empty.
    """

    hits: tuple[Hit, ...]
    manual: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a user asks.

    Attributes:
        vector: The encoder's embedding, both parts of it; None where only words count.
        made: What made the vector; None where that is the same for all.
        context: What is known of the machine asked about, in a sentence; empty where none is.
    """

    text: str
    language: Language
    limit: int
    vector: Floats | None = None
    context: str = ""
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote that stands word for word in its source: `page.text[start:end] == quote`."""

    number: int
    document_id: str
    title: str
    page: int
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True, slots=True)
class Note:
    """A safety note, word for word; `citation` is the number of its quote."""

    text: str
    citation: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a repair, word for word.

    Attributes:
        priority: 1 is to be done first.
        rationale: The cause that it cures, word for word; empty where the manual names none.
        requires_shutdown: It is work on what holds pressure or moves, or could be.
    """

    priority: int
    text: str
    citation: int
    rationale: str
    rationale_citation: int | None
    requires_shutdown: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Text with `[n]` marks, each backed by a citation, or a refusal.

    Attributes:
        grounded: Every sentence carries a citation.
        abstained: Nothing found answers the question; `reason` says so.
        degraded: A part was away, and the answer did without: the extractive engine in place of a language model or of
            the generator's replicas, words alone in place of words and vectors. `reason` says so.
        steps: Of the manual, where a remedy was asked for.
        safety: Notes of the same manual.
    """

    text: str
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    model: str
    tokens: int
    grounded: bool
    abstained: bool
    reason: str = ""
    degraded: bool = False
    steps: tuple[Step, ...] = ()
    safety: tuple[Note, ...] = ()
    milliseconds: dict[str, float] = field(default_factory=dict)
