"""Rules of the steps of a repair: when the machine must stand still, why each is done, what is read before."""

import pytest

from pipelines.knowledge.answer.advice import advised
from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.answer.standstill import needs_standstill
from pipelines.knowledge.ingest.ingest import prepare
from pipelines.knowledge.records import Answer, Found, Hit, Question
from pipelines.knowledge.search.text import language_of


@pytest.mark.parametrize(
    "step",
    [
        "Clean the relief valve.",
        "Clean the relief valve and set it again with a calibrated gauge.",
        "Open the cover of the coupling.",
        "Adjust the chain.",
        "Correct the precharge pressure for the gas temperature.",
        "Check the suction strainer and clean it.",
        "Measure the bore and hone or replace the tube when it is scored.",
        "When the belt is slack, retension it.",
        "Grease the bearing.",
        "Hold the rag against the fitting.",
        "Never clean the valve while the machine is running.",
        "The relief valve is to be cleaned every year.",
        "Очистите предохранительный клапан.",
        "Откройте крышку муфты.",
        "Проверьте всасывающий фильтр и очистите его.",
        "Натяните цепь.",
        "Если ремень ослаб, подтяните его.",
        "Нельзя чистить клапан на работающей машине.",
    ],
)
def test_work_on_what_holds_pressure_or_moves_asks_for_a_stop(step: str) -> None:
    """And so does every step of which it is not plain that it is no such work."""
    assert needs_standstill(step, language_of(step))


@pytest.mark.parametrize(
    "step",
    [
        "Read the pressure at the gauge.",
        "Check the oil level.",
        "Listen to the pump and record the noise.",
        "Write date and precharge pressure on the accumulator.",
        "Run the machine warm and note the temperature.",
        "Adjust the relief valve while the pump is running.",
        "Clean the cooler fins during operation.",
        "Прочтите давление на манометре.",
        "Проверьте уровень масла и запишите его.",
        "Настройте клапан на работающем насосе.",
    ],
)
def test_who_only_looks_or_is_told_otherwise_need_not_stop_it(step: str) -> None:
    """Looking, listening, reading, writing, and what the manual has done on a running machine."""
    assert not needs_standstill(step, language_of(step))


def test_a_heading_may_say_that_it_runs() -> None:
    """What a section has done on a running machine holds for its steps."""
    assert not needs_standstill("Turn the screw by half a turn.", "en", "Adjustment with the pump running")


MANUAL = """# Pressure drop of press {name}

## Causes

- A clogged suction strainer starves the pump.
- A relief valve that is held open by dirt sends flow to the tank.
- The paint of the cabinet is old.

## Repair steps

1. Clean the suction strainer.
2. Clean the relief valve of dirt.
3. Write the date on the label.

## Notes

Warning: oil jets cut skin.

## Safety

- Release the pressure before work.
"""


def repaired(text: str, name: str = "PQX-8") -> Answer:
    passages = tuple(prepare("manual.md", MANUAL.format(name=name).encode())[1])
    question = Question(text, "en", 3)
    found = Found(tuple(Hit(passage, 0.9) for passage in passages), passages)
    return advised(extract(question, found.hits), question, found)


def test_a_reason_is_that_of_its_step_or_there_is_none() -> None:
    """A cause that shares only what every line of the manual says explains nothing."""
    first, second, third = repaired("How to fix a pressure drop of PQX-8?").steps
    assert first.rationale == "A clogged suction strainer starves the pump."
    assert second.rationale == "A relief valve that is held open by dirt sends flow to the tank."
    assert (third.rationale, third.rationale_citation) == ("", None)
    assert [step.requires_shutdown for step in (first, second, third)] == [True, True, False]


def test_safety_notes_come_from_their_section_and_from_warnings() -> None:
    """Also a warning that stands elsewhere is one, and each has its quote."""
    answer = repaired("How to fix a pressure drop of PQX-8?")
    assert [note.text for note in answer.safety] == ["Release the pressure before work.", "Warning: oil jets cut skin."]
    quotes = {citation.number: citation.quote for citation in answer.citations}
    assert all(quotes[note.citation] == note.text for note in answer.safety)


def test_no_steps_of_another_machine() -> None:
    """The repair of PQX-8 is none for PQX-2."""
    answer = repaired("How to fix a pressure drop of PQX-2?")
    assert answer.abstained
    assert answer.steps == ()
