"""Rules of reading manuals in PDF, of documents in Word and on the web, and of the files of readers that failed."""

import re
import struct
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from fpdf import FPDF
from fpdf.drawing import PaintedPath
from fpdf.enums import TextMode
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    TextStringObject,
)
from pypdfium2 import PdfDocument

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.documents import read_document, remarks
from pipelines.knowledge.ingest.formats.pdf import reading, signs
from pipelines.knowledge.ingest.formats.pdf.recognition import engine
from pipelines.knowledge.records import Document
from tests.unit.test_documents import docx, paragraph

CASES = Path(__file__).parents[3] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the files that failed (../shared/cases) are not here")

SENTENCE = "Bearing {0} of hammer HM-8 is greased with {1} grams after every {2} hours of work at the anvil of it."


class Paper(FPDF):
    """A manual under work, with a head and a foot where they are asked for."""

    def __init__(self, head: str = "", foot: str = "") -> None:
        super().__init__()
        self.head, self.foot = head, foot
        self.set_font("Helvetica", size=11)

    def header(self) -> None:
        if self.head:
            self.cell(0, 6, self.head)
            self.ln(10)

    def footer(self) -> None:
        if self.foot:
            self.set_y(-15)
            self.cell(0, 10, self.foot.format(self.page_no()), align="C")

    def put(self, x: float, y: float, text: str) -> None:
        """Print a line at a place in millimetres."""
        self.text(x, y, text)

    def table_of(self, rows: Sequence[Sequence[str]], width: float = 45, height: float = 8) -> None:
        """Print cells with lines around each."""
        for row in rows:
            for text in row:
                self.cell(width, height, text, border=1)
            self.ln(height)

    def read(self, name: str = "a.pdf") -> Document:
        return read_document(name, bytes(self.output()))


def paper(head: str = "", foot: str = "") -> Paper:
    made = Paper(head, foot)
    made.add_page()
    return made


def text_of(document: Document) -> str:
    return "\n".join(page.text for page in document.pages)


def sentences_of(count: int) -> list[str]:
    return [SENTENCE.format(number, number + 3, number + 100) for number in range(count)]


@pytest.mark.parametrize("columns", [2, 3])
def test_columns_are_read_one_after_the_other(columns: int) -> None:
    """Whatever stands beside it, a column is read to its end; a title over all of them comes first."""
    made = paper()
    made.set_font("Helvetica", size=18)
    made.cell(0, 10, "Hammer HM-8")
    made.ln(14)
    made.set_font("Helvetica", size=9)
    told = sentences_of(12 * columns)
    with made.text_columns(text=" ".join(told), ncols=columns, gutter=8, balance=True):
        pass
    page = made.read().pages[0].text
    assert page.startswith("# Hammer HM-8\n")
    places = [page.find(one) for one in told]
    assert -1 not in places
    assert places == sorted(places)


def test_heads_feet_and_numbers_of_pages_are_no_text() -> None:
    """They go, and a sentence over the break is one, on the page on which it begins."""
    made = paper("Hammer HM-8 service manual, edition 4", "Page {} of 3")
    told = sentences_of(70)
    made.multi_cell(0, 6, " ".join(told))
    document = made.read()
    assert len(document.pages) > 1
    assert "edition" not in text_of(document)
    assert "Page" not in text_of(document)
    lines = [line for page in document.pages for line in page.text.split("\n")]
    assert [one for one in told if not any(one in line for line in lines)] == []


def test_what_changes_from_page_to_page_is_text() -> None:
    """The first line of each page is one, also where they differ by a value alone."""
    made = Paper()
    for number in (1, 2, 3):
        made.add_page()
        made.multi_cell(0, 8, f"Press {number} is set to {100 + 20 * number} bar.")
    assert [page.text for page in made.read().pages] == [f"Press {n} is set to {100 + 20 * n} bar." for n in (1, 2, 3)]


