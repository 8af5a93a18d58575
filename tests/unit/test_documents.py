"""Rules of reading files."""

import pickle
from io import BytesIO

import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter

from pipelines.errors import InvalidInput
from pipelines.knowledge.documents import name_key, read_document
from pipelines.knowledge.passages import sentences
from pipelines.knowledge.words import language_of

ARTICLE = """---
title: "Pressure drop: causes"
language: en
---
# Pressure drop

A **worn pump** loses flow
when `pressure` rises, see [ISO 4413](https://example.org/4413).

<!-- not for readers -->
## Steps

1. Stop the machine.
2. Measure _pressure_ at P1;
   note the value.
   - a nested remark

| Symptom | Cause |
|---|---|
| Noise | Cavitation |
| Heat | |

> Danger: release pressure first.

```
P1 = 100 bar
```
"""


def pdf(*texts: str, password: str = "") -> bytes:
    """Make a PDF with one page a text."""
    paper = FPDF()
    paper.set_font("Helvetica", size=12)
    for text in texts:
        paper.add_page()
        paper.multi_cell(0, 8, text)
    if password:
        paper.set_encryption(owner_password="owner", user_password=password)
    return bytes(paper.output())


def test_markdown_becomes_one_readable_block_a_line() -> None:
    """Markup goes, soft breaks are joined, headings, items and table rows stay recognisable."""
    document = read_document("drop.md", ARTICLE.encode())
    assert (document.title, document.language) == ("Pressure drop: causes", "en")
    assert document.pages[0].text.split("\n") == [
        "# Pressure drop",
        "A worn pump loses flow when pressure rises, see ISO 4413 (https://example.org/4413).",
        "## Steps",
        "1. Stop the machine.",
        "2. Measure pressure at P1; note the value.",
        "- a nested remark",
        "Symptom: Noise; Cause: Cavitation",
        "Symptom: Heat",
        "Danger: release pressure first.",
        "P1 = 100 bar",
    ]


def test_an_asterisk_or_underscore_inside_words_is_kept() -> None:
    """Only emphasis is markup; part numbers and products are text."""
    text = read_document("a.md", b"Set valve_a_max to 3 * 4 bar and read PS_1 * 2.").pages[0].text
    assert text == "Set valve_a_max to 3 * 4 bar and read PS_1 * 2."


def test_the_id_is_stable_and_tells_name_and_content() -> None:
    """Equal name and content give an equal id; a change of content keeps its name part, another name does not."""
    first, again = (read_document("en/a b.md", b"Oil is hot.").document_id for _ in range(2))
    changed = read_document("en/a b.md", b"Oil is cold.").document_id
    other = read_document("en/a_b.md", b"Oil is hot.").document_id
    assert first == again
    assert first != changed
    assert name_key(first) == name_key(changed) != name_key(other)


def test_title_falls_back_to_the_first_heading_then_to_the_name() -> None:
    """A document always has a title."""
    assert read_document("pump.md", b"# The pump\n\nIt turns.").title == "The pump"
    assert read_document("pump.txt", b"It turns.").title == "pump"


def test_language_is_told_by_letters() -> None:
    """Russian with part codes and brands is Russian; numbers alone are English."""
    assert language_of("Что значит код E-104 на PumpMaster 3000 XL?") == "ru"
    assert language_of("What does the label НАСОС on the pump house mean?") == "en"
    assert language_of("104 / 3") == "en"
    assert read_document("a.txt", "Давление упало.".encode()).language == "ru"


def test_plain_text_joins_lines_broken_to_fit() -> None:
    """A paragraph set to a width is one block; a short line ends it."""
    text = "The pump turns and makes a loud noise when\nthe strainer is blocked.\nCheck it.\n\n- one\n- two\n"
    assert read_document("a.txt", text.encode()).pages[0].text.split("\n") == [
        "The pump turns and makes a loud noise when the strainer is blocked.",
        "Check it.",
        "- one",
        "- two",
    ]


def test_pdf_pages_keep_their_numbers() -> None:
    """An empty page in between does not shift the ones behind it."""
    document = read_document("manual.pdf", pdf("First the pump.", "", "Third the valve."))
    assert [page.number for page in document.pages] == [1, 2, 3]
    assert document.pages[2].text == "Third the valve."


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("a.docx", b"text", "document.name"),
        ("a", b"text", "document.name"),
        ("a.md", b"", "document.content"),
        ("a.txt", b" \n ", "document.content"),
        ("a.md", b"<!-- only a remark -->", "document.content"),
        ("a.txt", "Насос".encode("cp1251"), "document.content"),
        ("a.txt", b"a\x00b", "document.content"),
        ("a.md", pdf("A PDF."), "document.content"),
        ("a.txt", b"PK\x03\x04zip", "document.content"),
        ("a.pdf", b"plain text", "document.content"),
        ("a.pdf", b"%PDF-1.7 and nothing else", "document.content"),
        ("a.pdf", pdf("Cut off in the middle.")[:300], "document.content"),
        ("a.pdf", pdf(""), "document.content"),
        ("a.pdf", pdf("Secret.", password="p"), "document.content"),
        ("a.md", b"---\ntitle: [\n---\nText.", "document.content"),
        ("a.md", b"---\nlanguage: de\n---\nText.", "document.language"),
        ("a.md", b"---\na: " + b"[" * 5000 + b"\n---\nText.", "document.content"),
    ],
)
def test_what_cannot_be_read_names_field_and_rule(name: str, content: bytes, field: str) -> None:
    """A file of an unknown, false, broken, empty or encrypted kind is refused with its rule, and the error travels."""
    with pytest.raises(InvalidInput) as caught:
        read_document(name, content)
    assert caught.value.field == field
    assert caught.value.rule
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_a_pdf_with_an_owner_password_alone_is_read() -> None:
    """What every viewer opens without asking is not called encrypted."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf("Open to read."))))
    writer.encrypt(user_password="", owner_password="owner")
    stream = BytesIO()
    writer.write(stream)
    assert read_document("a.pdf", stream.getvalue()).pages[0].text == "Open to read."


def test_sentences_know_abbreviations_headings_and_items() -> None:
    """A stop after an abbreviation, an initial or a decimal ends nothing; a heading and an item are one each."""
    text = (
        "## Limits. Two\n1. Stop the pump. Lock it out.\nSee Fig. 3, i.e. the drain. Approx. 5 bar is right. C. A drop?"
    )
    found = [text[start:end] for start, end in sentences(text, "en")]
    assert found == [
        "Limits. Two",
        "Stop the pump. Lock it out.",
        "See Fig. 3, i.e. the drain.",
        "Approx. 5 bar is right.",
        "C. A drop?",
    ]
    text = "Замерьте давление, т.е. снимите показания (рис. 5). Норма ок. 1.5 МПа. Стоп!"
    assert [text[start:end] for start, end in sentences(text, "ru")] == [
        "Замерьте давление, т.е. снимите показания (рис. 5).",
        "Норма ок. 1.5 МПа.",
        "Стоп!",
    ]
