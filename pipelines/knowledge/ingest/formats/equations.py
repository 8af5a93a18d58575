"""Equations in one line: fractions with a stroke, exponents raised, indexes lowered."""

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element as Node

from pipelines.knowledge.ingest.formats.blocks import lowered, raised, spaced
from pipelines.knowledge.ingest.formats.styles import Element
from pipelines.knowledge.ingest.formats.tree import text_of

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
UNSEEN = frozenset(("annotation", "annotation-xml"))


def mathml(element: Element) -> str:
    """Write an equation of a web page."""
    parts = [mathml(one) for one in element.children if isinstance(one, Element) and one.tag not in UNSEEN]
    if written := _of(element.tag, parts):
        return written
    return "".join(parts) if parts else spaced(text_of(element))


def _of(tag: str, parts: list[str]) -> str:
    match tag, parts:
        case "mfrac", [above, below]:
            return fraction(above, below)
        case "msup", [base, exponent]:
            return base + raised(exponent)
        case "msub", [base, index]:
            return base + lowered(index)
        case "msubsup", [base, index, exponent]:
            return base + lowered(index) + raised(exponent)
        case "msqrt", _:
            return f"√({''.join(parts)})"
    return ""


def fraction(above: str, below: str) -> str:
    """Write a fraction, what is no single term in brackets."""
    return "/".join(term if re.fullmatch(r"[\w.,]*", term) else f"({term})" for term in (above, below))


def omml(node: Node) -> str:
    """Write an equation of Word."""
    tag = node.tag.removeprefix(M)
    if tag == "t":
        return node.text or ""
    if tag in _WRITTEN:
        part = {child.tag.removeprefix(M): child for child in node}
        return _WRITTEN[tag](lambda name: omml(part[name]) if name in part else "", node)
    return "".join(omml(child) for child in node)


def _delimited(node: Node) -> str:
    return f"({', '.join(omml(child) for child in node if child.tag == f'{M}e')})"


def _sign(node: Node) -> str:
    return next((child.get(f"{M}val", "") for child in node.iter(f"{M}chr")), "∫")


_Part = Callable[[str], str]
_WRITTEN: dict[str, Callable[[_Part, Node], str]] = {
    "f": lambda of, _: fraction(of("num"), of("den")),
    "sSup": lambda of, _: of("e") + raised(of("sup")),
    "sSub": lambda of, _: of("e") + lowered(of("sub")),
    "sSubSup": lambda of, _: of("e") + lowered(of("sub")) + raised(of("sup")),
    "rad": lambda of, _: f"√({of('e')})",
    "d": lambda _, node: _delimited(node),
    "nary": lambda of, node: f"{_sign(node)}{lowered(of('sub'))}{raised(of('sup'))} {of('e')}",
}