@pytest.mark.parametrize("again", [False, True])
def test_a_table_that_goes_on_overleaf_keeps_its_header(again: bool) -> None:
    """Printed again or not, the header names each value, and no valve gets the pressure of another."""
    made = paper()
    rows = [(f"V{number}", f"Station {number}", f"{60 + number} bar") for number in range(50)]
    header = ("Valve", "Function", "Set pressure")
    made.multi_cell(0, 8, "Relief valves of line 9.")
    made.ln()
    made.table_of([header, *rows[:25]])
    made.add_page()
    made.table_of([header, *rows[25:]] if again else rows[25:])
    document = made.read()
    assert [page.text.count("Valve: ") for page in document.pages] == [25, 25]
    found = text_of(document).split("\n")
    assert found[1:] == [f"Valve: {v}; Function: {f}; Set pressure: {p}" for v, f, p in rows]


def test_tables_without_lines_are_rows() -> None:
    """Keys with values, and columns under a header, are told by where they stand; text between them is text."""
    made = paper()
    for at, row in enumerate((("Oil", "HLP 22"), ("Tank volume", "85 l"), ("Relief pressure", "141 bar"))):
        for x, text in zip((20, 80), row, strict=True):
            made.put(x, 40 + 6 * at, text)
    made.put(20, 70, "The following torques hold for dry threads on the cylinder of saw SW-2.")
    screws = (("Screw", "Size", "Torque"), ("Cover", "M8", "25 Nm"), ("Flange", "M10", "49 Nm"))
    for at, cells in enumerate(screws):
        for x, text in zip((20, 80, 120), cells, strict=True):
            made.put(x, 85 + 6 * at, text)
    assert made.read().pages[0].text.split("\n") == [
        "Oil: HLP 22",
        "Tank volume: 85 l",
        "Relief pressure: 141 bar",
        "The following torques hold for dry threads on the cylinder of saw SW-2.",
        "Screw: Cover; Size: M8; Torque: 25 Nm",
        "Screw: Flange; Size: M10; Torque: 49 Nm",
    ]


def test_lines_between_rows_alone_make_a_table() -> None:
    """As tables in books have them: above and below the header, and at the end."""
    made = paper()
    for at, row in enumerate((("Parameter", "Value", "Unit"), ("Case pressure", "2", "bar"), ("Speed", "1450", "rpm"))):
        for x, text in zip((20, 52, 66), row, strict=True):
            made.put(x, 40 + 6 * at, text)
    for y in (35, 42, 55):
        made.line(20, y, 80, y)
    assert made.read().pages[0].text.split("\n") == [
        "Parameter: Case pressure; Value: 2 bar",
        "Parameter: Speed; Value: 1450 rpm",
    ]


def test_a_bar_below_each_row_makes_a_table() -> None:
    """As browsers print them: the header has a bar below it alone."""
    made = paper()
    made.put(20, 30, "Settings of crane CR-5 at the time of its acceptance by the buyer.")
    for at, row in enumerate((("Valve", "Use", "Setting"), ("K1", "Boom up", "180 bar"), ("K2", "Slew", "120 bar"))):
        for x, text in zip((20, 50, 80), row, strict=True):
            made.put(x, 45 + 8 * at, text)
        made.line(18, 47 + 8 * at, 110, 47 + 8 * at)
    assert made.read().pages[0].text.split("\n") == [
        "Settings of crane CR-5 at the time of its acceptance by the buyer.",
        "Valve: K1; Use: Boom up; Setting: 180 bar",
        "Valve: K2; Use: Slew; Setting: 120 bar",
    ]


