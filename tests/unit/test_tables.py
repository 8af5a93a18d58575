"""Rules of reading tables: each row says what it is about, with column and unit, in every format."""

import pytest

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.documents import read_document
from pipelines.knowledge.ingest.formats import grid
from pipelines.knowledge.ingest.formats.grid import Cell, read_rows
from tests.unit.test_documents import docx, paragraph

HEADED = "<tr><th>Circuit</th><th>Valve</th><th>Set pressure</th></tr>"


def lines(name: str, text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return read_document(name, content).pages[0].text.split("\n")


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        # Key and value: without a header, with headings of rows, bold keys, keys side by side, text for values.
        ("<tr><td>Oil</td><td>HLP 46</td></tr><tr><td>Volume</td><td>75 l</td></tr>", ["Oil: HLP 46", "Volume: 75 l"]),
        ("<tr><th>Oil</th><td>HLP 68</td></tr><tr><th>Volume</th><td>7 l</td></tr>", ["Oil: HLP 68", "Volume: 7 l"]),
        ("<tr><td><b>Oil</b></td><td>ester</td></tr><tr><td><b>Colour</b></td><td>red</td></tr>",
         ["Oil: ester", "Colour: red"]),
        ("<tr><td>Mass</td><td>4 kg</td><td>Oil</td><td>HLP 5</td></tr>"
         "<tr><td>Flow</td><td>9 l/min</td><td>Year</td><td>2019</td></tr>",
         ["Mass: 4 kg", "Oil: HLP 5", "Flow: 9 l/min", "Year: 2019"]),
        ("<tr><td>Pump type</td><td>axial</td></tr><tr><td>Pressure</td><td>210 bar</td></tr>",
         ["Pump type: axial", "Pressure: 210 bar"]),
        ("<tr><td>Масло<td>ВМГЗ<tr><td>Объём<td>75 л<tr><td>Давление<td>16 МПа", ["Масло: ВМГЗ", "Давление: 16 МПа"]),
        ("<tr><td>Pressure</td><td>163</td><td>bar</td></tr><tr><td>Flow</td><td>12</td><td>l/min</td></tr>",
         ["Pressure: 163 bar", "Flow: 12 l/min"]),
        # A header that nothing marks.
        ("<tr><td>Part</td><td>Torque</td></tr><tr><td>Cover bolt</td><td>40 N*m</td></tr>",
         ["Part: Cover bolt; Torque: 40 N*m"]),
        ("<tr><td>Fault</td><td>Cause</td><td>Remedy</td></tr><tr><td>Noise</td><td>Air</td><td>Bleed it</td></tr>",
         ["Fault: Noise; Cause: Air; Remedy: Bleed it"]),
        # Merged cells.
        (HEADED + "<tr><td rowspan=2>Clamp</td><td>V1</td><td>90 bar</td></tr><tr><td>V2</td><td>70 bar</td></tr>",
         ["Circuit: Clamp; Valve: V1; Set pressure: 90 bar", "Circuit: Clamp; Valve: V2; Set pressure: 70 bar"]),
        ("<tr><th rowspan=2>Axis</th><th colspan=2>Pressure</th></tr><tr><th>min</th><th>max</th></tr>"
         "<tr><td>X</td><td>80 bar</td><td>120 bar</td></tr>",
         ["Axis: X; Pressure min: 80 bar; Pressure max: 120 bar"]),
        ("<tr><td rowspan=2>Axis</td><td colspan=2>Force</td></tr><tr><td>push</td><td>pull</td></tr>"
         "<tr><td>X</td><td>12 kN</td><td>9 kN</td></tr>", ["Axis: X; Force push: 12 kN; Force pull: 9 kN"]),
        ("<tr><th colspan=2>Data</th></tr><tr><td>Oil</td><td>HLP 9</td></tr><tr><td>Mass</td><td>4 kg</td></tr>",
         ["Data", "Oil: HLP 9", "Mass: 4 kg"]),
        (HEADED + "<tr><th colspan=3>Left side</th></tr><tr><td>Feed</td><td>V3</td><td>50 bar</td></tr>",
         ["Left side; Circuit: Feed; Valve: V3; Set pressure: 50 bar"]),
        # Units: in a row and in a column of their own.
        ("<tr><th>Valve</th><th>Pressure</th></tr><tr><th></th><th>bar</th></tr><tr><td>V1</td><td>90</td></tr>",
         ["Valve: V1; Pressure (bar): 90"]),
        ("<tr><th>Quantity</th><th>min</th><th>max</th><th>Unit</th></tr>"
         "<tr><td>Speed</td><td>500</td><td>1450</td><td>rpm</td></tr>",
         ["Quantity: Speed; min: 500 rpm; max: 1450 rpm"]),
        # Headings of rows and of columns.
        ("<tr><td></td><th>Pump A</th><th>Pump B</th></tr><tr><th>Flow</th><td>45 l/min</td><td>30 l/min</td></tr>",
         ["Flow; Pump A: 45 l/min; Pump B: 30 l/min"]),
        # A table in a cell.
        ("<tr><td>Circuit</td><td>Settings</td></tr><tr><td>Clamp</td><td><table><tr><th>Valve</th><th>Pressure</th></tr>"
         "<tr><td>V1</td><td>90 bar</td></tr></table></td></tr>", ["Circuit: Clamp; Valve: V1; Pressure: 90 bar"]),
    ],
)  # fmt: skip
def test_a_row_can_be_read_without_its_table(body: str, rows: list[str]) -> None:
    """Header, key, span and unit are told from each other, in a page as in Markdown that holds the same table."""
    for name, text in (("a.html", f"<table>{body}</table>"), ("a.md", f"Before.\n\n<table>{body}</table>\n\nAfter.")):
        found = lines(name, text)
        assert [row for row in rows if row not in found] == [], found


