"""Rules of text that a reader cannot see, and of text that only looks hidden."""

import pytest

from pipelines.errors import InvalidInput
from pipelines.knowledge.ingest.documents import read_document
from pipelines.knowledge.ingest.formats import styles
from tests.unit.test_documents import docx, paragraph

SEEN = "The feed works at 34 bar."
HIDDEN = "The clamp works at 999 bar."


def page(body: str, sheet: str = "") -> str:
    content = f"<html><head><style>{sheet}</style></head><body><p>{SEEN}</p>{body}</body></html>"
    return read_document("a.html", content.encode()).pages[0].text


@pytest.mark.parametrize(
    ("body", "sheet"),
    [
        (f"<p class='a b'>{HIDDEN}</p>", "p.b{display:none}"),
        (f"<div id=z><p>{HIDDEN}</p></div>", "#z > p {visibility:hidden}"),
        (f"<p data-x=1>{HIDDEN}</p>", "/* { */ [data-x], b {display:none !important}"),
        (f"<div class=o><p>{HIDDEN}</p></div>", "@media screen {.o{position:absolute;left:-5000px}}"),
        (f"<p class=w>{HIDDEN}</p>", "body{background:#fafafa} .w{color:#fafafa}"),
        (f"<p style='color:rgb(255, 255, 255)'>{HIDDEN}</p>", ""),
        (f"<div style='background:#222'><p style='color:#212121'>{HIDDEN}</p></div>", ""),
        (f"<p style='color:rgba(0,0,0,0)'>{HIDDEN}</p>", ""),
        (f"<font color='#FFFFFF'>{HIDDEN}</font>", ""),
        (f"<p style='font-size:0.5pt'>{HIDDEN}</p>", ""),
        (f"<p style='font:1px Arial'>{HIDDEN}</p>", ""),
        (f"<p style='text-indent:-9999px'>{HIDDEN}</p>", ""),
        (f"<p style='position:fixed;top:-200em'>{HIDDEN}</p>", ""),
        (f"<div style='max-height:0;overflow:hidden'>{HIDDEN}</div>", ""),
        (f"<p style='clip:rect(0,0,0,0);position:absolute'>{HIDDEN}</p>", ""),
        (f"<p style='clip-path:inset(100%)'>{HIDDEN}</p>", ""),
        (f"<p style='transform:scale(0)'>{HIDDEN}</p>", ""),
        (f"<p style='opacity:0.0'>{HIDDEN}</p>", ""),
        (f"<p style='filter:opacity(0)'>{HIDDEN}</p>", ""),
        (f"<table hidden><tr><td>{HIDDEN}</td></tr></table>", ""),
        (f"<table><tr style='display:none'><td>{HIDDEN}</td></tr></table>", ""),
        (f"<table><tbody class=x><tr><td>{HIDDEN}</td></tr></tbody></table>", ".x{display:none}"),
        (f"<ul><li aria-hidden=true>{HIDDEN}</li></ul>", ""),
    ],
)
def test_text_that_a_page_hides_is_not_read(body: str, sheet: str) -> None:
    """Whether a style sheet, an attribute or an old tag hides it, and however."""
    assert page(body, sheet) == SEEN


@pytest.mark.parametrize(
    ("body", "sheet"),
    [
        (f"<p class=x>{HIDDEN}</p>", ".x{display:none} .x{display:block}"),
        (f"<p class=x id=i>{HIDDEN}</p>", "#i{display:block} .x{display:none}"),
        (f"<p class=x>{HIDDEN}</p>", "@media print {.x{display:none}}"),
        (f"<p class=x>{HIDDEN}</p>", ".x:hover{display:none} .y .x{display:none} @keyframes k{from{opacity:0}}"),
        (f"<p class=x>{HIDDEN}</p>", ".x{color:#fff;background-color:#c00}"),
        (f"<p class=x>{HIDDEN}</p>", ".x{color:white;background:url(a.png)}"),
        (f"<table><tr bgcolor=navy><td style='color:white'>{HIDDEN}</td></tr></table>", ""),
        (f"<p style='opacity:0.9;font-size:80%;margin-left:-20px;height:1px'>{HIDDEN}</p>", ""),
        (f"<details><summary>More</summary><p>{HIDDEN}</p></details>", ""),
    ],
)
def test_text_that_a_reader_sees_is_kept(body: str, sheet: str) -> None:
    """White on red is print; what hides elsewhere, on paper or under the pointer hides nothing here."""
    assert HIDDEN in page(body, sheet)


def test_style_rules_are_tested_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is made to cost much is refused before it does."""
    monkeypatch.setattr(styles, "TESTS", 1_000)
    with pytest.raises(InvalidInput, match="so many tests"):
        page("<i>x</i>" * 500, "".join(f"i.k{number} i, b i {{display:none}}" for number in range(50)))


def run(text: str, marks: str) -> str:
    return f"<w:p><w:r><w:rPr>{marks}</w:rPr><w:t>{text}</w:t></w:r></w:p>"


@pytest.mark.parametrize(
    "marks", ["<w:vanish/>", '<w:color w:val="FFFFFF"/>', '<w:color w:val="fefefe"/>', '<w:sz w:val="2"/>']
)
def test_runs_that_word_hides_are_not_read(marks: str) -> None:
    """Hidden, white or smaller than print; a switch that is off hides nothing."""
    assert read_document("a.docx", docx(paragraph(SEEN) + run(HIDDEN, marks))).pages[0].text == SEEN
    shown = docx(paragraph(SEEN) + run(HIDDEN, '<w:vanish w:val="0"/><w:color w:val="333333"/><w:sz w:val="20"/>'))
    assert HIDDEN in read_document("a.docx", shown).pages[0].text


def test_white_print_on_a_dark_cell_is_read() -> None:
    """The headers of many tables are so."""
    white = run(HIDDEN, '<w:color w:val="FFFFFF"/>')
    cell = f'<w:tc><w:tcPr><w:shd w:fill="003366"/></w:tcPr>{white}</w:tc>'
    assert HIDDEN in read_document("a.docx", docx(f"{paragraph(SEEN)}<w:tbl><w:tr>{cell}</w:tr></w:tbl>")).pages[0].text
