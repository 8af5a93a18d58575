"""Files that are small and cost much to read, each made here: none is stored."""

import io
import zlib
from collections.abc import Callable, Iterable
from zipfile import ZIP_DEFLATED, ZipFile

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)


def docx(document: bytes, **others: bytes) -> bytes:
    """Return a Word document with this main part."""
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        archive.writestr("word/document.xml", document)
        for name, content in others.items():
            archive.writestr(f"word/{name}.xml", content)
    return stream.getvalue()


def body(content: str, before: str = "") -> bytes:
    """Return a main part of Word."""
    return f'<?xml version="1.0"?>{before}<w:document xmlns:w="{WORD}"><w:body>{content}</w:body></w:document>'.encode()


def paragraph(text: str) -> str:
    """Return one paragraph of it."""
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def entities(encoding: str = "utf-8") -> bytes:
    """A text of 60 kB that is used 90 times."""
    declared = f'<!DOCTYPE d [<!ENTITY e "{"<!--" * 15_000}">]>'
    return docx(body(paragraph("&e;" * 90), declared).decode().encode(encoding))


def pdf(objects: Iterable[bytes], pages: bytes = b"/Kids [3 0 R] /Count 1") -> bytes:
    """Return a file of these objects, from the third on: a page comes first."""
    whole = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages " + pages + b" >>", *objects]
    out, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(whole, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(whole) + 1)
    return (
        out
        + head
        + table
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (
            len(whole) + 1,
            len(out),
        )
    )


def stream(content: bytes, entries: bytes = b"", packed: bool = False) -> bytes:
    """Return a stream of a PDF."""
    if packed:
        content, entries = zlib.compress(content), entries + b" /Filter /FlateDecode"
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (entries, len(content), content)


def page(contents: int, resources: bytes = b"") -> bytes:
    """Return a page of A4."""
    kept = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R /Resources << %b >> >>"
    return kept % (contents, resources)


DRAWN = b"/XObject << /F 5 0 R >>"
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def nested_forms(calls: int = 10, levels: int = 11) -> bytes:
    """Each form draws the next one ten times."""
    forms = [page(4, DRAWN), stream(b"/F Do " * calls)]
    for level in range(levels):
        inner = b"/Resources << /XObject << /F %d 0 R >> >>" % (6 + level)
        last = level == levels - 1
        own = stream(b"/F Do " * calls, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] " + inner)
        text = stream(b"BT /T 9 Tf (x) Tj ET", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
        forms.append(text if last else own)
    return pdf(forms)


def packed_text(size: int) -> bytes:
    """A page whose text unpacks to so many bytes."""
    line = b"BT /F1 9 Tf 10 10 Td (The pump leaks.) Tj ET\n"
    content = stream(line * (size // len(line)), packed=True)
    return pdf([page(4, b"/Font << /F1 5 0 R >>"), content, FONT])


def strokes(count: int) -> bytes:
    """A page of so many lines, of which every pair may be the edge of a table."""
    drawn = b"".join(b"%d 0 m %d 800 l S 0 %d m 500 %d l S\n" % (x % 500, x % 500, x, x) for x in range(count))
    return pdf([page(4), stream(drawn, packed=True)])


def merged_keys(levels: int = 9) -> bytes:
    """Each level of the front matter takes the level before nine times."""
    lines = ["---", "a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, levels)]
    return "\n".join([*lines, "---", "The pump turns."]).encode()


def renamed() -> bytes:
    """Entities in a main part that is named like a picture: the relations alone say what it is."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(entities())) as given, ZipFile(out, "w", ZIP_DEFLATED) as made:
        for part in given.namelist():
            content = given.read(part).replace(b"word/document.xml", b"word/document.png")
            made.writestr(part.replace("document.xml", "document.png"), content)
    return out.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "entities.docx": entities,
    "entities-16.docx": lambda: entities("utf-16"),
    "renamed.docx": renamed,
    "paragraphs.docx": lambda: docx(body("<w:p/>" * 200_000)),
    "elements.docx": lambda: docx(body("<w:p/>" * 5_000_000)),
    "nested.docx": lambda: docx(body("<w:p>" * 50_000 + "</w:p>" * 50_000)),
    "table.docx": lambda: docx(body("<w:tbl>" + "<w:tr>" + "<w:tc><w:p/></w:tc>" * 60_000 + "</w:tr></w:tbl>")),
    "bomb.docx": lambda: docx(body(paragraph("The pump leaks. " * 16_000_000))),
    "beside.docx": lambda: docx(body(paragraph("It leaks.")), styles=b"\0" * 250_000_000),
    "comments.html": lambda: b"<!--" * 40_000,
    "anchors.html": lambda: b"<a" * 100_000,
    "attributes.html": lambda: b"<p " + b"a=" * 200_000 + b">It leaks.",
    "deep.html": lambda: b"<div>" * 300_000 + b"It leaks.",
    "tags.html": lambda: b"<b>It leaks.</b>" * 600_000,
    "declared.html": lambda: b"<!DOCTYPE " + b"[" * 200_000,
    "spans.html": lambda: b"<table>" + b"<tr><td colspan=1000 rowspan=1000>x" * 20_000,
    "forms.pdf": nested_forms,
    "text.pdf": lambda: packed_text(250_000_000),
    "strokes.pdf": lambda: strokes(30_000),
    "pages.pdf": lambda: pdf([page(4), stream(b"")], b"/Kids [" + b"3 0 R " * 300_000 + b"] /Count 300000"),
    "cycle.pdf": lambda: pdf([page(4, DRAWN), stream(b"/F Do"), stream(b"/F Do", b"/Subtype /Form " + DRAWN)]),
    "merges.md": merged_keys,
    "timestamp.md": lambda: b"---\ntitle: !!timestamp foo\n---\nThe pump turns.",
    "bool.md": lambda: b"---\ntitle: !!bool foo\n---\nThe pump turns.",
    "stars.md": lambda: b"*a " * 3_000_000,
    "brackets.md": lambda: b"![[" * 3_000_000,
    "quotes.txt": lambda: "«".encode() * 5_000_000,
    "arrows.md": lambda: b"> " * 5_000_000,
    "bars.md": lambda: b"|" * 2_000_000 + b"\n" + b"|-" * 1_000_000 + b"\n" + (b"|" * 1_000 + b"\n") * 2_000,
    "headings.md": lambda: b"# " + b"pump " * 100_000 + b"\n" + b"It leaks oil.\n## Part\n" * 4_000,
    "sections.md": lambda: b"# a\nb.\n" * 150_000,
    "stops.txt": lambda: b"a. " * 10_000_000,
}