def test_boxes_and_frames_are_no_tables() -> None:
    """A warning in a box stands once, steps inside a drawing frame keep their lines, and its title block is a row."""
    made = paper()
    made.rect(10, 10, 190, 270)
    made.rect(10, 262, 190, 18)
    made.line(100, 262, 100, 280)
    made.put(14, 270, "Drawing 4711-A")
    made.put(104, 270, "Scale 1:5")
    for at, text in enumerate(("1. Open valve BV2.", "2. Start the pump for two seconds.", "3. Check the rotation.")):
        made.put(20, 40 + 6 * at, text)
    made.rect(20, 70, 120, 12)
    made.put(24, 77, "Never run stand K9 below 12 degrees.")
    assert made.read().pages[0].text.split("\n") == [
        "1. Open valve BV2.",
        "2. Start the pump for two seconds.",
        "3. Check the rotation.",
        "Never run stand K9 below 12 degrees.",
        "Drawing 4711-A: Scale 1:5",
    ]


def test_sideways_text_is_read_its_own_way() -> None:
    """A line up the margin is a block of its own, and a table on its side is a table."""
    made = paper()
    made.put(30, 40, "The crane CN-1 lifts with 96 bar.")
    with made.rotation(90, 15, 200):
        made.put(15, 200, "The gear of CN-1 is tested with 120 bar.")
    made.add_page()
    with made.rotation(90, 105, 148):
        for at, row in enumerate((("Valve", "Set pressure"), ("K1", "55 bar"), ("K2", "65 bar"))):
            for x, text in zip((60, 110), row, strict=True):
                made.rect(x, 100 + 8 * at, 50, 8)
                made.put(x + 2, 105 + 8 * at, text)
    document = made.read()
    assert document.pages[0].text.split("\n") == [
        "The crane CN-1 lifts with 96 bar.",
        "The gear of CN-1 is tested with 120 bar.",
    ]
    assert document.pages[1].text.split("\n") == ["Valve: K1; Set pressure: 55 bar", "Valve: K2; Set pressure: 65 bar"]


def small(made: Paper, text: str, rise: float) -> None:
    """Print small signs above or below the line."""
    x, y = made.get_x(), made.get_y()
    made.set_font_size(6)
    made.set_xy(x, y - rise)
    made.cell(made.get_string_width(text), 8, text)
    made.set_font_size(11)
    made.set_xy(x + made.get_string_width(text) * 6 / 11, y)


def test_exponents_indexes_and_fractions_are_no_figures_of_the_line() -> None:
    """10⁻³ is not 10-3, 12 cm² not 12 cm2, CO₂ has its index, and 3/8 inch is no 38."""
    made = paper()
    made.c_margin = 0
    for part in ("The leak is 4.2 x 10", "^-3", " l/min through 12 cm", "^2", " and CO", "_2", " escapes."):
        if part[0] in "^_":
            small(made, part[1:], 1.4 if part[0] == "^" else -0.8)
        else:
            made.cell(made.get_string_width(part), 8, part)
    assert made.read().pages[0].text == "The leak is 4.2 x 10⁻³ l/min through 12 cm² and CO₂ escapes."


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("10<sup>-3</sup> m<sup>3</sup>", "10⁻³ m³"),
        ("3<sup>1</sup>/<sub>2</sub> inch", "3 1/2 inch"),
        ("CO<sub>2</sub>, p<sub>max</sub>, 1<sup>st</sup> gear, 5 &frac12; h", "CO₂, p_max, 1st gear, 5 ½ h"),
        ("<math><mfrac><mi>F</mi><mi>A</mi></mfrac><mo>=</mo><msup><mn>10</mn><mn>5</mn></msup></math>", "F/A=10⁵"),
    ],
)
def test_small_signs_of_pages_and_markdown_keep_their_meaning(text: str, right: str) -> None:
    """Raised, lowered and fractions, in a page and, but for formulas, in Markdown."""
    assert read_document("a.html", f"<p>{text}</p>".encode()).pages[0].text == right
    if "math" not in text and "&" not in text:
        assert read_document("a.md", text.encode()).pages[0].text == right


