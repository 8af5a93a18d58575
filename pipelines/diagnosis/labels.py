"""Brings together what members say that were trained on labels of a tenant's own: one family, one set of components."""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.detectors.bundle import MemberVotes
from pipelines.machines.family import Family
from pipelines.machines.labelling import Label, with_labels


def labelled(family: Family, votes: Mapping[str, MemberVotes]) -> tuple[Family, dict[str, MemberVotes]]:
    """Return a family with the components that its members name, and the votes on these.

    Versions may have been trained on labels of different days. Where two know other grades of one component, the first
    in the order of answers is heard, and the other says nothing of it.
    """
    known: dict[str, Label] = {}
    for member in votes.values():
        for label in member.labels:
            known.setdefault(label.component, label)
    heard = {
        name: replace(
            member,
            heads={each.head: member.heads[each.head] for each in member.labels if _speaks(each, member, known)},
        )
        if member.labels
        else member
        for name, member in votes.items()
    }
    return with_labels(family, tuple(known[name] for name in sorted(known))), heard


def _speaks(label: Label, member: MemberVotes, known: Mapping[str, Label]) -> bool:
    return label.head in member.heads and known[label.component].grades == label.grades
