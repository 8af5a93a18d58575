"""Rules of the families."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipelines.errors import UnknownFamily
from pipelines.machines.family import FOLDER, Family, family_names, read_family


def given(name: str = "rig") -> dict[str, Any]:
    """Return a family's YAML."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def test_three_families_are_shipped() -> None:
    """`generic`, `rig` and `water-loop` load under their own names; another name is refused by name."""
    assert family_names() == ("generic", "rig", "water-loop")
    assert [read_family(name).name for name in family_names()] == list(family_names())
    with pytest.raises(UnknownFamily, match="press"):
        read_family("press")


@pytest.mark.parametrize("name", family_names())
def test_ranges_and_thresholds_have_sources(name: str) -> None:
    """Every plausible range and every severity band says where it comes from, and typical levels are plausible."""
    family = read_family(name)
    assert len(family.severity.source) > 20
    assert family.severity.warning < family.severity.critical
    for channel in family.channels.values():
        assert len(channel.source) > 10
        assert channel.low < channel.typical < channel.high


def test_the_rig_does_not_diagnose_its_accumulator() -> None:
    """The accumulator is no component of the rig, and the model card's notes say why."""
    family = read_family("rig")
    assert set(family.components) == {"cooler", "valve", "pump"}
    assert "accumulator" in family.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"components": {"pump": {"head": "lid", "faulty": [1], "title": {"en": "p", "ru": "н"}, "kind": "x"}}}, "lid"),
        ({"anomaly": ["wheel"]}, "wheel"),
        ({"anomaly": []}, "label"),
        ({"colour": "red"}, "colour"),
        ({"window_s": 0}, "window_s"),
    ],
)
def test_a_broken_family_is_refused(change: dict[str, Any], words: str) -> None:
    """A reference that leads nowhere, an unknown word or a broken rule is named."""
    with pytest.raises(ValidationError, match=words):
        Family.model_validate(given() | change)


def test_the_guide_for_any_machine_tells_which_samples_are_refused() -> None:
    """Its ranges are those of the family `generic`."""
    told = (Path(__file__).parents[2] / "docs/own-machine.md").read_text(encoding="utf-8")
    words = " ".join(told.split())
    for channel in read_family("generic").channels.values():
        assert f"{channel.low:g} to {channel.high:g} {channel.unit}" in words
