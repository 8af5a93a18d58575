"""What a page's own style sheets and attributes hide from its reader, without a browser."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipelines.errors import InvalidInput

Attributes = Mapping[str, str]
Declared = dict[str, str]

# Source: own choices; sheets of saved manuals have some hundred rules, and every test of one costs a microsecond.
RULES = 2_000
TESTS = 2_000_000
# Source: own choices: smaller type cannot be read, text this far to the left is off every screen, and colours this
# close (of 255) are one to the eye.
SMALLEST_PX = 3.0
OFF_SCREEN_PX = -400.0
ALIKE = 24

COMMENT = "/*"
WATCHED = frozenset(
    ("display", "visibility", "opacity", "filter", "font-size", "font", "color", "background", "background-color")
) | {
    *("position", "left", "right", "top", "bottom", "text-indent", "margin-left", "transform", "clip", "clip-path"),
    *("width", "height", "max-width", "max-height", "overflow"),
}
LENGTH = re.compile(r"^\s*(-?\d{0,6}(?:\.\d{0,6})?)\s*(px|pt|em|rem|ex|%|cm|mm|in|vw|vh)?\s*$")
SIZE_IN_FONT = re.compile(r"(?:^|\s)(\d{1,4}(?:\.\d{1,4})?)(px|pt|em|rem|%)(?:\s|/)")
COMPOUND = re.compile(r"[.#]?[\w-]+|\*|\[[\w-]+(?:=\"?[\w-]*\"?)?\]")
PIXELS = {"px": 1.0, "pt": 4 / 3, "cm": 37.8, "mm": 3.78, "in": 96.0, "vw": 12.0, "vh": 8.0, None: 1.0}
SIZES = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "smaller": 12.0}
COLOURS = {"white": (255, 255, 255), "snow": (255, 250, 250), "ivory": (255, 255, 240), "ghostwhite": (248, 248, 255)}
COLOURS |= {"black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "navy": (0, 0, 128)}
COLOURS |= {"gray": (128, 128, 128), "silver": (192, 192, 192), "whitesmoke": (245, 245, 245), "yellow": (255, 255, 0)}

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """How text inside an element looks; what is inherited.

    Attributes:
        colour: None where it cannot be told.
        background: None where it cannot be told, such as a picture.
    """

    colour: Colour | None = (0, 0, 0)
    background: Colour | None = (255, 255, 255)
    size_px: float = 16.0
    hidden: bool = False


class _Compound(NamedTuple):
    """One element of a selector; `direct` where the next one is its child."""

    parts: tuple[str, ...]
    direct: bool


class _Rule(NamedTuple):
    compounds: tuple[_Compound, ...]
    weight: tuple[int, int]
    declared: Declared


@dataclass
class Element:
    """What a selector can ask of an element and of those around it.

    Attributes:
        holds: Which tables and headings stand somewhere below it.
    """

    tag: str
    attributes: Attributes
    parent: "Element | None" = None
    depth: int = 0
    children: list["Element | str"] = field(default_factory=list)
    keys: frozenset[str] = frozenset()
    holds: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        keys = {self.tag, "*", *(f".{name}" for name in self.attributes.get("class", "").split()[:50])}
        keys |= {f"[{name}]" for name in self.attributes} | {f'[{k}="{v}"]' for k, v in self.attributes.items()}
        if self.attributes.get("id"):
            keys.add(f"#{self.attributes['id']}")
        self.keys = frozenset(keys)


class StyleRules:
    """The rules of a page's style sheets that may hide something."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_key: dict[str, list[_Rule]] = {}
        self._tests = 0
        count = 0
        for text in texts:
            for selectors, declared in _rules(text):
                for selector in selectors:
                    count += 1
                    if count > RULES:
                        return
                    self._add(selector, count, declared)

    def _add(self, selector: str, number: int, declared: Declared) -> None:
        if (compounds := _compounds(selector)) is None:
            return
        parts = [part for compound in compounds for part in compound.parts]
        weight = 10_000 * sum(part[0] == "#" for part in parts) + 100 * sum(part[0] in ".[" for part in parts)
        weight += sum(part[0] not in "#.[*" for part in parts)
        key = min(compounds[-1].parts, key=lambda part: "#.[".find(part[0]) % 4)
        self._by_key.setdefault(key, []).append(_Rule(compounds, (weight, number), declared))

    def declared(self, element: Element) -> Declared:
        """Return what the sheets and the element's own style say of it, the strongest last word of each property.

        Raises:
            InvalidInput: The page has more elements and rules than any page.
        """
        rules = [rule for key in element.keys for rule in self._by_key.get(key, ()) if self._fits(rule, element)]
        found: Declared = {}
        for rule in sorted(rules, key=lambda rule: rule.weight):
            found |= rule.declared
        return found | declarations(element.attributes.get("style", ""))

    def _fits(self, rule: _Rule, element: Element) -> bool:
        at: Element | None = element
        for place, compound in enumerate(reversed(rule.compounds)):
            while at is not None:
                self._tests += 1
                if self._tests > TESTS:
                    raise InvalidInput("document.content", "style", "must not need so many tests of its style rules")
                if at.keys.issuperset(compound.parts):
                    break
                at = at.parent if place and not compound.direct else None
            if at is None:
                return False
            at = at.parent
        return True


