"""Rules of cutting documents."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.documents import read_document
from pipelines.knowledge.ingest.passages import LONGEST, passages, sentences

MARKER = len("100. ")

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", "# Насос", "## Steps", "### ", "- item one. Two", "1. Stop the pump.", "| a | b |", "|---|---|", "> q"]
        ),
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=400),
        st.text("abв. ,!?*_`|#-1\n", max_size=300),
        st.integers(5, 60).map(lambda count: "The pump makes a noise. " * count),
        st.integers(100, 1500).map(lambda count: "слово " * count),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.sampled_from(["a.md", "a.txt"]))
def test_a_passage_stands_where_it_says(lines: list[str], name: str) -> None:
    """Whatever the file, `page.text[start:end] == text`, in order, without overlap, and none longer than allowed."""
    try:
        document = read_document(name, "\n".join(lines).encode())
    except InvalidInput:
        return
    pages = {page.number: page.text for page in document.pages}
    last = 0
    for passage in passages(document):
        assert pages[passage.page][passage.start : passage.end] == passage.text
        assert last <= passage.start < passage.end
        assert len(passage.text) <= LONGEST + MARKER
        last = passage.end


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_sentences_are_in_order_and_not_empty(lines: list[str]) -> None:
    """Spans of sentences never overlap, never hold white space at an end, and leave out no word but markers."""
    text = "\n".join(lines)
    last = 0
    for start, end in sentences(text, "ru"):
        assert last <= start < end
        assert text[start:end] == text[start:end].strip()
        last = end


def test_no_sentence_is_cut_and_lengths_are_even() -> None:
    """A long section is cut between sentences into passages of 600 to 1,000 characters."""
    body = " ".join(f"Sentence number {number} tells of the pump and of its drain line." for number in range(60))
    cut = passages(read_document("a.md", f"# Pump\n\n{body}".encode()))
    assert " ".join(passage.text for passage in cut) == body
    assert all(passage.text.endswith("line.") for passage in cut)
    assert all(600 <= len(passage.text) <= 1000 for passage in cut)


def test_headings_are_the_context_and_not_the_text() -> None:
    """A passage stays under one heading and names the path to it; steps keep their numbers."""
    text = "# Pump\nIt turns.\n## Wear\n### Steps\n1. Stop it.\n2. Open it.\n## Noise\nIt howls."
    cut = passages(read_document("a.md", text.encode()))
    assert [(passage.heading, passage.text) for passage in cut] == [
        ("Pump", "It turns."),
        ("Pump > Wear > Steps", "1. Stop it.\n2. Open it."),
        ("Pump > Noise", "It howls."),
    ]


def test_references_are_not_searched() -> None:
    """The list of sources of an article is no passage."""
    text = "# Pump\nIt turns.\n## Sources\n- ISO 4413\n## Источники:\n- ГОСТ 17411\n## Sources of noise\nThe pump."
    assert [passage.text for passage in passages(read_document("a.md", text.encode()))] == ["It turns.", "The pump."]


def test_a_row_of_a_table_is_one_sentence() -> None:
    """Whatever stops its cells hold, a value is never parted from the names of its columns; running text still is."""
    row = "Clamp circuit; Valve: V2; Note: Checked by M. Lee. Max. 5 min. off; Set pressure: 70 bar"
    assert [row[start:end] for start, end in sentences(row, "en")] == [row]
    text = "Stop it; then wait. The oil is hot: beware. It burns; go away."
    assert len(sentences(text, "en")) == 3
