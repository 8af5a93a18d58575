"""Takes the machine out of names with a path, such as `HPU2.PT101.PV`."""

import re
from collections import defaultdict
from collections.abc import Sequence

from pipelines.signals.units import read_unit

SEPARATORS = re.compile(r"\s\|\s|[./\\:](?=\S)")
# A unit behind a name, whose stroke is no path.
BRACKETS = re.compile(r"\s*[\[(][^\[\]()]{0,24}[\])]\s*$")
# Last parts of a tag that say that it is what was measured. Source: ISA-88 and usual control systems.
MEASURED = {"pv", "value", "val", "cv", "out", "meas", "av", "act", "ist", "f_cv", "pvalue", "process_value"}


def parts_of(name: str) -> tuple[str, str]:
    """Return the path of a tag and its own name."""
    parts = [part.strip() for part in SEPARATORS.split(BRACKETS.sub("", name)) if part.strip()]
    if len(parts) > 1 and parts[-1].casefold() in MEASURED:
        parts.pop()
    # A decimal or an abbreviation is no path.
    if len(parts) < 2 or any(part.isdigit() for part in parts) or read_unit(parts[-1]):
        return "", name
    return ".".join(parts[:-1]), parts[-1]


def machines_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return machine and own name of each tag, where the paths are machines; nothing where they are not.

    They are where all tags have one path, or where the same own names stand under several.
    """
    parts = {name: parts_of(name) for name in names}
    pathed = {name: part for name, part in parts.items() if part[0]}
    paths = {path for path, _ in pathed.values()}
    if not pathed or len(pathed) < len(names):
        return {}
    if len(paths) == 1:
        return pathed
    under: dict[str, set[str]] = defaultdict(set)
    for path, own in pathed.values():
        under[own].add(path)
    shared = sum(len(found) > 1 for found in under.values())
    return pathed if 2 * shared >= len(under) else {}
