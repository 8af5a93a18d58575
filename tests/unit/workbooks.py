"""Writes workbooks of Excel as small as they can be, to be read in tests."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from xml.sax.saxutils import escape

Cell = str | float | datetime | None
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
# The second format of cells is 22, a date with a clock.
FORMATS = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"


def letters(place: int) -> str:
    """Return the name of a column, from 0."""
    name = ""
    while place >= 0:
        name, place = chr(65 + place % 26) + name, place // 26 - 1
    return name


def _cell(value: Cell, reference: str) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        days = (value - datetime(1899, 12, 30)).total_seconds() / 86_400
        return f'<c r="{reference}" s="1"><v>{days!r}</v></c>'
    if isinstance(value, str):
        return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{reference}"><v>{value!r}</v></c>'


def rows_xml(rows: Sequence[Sequence[Cell]]) -> str:
    """Return rows as a part of a worksheet."""
    lines = (
        f'<row r="{number}">' + "".join(_cell(v, f"{letters(n)}{number}") for n, v in enumerate(row)) + "</row>"
        for number, row in enumerate(rows, 1)
    )
    return "".join(lines)


def shared_texts(texts: Sequence[str]) -> dict[str, str]:
    """Return the part of a workbook that holds texts which cells share."""
    items = "".join(f"<si><t>{escape(each)}</t></si>" for each in texts)
    return {"xl/sharedStrings.xml": f"<sst {MAIN}>{items}</sst>"}


def workbook(
    sheets: dict[str, str], merged: str = "", parts: Mapping[str, str] | None = None, declared: str = ""
) -> bytes:
    """Return a workbook; its sheets are given as XML of their rows.

    Args:
        sheets: By name.
        merged: A range of merged cells of each.
        parts: More of it, by path.
        declared: XML before each sheet.
    """
    names = list(sheets)
    ranges = f'<mergeCells count="1"><mergeCell ref="{merged}"/></mergeCells>' if merged else ""
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{SHEET}"/>'
        for n in range(1, len(names) + 1)
    )  # fmt: skip
    files = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        f"{types}</Types>",
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>'
        + "".join(f'<sheet name="{escape(s)}" sheetId="{n}" r:id="rId{n}"/>' for n, s in enumerate(names, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="rId{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(names) + 1)
        )
        + f'<Relationship Id="rId98" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>' * bool(parts)
        + f'<Relationship Id="rId99" Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f"<styleSheet {MAIN}>{FORMATS}</styleSheet>",
    }
    for number, xml in enumerate(sheets.values(), 1):
        files[f"xl/worksheets/sheet{number}.xml"] = (
            f"{declared}<worksheet {MAIN}><sheetData>{xml}</sheetData>{ranges}</worksheet>"
        )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (files | dict(parts or {})).items():
            archive.writestr(name, text)
    return file.getvalue()
