"""What SECURITY.md and docs/asvs.md say is there is there, and nothing that is asked for is left out."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("SECURITY.md", "docs/asvs.md")
LISTS = {"API": 10, "LLM": 10}
# How many requirements of levels 1 and 2 a section has: they stand before those of level 3 in each.
# Source: OWASP Application Security Verification Standard 5.0.0; 253 of its 345 requirements.
ASVS = {
    "1": (2, 9, 11, 3, 2),
    "2": (3, 3, 4, 1),
    "3": (0, 2, 4, 6, 5, 0, 2),
    "4": (3, 1, 2, 4),
    "5": (1, 3, 2, 3),
    "6": (3, 12, 4, 4, 5, 3, 0, 4),
    "7": (3, 4, 2, 5, 2, 2),
    "8": (2, 3, 1, 1),
    "9": (3, 4),
    "10": (2, 2, 4, 11, 5, 2, 3),
    "11": (2, 3, 3, 4, 1, 1, 0),
    "12": (3, 2, 4),
    "13": (1, 5, 2, 5),
    "14": (2, 4, 3),
    "15": (3, 3, 7, 0),
    "16": (1, 5, 4, 3, 3),
    "17": (1, 4, 2),
}


def text_of(name: str) -> str:
    """Return a page's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def rows(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield requirement, answer and test of every row that has one."""
    for line in text_of(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and len(cells) == 3 and re.match(r"API|LLM|\d", cells[0]):
            yield cells[0], cells[1], cells[2]


def numbers(said: str) -> list[str]:
    """Return the requirements that a text names, `1.2.6-8` being three of them."""
    found = []
    for whole in re.findall(r"\b(?:API|LLM)\d+\b", said):
        found.append(whole)
    for section, first, last in re.findall(r"\b(\d+\.\d+)\.(\d+)(?:-(\d+)\b)?", said):
        found += [f"{section}.{number}" for number in range(int(first), int(last or first) + 1)]
    return found


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Return the names of a file's test functions, those of classes among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lacks(told: str) -> bool:
    """Tell whether a test, as the tables write it, is not there."""
    found = re.fullmatch(r"(\w+)/(\w+)::(\w+)", told)
    path = ROOT / "tests" / found[1] / f"test_{found[2]}.py" if found else None
    return found is None or path is None or not path.exists() or f"test_{found[3]}" not in functions_of(path)


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_is_there(page: str) -> None:
    """A row names a test function of the tree, or says that it has none; what is misspelt is found."""
    assert lacks("unit/security_page::nothing_of_the_kind")
    told = [test for _, _, test in rows(page) if test not in ("-", "n/a", "**not met**")]
    assert len(told) > 15
    assert [test for test in told if lacks(test)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page: str) -> None:
    """Paths in backticks are of the tree, and links lead to files, and to headings in them."""
    text = text_of(page)
    paths = [path for path in re.findall(r"`([\w.-]+(?:/[\w.-]+)+)`", text) if "." in path]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for path, heading in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", text):
        there = ((ROOT / page).parent / path).resolve()
        assert there.exists(), path
        titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not heading or heading in slugs, heading


def test_nothing_is_left_out() -> None:
    """Every risk of both lists, and every requirement of levels 1 and 2, stands in one row and in one alone."""
    risks = [f"{name}{number}" for name, count in LISTS.items() for number in range(1, count + 1)]
    told = [number for asked, _, _ in rows("SECURITY.md") for number in numbers(asked)]
    assert [re.sub(r"(?<=[MI])0(?=\d)", "", number) for number in told] == risks
    wanted = [
        f"{chapter}.{section}.{number}"
        for chapter, counts in ASVS.items()
        for section, count in enumerate(counts, 1)
        for number in range(1, count + 1)
    ]
    assert len(wanted) == 253
    assert sorted(number for asked, _, _ in rows("docs/asvs.md") for number in numbers(asked)) == sorted(wanted)


def test_what_is_not_met_is_said_twice() -> None:
    """A row that is not met is explained in the list, once, and the list explains nothing else."""
    unmet = [
        number
        for page in PAGES
        for asked, answer, test in rows(page)
        if "**not met**" in answer + test
        for number in numbers(asked)
    ]
    listed = text_of("SECURITY.md").partition("## What is not met")[2]
    assert sorted(numbers(listed)) == sorted(unmet)


def test_no_caller_names_an_address() -> None:
    """No field or parameter of the contract is an address that HDX would go to, so nobody sends it anywhere."""

    def fields(told: object, within: str = "") -> Iterator[str]:
        if isinstance(told, list):
            for part in told:
                yield from fields(part, within)
        elif isinstance(told, dict):
            if within == "properties":
                yield from told
            if told.get("format") in ("uri", "url", "iri", "hostname"):
                yield f"{within}: {told['format']}"
            if "in" in told and "name" in told:
                yield str(told["name"])
            for name, part in told.items():
                yield from fields(part, name)

    contract = json.loads((ROOT / "tests" / "contract" / "openapi.json").read_text(encoding="utf-8"))
    found = set(fields(contract))
    assert len(found) > 100
    assert [name for name in found if re.search(r"ur[il]\b|url_|href|callback|webhook|host(name)?\b", name)] == []
