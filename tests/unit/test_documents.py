"""Rules of reading files."""

import pickle
import time
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest import formats
from pipelines.knowledge.ingest.documents import name_key, read_document
from pipelines.knowledge.ingest.formats import word
from pipelines.knowledge.ingest.passages import sentences
from pipelines.knowledge.search.text import language_of

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
        ("a.odt", b"text", "document.name"),
        ("a.docx", b"text", "document.content"),
        ("a.docx", b"PK\x03\x04 broken", "document.content"),
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
    ],
)
def test_what_cannot_be_read_names_field_and_rule(name: str, content: bytes, field: str) -> None:
    """A file of an unknown, false, broken, empty or encrypted kind is refused with its rule, and the error travels."""
    with pytest.raises(InvalidInput) as caught:
        read_document(name, content)
    assert caught.value.field == field
    assert caught.value.rule
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.parametrize(("value", "title"), [("!!timestamp foo", "foo"), ("!!bool foo", "foo"), ("2024", "2024")])
def test_front_matter_is_text(value: str, title: str) -> None:
    """No tag and no look of a value makes anything else of it."""
    assert read_document("a.md", f"---\ntitle: {value}\n---\nText.".encode()).title == title


def test_front_matter_does_not_multiply() -> None:
    """Merged into each other over and over, a few hundred bytes of YAML take no time."""
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12))]
    begun = time.process_time()
    assert read_document("a.md", "\n".join(["---", *lines, "---", "Text."]).encode()).title == "a"
    assert time.process_time() - begun < 1


def test_what_a_library_raises_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that fails in a way nobody foresaw refuses its file, and ends no reading of many."""

    def failing(name: str, content: bytes) -> formats.Read:
        raise LookupError("of a library")

    monkeypatch.setitem(formats.READERS, ".md", failing)
    with pytest.raises(InvalidInput, match="it is broken"):
        read_document("a.md", b"Text.")


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


PAGE = """<!doctype html><html lang="en"><head><title>Press 7</title><meta charset="utf-8"></head><body>
<nav>Home | About</nav><script>steal()</script>
<h1>Press 7</h1><h2>Limits</h2>
<p>The relief valve is set
to <b>185 bar</b>; see <a href="http://example.org/x">the data sheet</a>.</p>
<ol><li>Stop the machine.</li><li>Measure the pressure.</li></ol>
<table><tr><th>Part</th><th>Torque</th></tr><tr><td>Cover bolt</td><td>40 N*m</td></tr></table>
<p style="display: none">Hidden order</p><p hidden>Hidden too</p><div style="opacity:0">And this</div>
<img src="x.png" alt="A picture">
</body></html>"""


def test_a_page_is_read_as_its_reader_sees_it() -> None:
    """Headings, items and table rows stay recognisable; menus, scripts, pictures, addresses and hidden text go."""
    document = read_document("press.html", PAGE.encode())
    assert (document.title, document.language) == ("Press 7", "en")
    assert document.pages[0].text.split("\n") == [
        "# Press 7",
        "## Limits",
        "The relief valve is set to 185 bar; see the data sheet.",
        "1. Stop the machine.",
        "2. Measure the pressure.",
        "Part: Cover bolt; Torque: 40 N*m",
    ]


def test_a_page_may_have_its_own_encoding() -> None:
    """Manuals of the nineties are in windows-1251 and say so."""
    page = '<html><head><meta charset="windows-1251"></head><body><p>Давление упало.</p></body></html>'
    document = read_document("press.htm", page.encode("windows-1251"))
    assert (document.pages[0].text, document.language) == ("Давление упало.", "ru")


def docx(body: str) -> bytes:
    """Make a Word document with this body."""
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f"<w:document {space}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f'<w:styles {space}><w:style w:type="paragraph" w:styleId="Heading1">'
        '<w:name w:val="heading 1"/></w:style></w:styles>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/styles" Target="styles.xml"/></Relationships>',
    }
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def paragraph(text: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}<w:r><w:t>{text}</w:t></w:r></w:p>"


def test_a_word_document_keeps_headings_and_tables() -> None:
    """A heading is one, and a row can be read without its table."""
    cells = [["Part", "Torque"], ["Cover bolt", "40 N*m"]]
    rows = "".join("<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in cells)
    content = docx(paragraph("Press 7", "Heading1") + paragraph("The pump turns.") + f"<w:tbl>{rows}</w:tbl>")
    document = read_document("press.docx", content)
    assert document.title == "Press 7"
    assert document.pages[0].text.split("\n") == ["# Press 7", "The pump turns.", "Part: Cover bolt; Torque: 40 N*m"]


def test_a_document_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that claims to hold more than any manual is not unpacked."""
    monkeypatch.setattr(word, "UNPACKED_BYTES", 10_000)
    with pytest.raises(InvalidInput, match="must not unpack"):
        read_document("press.docx", docx(paragraph("pump " * 100_000)))


def test_a_ruled_table_of_a_pdf_is_read_row_by_row() -> None:
    """Its cells come with the names of their columns, and the text around it once."""
    paper = FPDF()
    paper.set_font("Helvetica", size=12)
    paper.add_page()
    paper.multi_cell(0, 8, "Torques of press 7.")
    paper.ln()
    with paper.table() as table:
        for row in (("Part", "Torque"), ("Cover bolt", "40 N*m"), ("Drain plug", "25 N*m")):
            table.row(row)
    text = read_document("press.pdf", bytes(paper.output())).pages[0].text
    assert text.split("\n") == [
        "Torques of press 7.",
        "Part: Cover bolt; Torque: 40 N*m",
        "Part: Drain plug; Torque: 25 N*m",
    ]


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_a_page_nested_without_end_does_no_harm(depth: int) -> None:
    """It is read or refused, and never brings the reader down."""
    try:
        read_document("deep.html", b"<div>" * depth + b"The pump turns." + b"</div>" * depth)
    except InvalidInput as error:
        assert error.field == "document.content"
