"""Gives a machine kind that people defined the components that labels name, and tells whether it is read as before."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from pipelines.machines.family import FAMILIES_KEPT, Component, Family, Grade, Head, by_family

# What a component and a grade may be called: as channels are, so that they can be shown and said anywhere.
CALLED = re.compile(r"^[^\W_][\w .,()/%+-]{0,63}$")
CALLED_RULE = "must begin with a letter or a digit, and have at most 64 letters, digits, spaces and .,()/%+-"
OTHER_READING = "was trained on other channels, units or window length than the family has now: train it again"


class Label(NamedTuple):
    """What one head of a trained version tells apart.

    Attributes:
        head: Its name, in the files of the version or among votes; no word of people's stands in a file name.
        component: As the label column, or feedback, calls it.
        grades: Of the component; the first is the nominal one.
    """

    head: str
    component: str
    grades: tuple[Grade, ...]


def labels_of(components: Mapping[str, Sequence[Grade]]) -> tuple[Label, ...]:
    """Return the heads that components are trained as, in the order of their names."""
    return tuple(
        Label(f"label-{place}", name, tuple(components[name])) for place, name in enumerate(sorted(components))
    )


@lru_cache(maxsize=FAMILIES_KEPT)
def with_labels(family: Family, labels: tuple[Label, ...]) -> Family:
    """Return a family that names components by its labels; its key, features and limits stay."""
    if not labels:
        return family
    same = {field: getattr(family, field) for field in Family.model_fields}
    heads = {each.head: Head(column=each.component, classes=each.grades) for each in labels}
    return Family(**same | {"heads": heads, "components": {each.component: _component(each) for each in labels}})


def _component(label: Label) -> Component:
    name, faulty = label.component, label.grades[1:]
    kinds = {grade: f"{name}: {grade}" for grade in faulty if isinstance(grade, str)}
    return Component(head=label.head, faulty=faulty, title={"en": name, "ru": name}, kind=name, kinds=kinds)


@by_family
def reading_digest(family: Family) -> str:
    """Return what tells apart how windows of a family are read: channels, units, levels and window length.

    Title, limits and severity bands may change, and what was trained before reads the same numbers still.
    """
    channels = [
        (name, each.unit, each.relation, each.typical, each.spread, each.rate_hz)
        for name, each in family.channels.items()
    ]
    return sha256(json.dumps([family.reading, family.window_s, channels]).encode()).hexdigest()[:16]