def test_what_a_pdf_hides_is_not_read() -> None:
    """White, half a point, off the page, invisible, transparent or painted over; white on dark is print."""
    made = paper()
    made.put(20, 20, "The drill DR-9 turns at 900 rpm.")
    made.set_text_color(255, 255, 255)
    made.put(20, 30, "Secret one 111 bar.")
    made.set_fill_color(0, 0, 90)
    made.rect(18, 36, 100, 8, style="F")
    made.put(20, 42, "The clamp of DR-9 holds 71 bar.")
    made.set_text_color(0, 0, 0)
    made.set_font_size(0.5)
    made.put(20, 50, "Secret two 222 bar.")
    made.set_font_size(11)
    made.put(-300, 60, "Secret three 333 bar.")
    made.put(20, 900, "Secret four 444 bar.")
    with made.local_context(text_mode=TextMode.INVISIBLE):
        made.put(20, 70, "Secret five 555 bar.")
    with made.local_context(fill_opacity=0):
        made.put(20, 80, "Secret six 666 bar.")
    made.put(20, 90, "Secret seven 777 bar.")
    made.set_fill_color(0, 0, 0)
    made.rect(18, 84, 100, 8, style="F")
    assert made.read().pages[0].text.split("\n") == [
        "The drill DR-9 turns at 900 rpm.",
        "The clamp of DR-9 holds 71 bar.",
    ]


def test_a_marker_over_text_hides_nothing() -> None:
    """What shines through an area that is painted over it is read."""
    made = paper()
    made.put(20, 40, "The clamp of DR-9 holds 71 bar.")
    made.set_fill_color(255, 240, 0)
    with made.local_context(blend_mode="Multiply"):
        made.rect(18, 34, 100, 8, style="F")
    assert made.read().pages[0].text == "The clamp of DR-9 holds 71 bar."


def with_fields(content: bytes, *fields: tuple[str, str, float]) -> bytes:
    """Put fields of a form onto the first page: kind, value, and height above the foot in points."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(content)))
    page = writer.pages[0]
    made = ArrayObject()
    for number, (kind, value, y) in enumerate(fields):
        entry = NameObject(f"/{value}") if kind == "Btn" else TextStringObject(value)
        field = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Annot"),
                NameObject("/Subtype"): NameObject("/Widget"),
                NameObject("/FT"): NameObject(f"/{kind}"),
                NameObject("/T"): TextStringObject(f"f{number}"),
                NameObject("/V"): entry,
                NameObject("/AS" if kind == "Btn" else "/DV"): entry,
                NameObject("/Rect"): ArrayObject(map(FloatObject, (200, y - 4, 300, y + 12))),
                NameObject("/F"): FloatObject(4),
            }
        )
        made.append(writer._add_object(field))  # pypdf has no other way
    page[NameObject("/Annots")] = made
    writer.root_object[NameObject("/AcroForm")] = DictionaryObject(
        {NameObject("/Fields"): made, NameObject("/NeedAppearances"): BooleanObject(True)}
    )
    stream = BytesIO()
    writer.write(stream)
    return stream.getvalue()


def test_fields_of_a_form_are_text() -> None:
    """A value stands behind its label, in the line that it was written into."""
    made = paper()
    made.put(25, 40, "Clamp pressure:")
    made.put(25, 55, "Oil:")
    made.put(25, 80, "The shaker SH-4 was accepted by the buyer.")
    point = 72 / 25.4
    height = made.h * point
    content = with_fields(
        bytes(made.output()), ("Tx", "88 bar", height - 40 * point), ("Ch", "HLP 46", height - 55 * point)
    )
    found = read_document("a.pdf", content).pages[0].text.split("\n")
    assert found == ["Clamp pressure: 88 bar", "Oil: HLP 46", "The shaker SH-4 was accepted by the buyer."]


def png(width: int, height: int, rows: Sequence[bytes]) -> BytesIO:
    """Return a grey picture, a byte a dot."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\x00" + row for row in rows))
    return BytesIO(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b""))


def scan() -> BytesIO:
    """Return a picture of a page without text."""
    return png(600, 800, [b"\xc8" * 600] * 800)