def test_a_table_of_markdown_may_have_no_header() -> None:
    """Markdown makes a header of every first row; one that holds values is a row, and an empty one is none."""
    assert lines("a.md", "| Oil | HLP 46 |\n|---|---|\n| Volume | 75 l |") == ["Oil: HLP 46", "Volume: 75 l"]
    assert lines("a.md", "| | |\n|---|---|\n| Oil | HLP 46 |\n| Volume | 75 l |") == ["Oil: HLP 46", "Volume: 75 l"]
    assert lines("a.md", "Valve | Pressure\n--- | ---\nV1 | 90 bar\n\nEnd.") == ["Valve: V1; Pressure: 90 bar", "End."]


def test_columns_of_plain_text_are_a_table() -> None:
    """Lines that gaps part alike are rows; a single one and running text are none."""
    assert lines("a.txt", "Oil:      HLP 46\nVolume:   75 l\n") == ["Oil: HLP 46", "Volume: 75 l"]
    assert lines("a.txt", "Valve\tPressure\nV1\t90 bar\nV2\t70 bar") == [
        "Valve: V1; Pressure: 90 bar",
        "Valve: V2; Pressure: 70 bar",
    ]


def word_table(*rows: str) -> bytes:
    """Make a Word document of a table, cells as `text`, `text>2` over two columns, `text^` down, `^` below it."""
    made = "".join(f"<w:tr>{''.join(map(_word_cell, row.split('|')))}</w:tr>" for row in rows)
    return docx(f"<w:tbl>{made}</w:tbl>{paragraph('The end.')}")


def _word_cell(cell: str) -> str:
    text, _, span = cell.partition(">")
    marks = f'<w:gridSpan w:val="{span}"/>' if span else ""
    if text.endswith("^"):
        marks += "<w:vMerge/>" if text == "^" else '<w:vMerge w:val="restart"/>'
    return f"<w:tc><w:tcPr>{marks}</w:tcPr>{paragraph(text.rstrip('^'))}</w:tc>"


def test_tables_of_word_are_read_as_all_others() -> None:
    """Keys, merged cells and two rows of header are told from each other without marks."""
    assert lines("a.docx", word_table("Oil|HLP 46", "Volume|75 l")) == ["Oil: HLP 46", "Volume: 75 l", "The end."]
    assert lines("a.docx", word_table("Circuit|Valve|Set pressure", "Clamp^|V1|90 bar", "^|V2|70 bar")) == [
        "Circuit: Clamp; Valve: V1; Set pressure: 90 bar",
        "Circuit: Clamp; Valve: V2; Set pressure: 70 bar",
        "The end.",
    ]
    assert lines("a.docx", word_table("Machine^|Pressure>2", "^|min|max", "GR-6|80 bar|120 bar")) == [
        "Machine: GR-6; Pressure min: 80 bar; Pressure max: 120 bar",
        "The end.",
    ]


def test_terms_of_a_list_are_keys() -> None:
    """A term and what is said of it stand in one line."""
    assert lines("a.html", "<dl><dt>Oil<dd>HLP 46<dt>Volume<dd>75 l</dl>") == ["Oil: HLP 46", "Volume: 75 l"]


def test_a_table_that_goes_on_keeps_its_titles() -> None:
    """Rows overleaf are read under the titles of the table that they continue."""
    rows = [[Cell("V1"), Cell("90 bar")], [Cell("V2"), Cell("70 bar")]]
    assert read_rows(rows, ["Valve", "Set pressure"]) == [
        "Valve: V1; Set pressure: 90 bar",
        "Valve: V2; Set pressure: 70 bar",
    ]


def test_spans_without_end_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell spans no more than a table has, and a table of more cells than any is refused."""
    body = "<tr><td colspan=60000 rowspan=60000>Oil</td></tr><tr><td>HLP 46</td></tr>"
    assert "Oil" in lines("a.html", f"<table>{body}</table><p>The end.</p>")[0]
    monkeypatch.setattr(grid, "CELLS", 50)
    with pytest.raises(InvalidInput, match="no table of more than"):
        lines("a.html", "<table>" + "<tr><td>a</td><td>b</td></tr>" * 60 + "</table>")