def _rules(text: str) -> Iterator[tuple[list[str], Declared]]:
    """Yield selectors and what they say of hiding; rules for printers and of animations are left out."""
    first, *others = text.split(COMMENT)
    text = first + "".join(part.partition("*/")[2] for part in others)
    counts: list[bool] = []  # by at-rule that is open, whether what stands in it is on a screen
    selector, begin = "", 0
    for brace in re.finditer("[{}]", text):
        before = text[begin : brace.start()].rpartition(";")[2].strip() if not selector else text[begin : brace.start()]
        begin = brace.end()
        if brace[0] == "{" and before.startswith("@"):
            counts.append(_shown_on_screen(before))
        elif brace[0] == "{":
            selector = before
        elif selector:
            if all(counts) and (declared := declarations(before)):
                yield [part.strip() for part in selector.split(",")], declared
            selector = ""
        elif counts:
            counts.pop()


def _shown_on_screen(rule: str) -> bool:
    return rule.startswith(("@supports", "@layer")) or (rule.startswith("@media") and "print" not in rule)


def _compounds(selector: str) -> tuple[_Compound, ...] | None:
    """Return a selector's parts; None for one that asks for more than a page at rest shows."""
    if len(selector) > 200 or any(sign in selector for sign in ":+~|"):
        return None
    found: list[_Compound] = []
    for word in selector.replace(">", " > ").split():
        if word == ">":
            if found:
                found[-1] = found[-1]._replace(direct=True)
            continue
        parts = tuple(part.replace("'", '"') if part[0] != "[" else _attribute(part) for part in COMPOUND.findall(word))
        if not parts:
            return None
        found.append(_Compound(tuple(p if p[0] in ".#[" else p.lower() for p in parts), False))
    return tuple(found) or None


def _attribute(part: str) -> str:
    name, equals, value = part.strip("[]").partition("=")
    return f'[{name}="{value.strip(chr(34))}"]' if equals else f"[{name}]"


def declarations(text: str) -> Declared:
    """Return the watched properties of a declaration block, lower case."""
    found: Declared = {}
    for one in text[:20_000].split(";"):
        name, _, value = one.partition(":")
        name = name.strip().lower()
        if name in WATCHED:
            found[name] = value.replace("!important", "").strip().lower()
    return found


def looked(element: Element, declared: Declared, inherited: Look) -> Look:
    """Return how an element looks."""
    given = element.attributes
    size = _size(declared, inherited.size_px)
    colour = declared.get("color", given.get("color", "") if element.tag == "font" else given.get("text", ""))
    look = replace(
        inherited,
        size_px=size,
        colour=_colour(colour, inherited.colour),
        background=_background(declared, given, inherited.background),
    )
    hidden = (
        "hidden" in given
        or given.get("aria-hidden") == "true"
        or size < SMALLEST_PX
        or _out_of_sight(declared)
        or _same(look.colour, look.background)
    )
    return replace(look, hidden=hidden)