def scan_of(made: Paper) -> BytesIO:
    """Return a picture of a manual's first page."""
    with PdfDocument(bytes(made.output())) as file:
        dots = file[0].render(scale=2, grayscale=True).to_numpy()
    height, width = dots.shape[:2]
    return png(width, height, [row.tobytes() for row in dots])


def test_pages_of_which_nothing_is_read_are_named() -> None:
    """A scan is named, with a stamp on it, too; an empty page and a picture beside text are not."""
    made = paper()
    made.put(20, 20, "The boom cylinder of crane CR-3 has a bore of 125 mm.")
    made.image(scan(), 20, 30, 60)
    made.add_page()
    made.add_page()
    made.image(scan(), 0, 0, 210, 297)
    made.add_page()
    made.image(scan(), 0, 0, 210, 297)
    made.put(20, 20, "Scan 4")
    document = made.read()
    assert document.unread == (3, 4)
    assert [page.confidence for page in document.pages] == [None] * 4
    assert remarks(document) == "pages 3-4 show something and hold no text"


@pytest.mark.skipif(engine() is None, reason="Tesseract is not installed")
def test_a_scan_is_read_where_tesseract_is() -> None:
    """Its text is marked with how sure the machine was, and it is no longer named as unread."""
    printed = paper()
    printed.put(20, 40, "The hoist HS-3 is filled with 18 litres of oil.")
    printed.put(20, 60, "Its brake opens at 31 bar.")
    made = paper()
    made.put(20, 20, "The rope of hoist HS-3 is 12 mm thick.")
    made.add_page()
    made.image(scan_of(printed), 0, 0, 210, 297)
    document = made.read()
    assert document.pages[1].text.split("\n") == [
        "The hoist HS-3 is filled with 18 litres of oil.",
        "Its brake opens at 31 bar.",
    ]
    assert document.unread == ()
    assert document.pages[0].confidence is None
    assert 0.5 < (document.pages[1].confidence or 0) <= 1
    assert "pages 2 were read by machine" in remarks(document)


def test_a_scan_with_the_text_that_a_machine_read_is_text() -> None:
    """What lies invisible over the picture of itself is what the reader sees."""
    made = paper()
    made.image(scan(), 0, 0, 210, 297)
    told = sentences_of(2)
    with made.local_context(text_mode=TextMode.INVISIBLE):
        for at, one in enumerate(told):
            made.put(10, 40 + 10 * at, one)
    document = made.read()
    assert document.unread == ()
    assert document.pages[0].text.split("\n") == told


def test_a_table_without_lines_keeps_its_wrapped_cells() -> None:
    """Where gaps part the rows, lines within a row belong to their cells, though all columns have as many."""
    made = paper()
    rows = (
        (("The pump is loud", "and pulses"), ("Air enters at", "the shaft seal"), ("Tighten it", "and bleed")),
        (("The ram sinks", "when closed"), ("The piston seal", "is worn"), ("Replace the", "seal kit")),
        (("The oil foams", "in the tank"), ("The level is", "far too low"), ("Fill up to", "the mark")),
    )
    for x, title in zip((20, 60, 100), ("Fault", "Cause", "Remedy"), strict=True):
        made.put(x, 30, title)
    for at, row in enumerate(rows):
        for x, cell in zip((20, 60, 100), row, strict=True):
            for down, line in enumerate(cell):
                made.put(x, 40 + 16 * at + 5 * down, line)
    made.put(20, 100, "Call the maker of the press when none of this is of any help to you.")
    assert made.read().pages[0].text.split("\n") == [
        "Fault: The pump is loud and pulses; Cause: Air enters at the shaft seal; Remedy: Tighten it and bleed",
        "Fault: The ram sinks when closed; Cause: The piston seal is worn; Remedy: Replace the seal kit",
        "Fault: The oil foams in the tank; Cause: The level is far too low; Remedy: Fill up to the mark",
        "Call the maker of the press when none of this is of any help to you.",
    ]


