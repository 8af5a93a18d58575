"""Says what a finding is called in the words of the manuals, so that its repair can be asked for."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipelines.diagnosis.components import AFFECTED
from pipelines.diagnosis.patterns import title_of
from pipelines.knowledge.records import Language
from pipelines.knowledge.search.text import stems
from pipelines.machines.family import Family

REPAIR: Mapping[Language, str] = {"en": "How to fix {fault}?", "ru": "Как устранить {fault}?"}

FAULT: Mapping[Language, str] = {"en": "a fault", "ru": "неисправность"}
CHANNELS: Mapping[str, Mapping[Language, str]] = {
    "pressure": {"en": "pressure", "ru": "давление"},
    "temperature": {"en": "temperature", "ru": "температура"},
    "flow": {"en": "flow", "ru": "расход"},
    "vibration": {"en": "vibration", "ru": "вибрация"},
    "motor_power": {"en": "motor power", "ru": "мощность двигателя"},
    "efficiency": {"en": "efficiency", "ru": "КПД"},
}


@cache
def faults() -> Mapping[str, Mapping[Language, str]]:
    """Return what each class, kind and direction is called, by language."""
    named: Mapping[str, Mapping[Language, str]] = yaml.safe_load(
        Path(__file__).parents[1].joinpath("faults.yaml").read_text(encoding="utf-8")
    )
    return named


def repair_question(findings: Mapping[str, Any], family: Family, language: Language) -> str:
    """Return the question for the repair of an anomaly.

    The likeliest component says it best, by its grade where that has a name, or by its hypothesis where no head knows
    it; without one the loudest channel does.

    Args:
        findings: An answer of detect whose prediction is an anomaly.
        family: That of the system.
        language: Of the question.
    """
    prediction = findings["prediction"]
    for name in prediction["affected_components"][:1]:
        if told := _hypothesis_of(name, findings):
            return put(faults()[told][language], title_of(family, told)[language], language)
        grade = next((found["grade"] for found in prediction["components"] if found["component"] == name), "")
        component = family.components.get(name)
        if component is None:  # as a tenant's own label calls it, with its grade where that is a word
            part = f"{name}, {grade}" if isinstance(grade, str) and grade else name
            return put(FAULT[language], part, language)
        kind = grade if grade in component.faulty and grade in faults() else component.kinds.get(grade, component.kind)
        return put(faults()[kind][language], component.title[language], language)
    named = faults().get(prediction["anomaly_type"] or "", FAULT)[language]
    channels = [part["channel"] for part in findings["attribution"] if part["contribution"] > 0][:1]
    return put(named, ", ".join(CHANNELS.get(c, {}).get(language, c) for c in channels), language)


def _hypothesis_of(component: str, findings: Mapping[str, Any]) -> str:
    """Return the fault by which physics named a component; empty where a head is sure of it."""
    sure = (found for found in findings["prediction"]["components"] if found["probability"] >= AFFECTED)
    if any(found["component"] == component for found in sure):
        return ""
    told = (each["fault"] for each in findings.get("hypotheses", ()) if each["component"] == component)
    return next(told, "")


def put(fault: str, part: str, language: Language) -> str:
    """Return the question for the repair of a fault; the part it is in is named where the fault does not say it."""
    adds = set(stems(part, language)) - set(stems(fault, language))
    return REPAIR[language].format(fault=f"{fault} ({part})" if adds else fault)