def _same(colour: Colour | None, background: Colour | None) -> bool:
    if colour is None or background is None:
        return False
    return all(abs(one - other) < ALIKE for one, other in zip(colour, background, strict=True))


def _out_of_sight(declared: Declared) -> bool:
    placed = declared.get("position") in ("absolute", "fixed")
    moved = [declared.get(name, "") for name in ("text-indent", "margin-left")]
    moved += [declared.get(name, "") for name in ("left", "right", "top", "bottom")] if placed else []
    return (
        declared.get("display") == "none"
        or declared.get("visibility") in ("hidden", "collapse")
        or _number(declared.get("opacity", "1")) < 0.1
        or "opacity(0)" in declared.get("filter", "")
        or any(_pixels(value, 16) <= OFF_SCREEN_PX for value in moved)
        or bool(re.search(r"translate\w*\([^)]*-\d{4,}|scale[xy]?\(0(?:\.0+)?\)", declared.get("transform", "")[:200]))
        or _clipped(declared)
    )


def _clipped(declared: Declared) -> bool:
    box = [declared.get(name, declared.get(f"max-{name}", "")) for name in ("width", "height")]
    tiny = any(value and _pixels(value, 16) <= 1 and "%" not in value for value in box)
    clip = declared.get("clip", "").replace("px", "").replace(",", " ").split("(")[-1].strip(" )").split()
    return (
        (tiny and declared.get("overflow", "") in ("hidden", "clip"))
        or (len(clip) == 4 and set(clip) <= {"0", "1"})
        or declared.get("clip-path", "").startswith(("inset(50%", "inset(100%", "circle(0"))
    )


def _number(value: str) -> float:
    try:
        return float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        return 1.0


def _pixels(value: str, em: float) -> float:
    match = LENGTH.match(value)
    if not match or not match[1].strip("-."):
        return 0.0 if match else 10.0
    unit = match[2]
    of_type = {"em": em, "rem": 16.0, "ex": em / 2, "%": em / 100}
    return float(match[1]) * (of_type[unit] if unit in of_type else PIXELS[unit])


def _size(declared: Declared, inherited: float) -> float:
    value = declared.get("font-size", "")
    if not value and (short := SIZE_IN_FONT.search(declared.get("font", "")[:200])):
        value = short[1] + short[2]
    if not value or value in SIZES or not LENGTH.match(value):
        return SIZES.get(value, inherited)
    return _pixels(value, inherited)


def _background(declared: Declared, given: Attributes, inherited: Colour | None) -> Colour | None:
    value = declared.get("background-color") or declared.get("background") or given.get("bgcolor", "")
    if not value or value in ("transparent", "none", "inherit", "initial"):
        return inherited
    if "url(" in value or "gradient" in value:
        return None
    return _colour(value.split()[0] if "(" not in value else value, None)


def _colour(value: str, inherited: Colour | None) -> Colour | None:
    """Return a colour as red, green and blue; one that is transparent is the colour of nothing, which is white."""
    value = value.strip().lower()
    if not value or value in ("inherit", "currentcolor"):
        return inherited
    if value == "transparent":
        return (255, 255, 255)
    if value[0] == "#" and re.fullmatch(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", value):
        digits = value[1:] if len(value) > 5 else "".join(2 * digit for digit in value[1:])
        red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
        return (255, 255, 255) if len(digits) == 8 and digits[6:] < "10" else (red, green, blue)
    if match := re.fullmatch(r"(rgb|hsl)a?\(([\d.,%\s/]{1,60})\)", value):
        parts = [_number(part) for part in re.split(r"[,\s/]+", match[2].strip())]
        return _of_parts(match[1], match[2], parts)
    return COLOURS.get(value)


def _of_parts(kind: str, written: str, parts: list[float]) -> Colour | None:
    if len(parts) < 3:
        return None
    if len(parts) > 3 and parts[3] < 0.1:
        return (255, 255, 255)
    if kind == "hsl":
        return (255, 255, 255) if parts[2] > 0.95 else (0, 0, 0)
    scale = 255 if "%" in written else 1
    red, green, blue = (round(min(255, part * scale)) for part in parts[:3])
    return red, green, blue