def test_a_page_that_is_shown_turned_is_read_as_it_is_shown() -> None:
    """Whether the file turns the page or its text; and what was written onto it is read where it stands."""
    made = paper()
    with made.rotation(90, 105, 148):
        made.put(60, 100, "Turned one of the pump.")
        made.put(60, 110, "Turned two of the pump.")
    writer = PdfWriter(clone_from=PdfReader(BytesIO(bytes(made.output()))))
    writer.pages[0].rotate(90)
    stream = BytesIO()
    writer.write(stream)
    text = read_document("a.pdf", stream.getvalue()).pages[0].text
    assert text.split("\n") == ["Turned one of the pump.", "Turned two of the pump."]
    made = paper()
    made.put(20, 40, "The pump turns.")
    made.free_text_annotation("Box text at 31 bar.", x=20, y=60, w=80, h=10)
    made.text_annotation(x=100, y=100, text="A note of 5 bar.")
    assert made.read().pages[0].text.split("\n") == ["The pump turns.", "Box text at 31 bar.", "A note of 5 bar."]


def test_a_border_painted_as_an_area_hides_nothing() -> None:
    """Browsers draw the border of a box as an area with a hole; black text in the hole is seen."""
    made = paper()
    with made.drawing_context() as picture:
        path = PaintedPath(20, 30)
        path.horizontal_line_to(120).vertical_line_to(50).horizontal_line_to(20).close()
        path.move_to(21, 31).horizontal_line_to(119).vertical_line_to(49).horizontal_line_to(21).close()
        path.style.fill_color = "#000000"
        path.style.stroke_color = None
        path.style.intersection_rule = "evenodd"
        picture.add_item(path)
    made.put(25, 40, "Never open valve K2 under pressure.")
    assert made.read().pages[0].text == "Never open valve K2 under pressure."


def test_a_page_costs_no_more_than_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs, objects and pages are counted before they are read."""
    made = paper()
    made.multi_cell(0, 6, " ".join(sentences_of(20)))
    for module, name in ((signs, "SIGNS"), (reading, "OBJECTS"), (reading, "PAGES")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 0)
            with pytest.raises(InvalidInput, match="must not have more than"):
                made.read()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.md", "[" * 40),
        ("a.md", "**_"),
        ("a.md", "| - "),
        ("a.md", "<table>"),
        ("a.md", "![a]("),
        ("a.md", "<sup>"),
        ("a.md", "---\n"),
        ("a.md", "| a |\n|---|\n"),
        ("a.txt", ".... "),
        ("a.txt", "a:   b\n"),
        ("a.html", "<td>"),
        ("a.html", "<table><tr><td>"),
        ("a.html", "<b><p>"),
        ("a.html", "<sup>a"),
        ("a.html", "<dl><dt>"),
        ("a.html", "<!--"),
        ("a.html", "<a "),
        ("a.html", "<a b='"),
        ("a.html", "<![CDATA["),
        ("a.html", "<script>"),
        ("a.html", "</a"),
        ("a.html", "<style>a{b:c}"),
    ],
)
def test_a_file_takes_time_by_its_length(name: str, part: str) -> None:
    """Four times as much of whatever repeats takes not much more than four times as long."""

    def seconds(count: int) -> float:
        content = (part * count + " The pump turns.").encode()
        begun = time.process_time()
        with suppress(InvalidInput):
            read_document(name, content)
        return time.process_time() - begun

    seconds(100)
    first = min(seconds(1_000) for _ in range(3))
    assert min(seconds(4_000) for _ in range(3)) < max(10 * first, 1.0)


def test_boxes_equations_and_notes_of_word_are_kept() -> None:
    """A text box follows the paragraph that it hangs on, once; an equation stands in its line."""
    namespaces = " ".join(
        f'xmlns:{short}="{uri}"'
        for short, uri in (
            ("wps", "http://schemas.microsoft.com/office/word/2010/wordprocessingShape"),
            ("mc", "http://schemas.openxmlformats.org/markup-compatibility/2006"),
            ("m", "http://schemas.openxmlformats.org/officeDocument/2006/math"),
            ("v", "urn:schemas-microsoft-com:vml"),
        )
    )
    box = f"<w:txbxContent>{paragraph('DANGER: the ram drops 40 mm.')}</w:txbxContent>"
    both = (
        f"<mc:AlternateContent><mc:Choice><wps:wsp><wps:txbx>{box}</wps:txbx></wps:wsp></mc:Choice>"
        f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent>"
    )
    fraction = "<m:f><m:num><m:r><m:t>F</m:t></m:r></m:num><m:den><m:r><m:t>A</m:t></m:r></m:den></m:f>"
    formula = f"<m:oMath><m:r><m:t>p=</m:t></m:r>{fraction}<m:r><m:t>=5 bar</m:t></m:r></m:oMath>"
    body = (
        f"<w:p {namespaces}><w:r><w:t>The press BM-7.</w:t></w:r><w:r>{both}</w:r></w:p>"
        f"<w:p {namespaces}><w:r><w:t>Here</w:t></w:r>{formula}<w:r><w:t>holds.</w:t></w:r></w:p>"
    )
    assert read_document("a.docx", docx(body)).pages[0].text.split("\n") == [
        "The press BM-7.",
        "DANGER: the ram drops 40 mm.",
        "Here p=F/A=5 bar holds.",
    ]


def test_forms_and_heads_of_articles_are_read() -> None:
    """A page inside a form is a page; of the banner of a site only the title is its own, of its foot nothing."""
    body = (
        "<header><ul><li>Home</li></ul><h1>Note 15</h1></header><form><article><header><p>Needs 45 bar.</p></header>"
        "<label>Set pressure:</label><input value='194 bar'><input type=hidden value=x><button>Send</button>"
        "<select><option>HLP 32<option selected>HLP 46</select><footer>At 40 degrees.</footer></article></form>"
        "<footer>Imprint</footer>"
    )
    found = read_document("a.html", body.encode()).pages[0].text.split("\n")
    assert found == ["# Note 15", "Needs 45 bar.", "Set pressure: 194 bar HLP 46", "At 40 degrees."]


@pytest.mark.parametrize(
    "said",
    [
        "language: en_US", "title: A: b: c", "tags: [#a, #b]", "a: &x [*x]", "title: 'open", "- a\n- b",
        "language: klingon",
        "\tkey: x", "a: " + "[" * 5000, "\n".join(f"k{number}: v" for number in range(900)), "title: [", "@at: 1",
    ],
)  # fmt: skip
def test_front_matter_never_costs_the_document(said: str) -> None:
    """What cannot be understood of it is left out."""
    document = read_document("a.md", f"---\n{said}\n---\n\nThe pump LX holds 25 litres.\n".encode())
    assert document.pages[0].text == "The pump LX holds 25 litres."
    assert document.language == "en"


def test_front_matter_tells_title_and_language_however_it_is_written() -> None:
    """A colon in a title, a region behind a language, a value far down."""
    assert read_document("a.md", b"---\ntitle: Pump LX-7: filling\n---\nText.").title == "Pump LX-7: filling"
    assert read_document("a.md", b"---\nlang: ru-RU\n---\nText.").language == "ru"
    long = "\n".join(f"k{number}: value {number}" for number in range(900))
    assert read_document("a.md", f"---\n{long}\ntitle: Far\nlanguage: en-GB\n---\nТекст.".encode()).title == "Far"


def test_a_text_file_has_no_headings() -> None:
    """Lines that begin with # are text; a box of signs around a title goes."""
    found = read_document("a.txt", b"####\n# Pump TX-5 #\n# set to 115 bar\n#\n# made by X").pages[0].text
    assert found.split("\n") == ["Pump TX-5", "set to 115 bar", "made by X"]


@needs_cases
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("03-key-value-table/kv.docx", ["Oil: HLP 46", "Volume: 75 l"]),
        ("03-key-value-table/kv1.html", ["Oil: HLP 46", "Volume: 75 l", "Relief pressure: 163 bar"]),
        ("03-key-value-table/kv2.html", ["Oil: HLP 68", "Volume: 76 l", "Relief pressure: 164 bar"]),
        ("03-key-value-table/kv5.pdf", ["Oil: HLP 32", "Volume: 77 l", "Relief pressure: 165 bar"]),
        ("04-merged-cells/rowspan.html", ["Circuit: Clamp GR-5; Valve: V2; Set pressure: 70 bar"]),
        ("04-merged-cells/colspan.html", ["Machine: GR-6; Pressure min: 80 bar; Pressure max: 120 bar"]),
        ("04-merged-cells/word.docx", ["Circuit: Clamp; Valve: V2; Set pressure: 70 bar"]),
        ("12-docx-lost-text/word.docx", ["DANGER: the ram of BM-7 drops 40 mm when the hose H3 is opened.",
                                         "The force of the ram of BM-7 is F=p*A=314 kN at full pressure."]),
        ("15-html-form-header/aspnet.html", ["The shuttle valve of grinder GR-2 is replaced every 4000 hours."]),
        ("15-html-form-header/header.html", ["The hydrostatic bearing of grinder GR-3 needs 45 bar."]),
        ("16-pdf-boxes/framed.pdf", ["1. Open the ball valve BV2 of winch WH-5.",
                                     "2. Start the pump of winch WH-5 for two seconds.",
                                     "3. Check the direction of rotation of winch WH-5."]),
        ("30-pdf-form-fields/form.pdf", ["Set-up sheet of press FF-1: relief pressure: 194 bar"]),
        ("34-txt-hash/comment.txt", ["Pump TX-5", "relief valve of TX-5 is set to 115 bar", "made by X"]),
        ("28-front-matter/colon.md", ["The pump LX-7 is filled with 7 litres of oil."]),
        ("28-front-matter/lang.md", ["The pump LX-20 is filled with 20 litres of oil."]),
        ("28-front-matter/long.md", ["The pump LX-27 is filled with 27 litres of oil."]),
        ("28-front-matter/obsidian.md", ["The pump LX-25 is filled with 25 litres of oil."]),
        ("01-order-filter/table.md", ["System: Ladle tilter; Relief pressure: 141 bar"]),
    ],
)  # fmt: skip
def test_files_that_failed_are_right(name: str, right: list[str]) -> None:
    """Each of these was read wrong; the lines stand whole."""
    found = text_of(read_document(Path(name).name, (CASES / name).read_bytes())).split("\n")
    assert [line for line in right if line not in found] == [], found
    assert not any("Oil: Volume" in line for line in found)


@needs_cases
@pytest.mark.parametrize("name", ["hidden.pdf", "classhide.html", "white.html", "word.docx"])
def test_hidden_text_of_files_that_failed_is_not_read(name: str) -> None:
    """None of the values that were hidden there is in the text."""
    text = text_of(read_document(name, (CASES / "11-hidden-text" / name).read_bytes()))
    assert text
    assert re.findall(r"999|888|777|666", text) == []


@needs_cases
def test_columns_boxes_and_scans_that_failed_are_right() -> None:
    """The left column comes first, a warning stands once, and scans are named."""
    columns = text_of(read_document("a.pdf", (CASES / "02-pdf-two-columns" / "twocol.pdf").read_bytes()))
    assert columns.rindex("HLP 46 before the first start, and the level glass") < columns.index("96 bar at valve V7")
    boxes = text_of(read_document("a.pdf", (CASES / "16-pdf-boxes" / "warnbox.pdf").read_bytes()))
    assert boxes.count("Release the 230 bar accumulator") == boxes.count("Never run stand K9") == 1
    scans = read_document("a.pdf", (CASES / "18-pdf-partly-scanned" / "mixedscan.pdf").read_bytes())
    assert "125 mm" in scans.pages[0].text
    assert scans.unread == (2, 3, 4) or all(page.confidence is not None for page in scans.pages[1:] if page.text)
