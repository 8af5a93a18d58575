"""Rules of identifiers: one machine has one key however it is spelled, and another one's answer is none."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.manuals import DEVELOPMENT, collection, names, spelled
from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.answer.binding import bind
from pipelines.knowledge.answer.llm import Draft
from pipelines.knowledge.ingest.ingest import prepare
from pipelines.knowledge.records import Answer, Hit, Language, Passage, Question
from pipelines.knowledge.search.identifiers import identifiers, keys
from pipelines.knowledge.search.quantities import quantities
from pipelines.knowledge.search.text import language_of

CASE = Path("../shared/cases/21-other-machines-value")


def hits_of(*manuals: str, language: Language = "en") -> list[Hit]:
    """Return the passages of manuals as they are uploaded, all found with one score."""
    found = [prepare(f"manual-{number}.md", text.encode())[1] for number, text in enumerate(manuals)]
    return [Hit(passage, 0.6) for part in found for passage in part if passage.language == language]


def asked(text: str, hits: list[Hit], context: str = "") -> Answer:
    return extract(Question(text, language_of(text), 3, context=context), hits)


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (("PQX-8", "pqx-8", "PQX8", "PQX 8", "PQX\u20118", "PQX\u00a08", "РQХ-8", "рqх8"), "PQX8"),
        (("ПГ-88", "пг-88", "ПГ88"), "ПГ88"),
        (("A10VSO 71", "A10VSO-71", "a10vso 71", "А10VSО 71"), "A10VSO71"),
        (("4WE 6", "4WE6"), "4WE6"),
        (("error 27", "Error: 27", "fault code 27", "ошибка 27", "код ошибки 27"), "№27"),
        (("article 0 811 404 612", "part no. 0811404612", "артикул 0811.404.612"), "№0811404612"),
    ],
)
def test_one_identifier_has_one_key(spellings: tuple[str, ...], key: str) -> None:
    """Case, dashes, spaces and letters of the other script make no other machine."""
    for written in spellings:
        assert key in keys(f"What about {written} here?"), written


@pytest.mark.parametrize(
    "text",
    [
        "HLP 46 and HV46 oil, 75 l, 2 bar, 100 %, -20 °C, 4-20mA at 24VDC, 50Hz, 1450 rpm, 10 µm",
        "step 3 of 5, page 12, chapter 4, every 500 h, after 10000 hours, in 2024, on 12.05.2024, 3-phase, 2nd",
        "ISO 4406 18/16/13, DIN 51524-2, IP65, M12 bolts, G1/2, DN 20, RS485, 10W-40, CO2, 4/3-way valve, 3x25",
        "шаг 3, 75 литров, И-20А, МГЕ-46В, ГОСТ 17216, 2-го, рис. 4, п.3, через 500 часов, 12 мая 2024 года",
    ],
)
def test_a_quantity_a_standard_and_a_count_are_no_identifier(text: str) -> None:
    """Honest questions hold numbers of many kinds."""
    assert [each.written for each in identifiers(text, language_of(text)) if not each.weak] == []


def test_every_spelling_of_made_up_names_meets_its_own_and_no_other() -> None:
    """Over a thousand names: a spelling has the key of its machine, and of none of its neighbours."""
    draw = random.Random(5)  # noqa: S311
    for _ in range(250):
        family = names(draw, draw.choice(("PQ", "KR", "TDH", "A7VSO", "НШ", "РГС")), 5)
        found = {name: {one.key for one in identifiers(name)} for name in family}
        assert len({frozenset(key) for key in found.values()}) == len(family)
        for name in family:
            other = spelled(draw, name)
            assert {one.key for one in identifiers(f"About {other}?")} == found[name], (name, other)


EIGHT = "# Pump PQX-8\n\nThe pump PQX-8 is filled with 8 litres of oil. Its relief valve V-12 is set to 70 bar.\n"
TWO = "# Pump PQX-2\n\n## Oil\n\nFill in 2 litres of oil.\n\n## Pressures\n\nThe relief valve V-12 is set to 90 bar.\n"


def test_another_machines_value_is_no_answer() -> None:
    """The refusal names what was asked for and what there is, in the language of the question."""
    answer = asked("How many litres of oil does the pump PQX-2 take?", hits_of(EIGHT))
    assert answer.abstained
    assert "nothing found speaks of PQX-2; there is PQX-8" in answer.text
    russian = asked("Сколько литров масла заливают в насос PQX-2?", hits_of(EIGHT))
    assert russian.abstained
    assert "нет ничего о PQX-2; есть PQX-8" in russian.text
    assert "8 litres" in asked("How many litres of oil does the pump pqx 8 take?", hits_of(EIGHT)).text


def test_of_two_machines_only_the_one_asked_for_is_quoted() -> None:
    """Headings, titles and the sentence before say of which machine a sentence speaks."""
    both = hits_of(EIGHT, TWO)
    answer = asked("To what pressure is the relief valve V-12 of PQX-2 set?", both)
    assert "90 bar" in answer.text
    assert "70 bar" not in answer.text
    side = hits_of("# Pumps\n\nThe pump PQX-8 is large. It takes 8 litres of oil. The PQX-2 takes 2 litres of oil.\n")
    assert [quote.quote for quote in asked("How many litres of oil does PQX-8 take?", side).citations] == [
        "It takes 8 litres of oil."
    ]


def test_two_machines_that_are_compared_are_both_quoted() -> None:
    """Both are asked for, and both are there; where one is not, the answer is a refusal."""
    question = "Which oil volume in litres have PQX-2 and PQX-8?"
    text = asked(question, hits_of(EIGHT, TWO)).text
    assert "8 litres" in text
    assert "2 litres" in text
    assert "speaks of PQX-2" in asked(question, hits_of(EIGHT)).text


def test_the_machine_that_is_asked_from_gets_no_value_of_another() -> None:
    """A system's own name keeps values of its neighbours away, and general knowledge stays."""
    general = "# Oil filling\n\nThe oil volume in litres stands on the name plate of the machine.\n"
    question, context = (
        "How many litres of oil are filled in the pump?",
        "The machine is Pump PQX-2, of family generic.",
    )
    answer = asked(question, hits_of(EIGHT, general), context)
    assert "8 litres" not in answer.text
    assert "2 litres" in asked(question, hits_of(EIGHT, TWO), context).text


@pytest.mark.parametrize(
    "text", ["How to fix a leak at pump 3?", "Can I use HLP 46 in the pump PQX-8?", "What is 2 bar?"]
)
def test_a_manner_of_speaking_binds_nothing(text: str) -> None:
    """A plant's own number of a pump and a grade of oil are no reason to refuse."""
    assert not bind(Question(text, "en", 3), hits_of(EIGHT)).missing


@pytest.mark.parametrize(
    ("text", "quoted", "named"),
    [
        ("What does error 27 mean?", ["27 - the pump is too hot"], ""),
        ("Fault 27?", ["27 - the pump is too hot"], ""),
        ("What does error 28 mean?", [], "speaks of error 28; there is 27, 44"),
        ("What is error 104 of the oil?", ["Code: E-104; Meaning: The oil is too cold"], ""),
        ("What is E-105?", [], "speaks of E-105; there is E-104"),
        ("What is article R900561274?", ["The seal kit has the article number R900561274."], ""),
        ("What is article R900561275?", [], "speaks of R900561275; there is R900561274"),
        ("How is the PQY filled?", [], "speaks of PQY; there is PQX-8"),
    ],
)
def test_of_things_side_by_side_only_the_one_asked_for_is_quoted(text: str, quoted: list[str], named: str) -> None:
    """Errors and articles of one list, a name without a number that differs by a letter."""
    errors = "# Errors\n\n27 - the pump is too hot\n\n| Code | Meaning |\n|---|---|\n| 44 | The door is open |\n"
    errors += "| E-104 | The oil is too cold |\n"
    parts = "# Parts\n\nThe seal kit has the article number R900561274. The bearing is article 0811 404 612.\n"
    answer = asked(text, hits_of(errors, parts, EIGHT))
    assert [quote.quote for quote in answer.citations] == quoted
    assert named in answer.text


def test_a_number_binds_where_others_of_its_kind_are() -> None:
    """Press 12 is none of the presses that the manual speaks of."""
    presses = hits_of("# Press 9\n\nThe relief valve of press 9 is set to 141 bar.\n")
    assert "speaks of press 12; there is press 9" in asked("What is the relief pressure of press 12?", presses).text
    assert "141 bar" in asked("What is the relief pressure of press 9?", presses).text


async def test_a_models_sentence_keeps_machine_and_unit() -> None:
    """What a model writes of another machine, or with another unit, has no quote that bears it out."""

    async def kept(written: str) -> str:
        async def pieces() -> AsyncIterator[str]:
            yield written

        draft = Draft(Question("How many litres of oil does PQX-8 take?", "en", 3), hits_of(EIGHT))
        return "".join([sentence async for sentence in draft.read(pieces())])

    assert await kept("The pump PQX-8 is filled with 8 litres of oil [1].")
    assert await kept("The pump PQX-8 is filled with 8 l of oil [1].")
    assert not await kept("The pump PQX-2 is filled with 8 litres of oil [1].")
    assert not await kept("The pump PQX-8 is filled with 8 bar of oil [1].")


def test_units_are_alike_in_both_languages() -> None:
    """A quantity is a number with its unit, however either is written."""
    assert quantities("2,5 бар, 1 450 rpm, 8 литров") == quantities("2.5 bar, 1450 об/мин, 8 l")


def test_the_manuals_of_the_measurement_are_many_and_alike() -> None:
    """Forty manuals and three hundred questions at least a seed, a right passage or none for each."""
    manuals, questions = collection(DEVELOPMENT[0])
    assert len(manuals) >= 40
    assert len(questions) >= 300
    by_file = {manual.file: manual.content for manual in manuals}
    assert len(by_file) == len(manuals)
    assert all(question.value in by_file[question.file] for question in questions if question.value)
    assert collection(DEVELOPMENT[0]) == (manuals, questions)


def test_manuals_that_differ_are_shown_as_such_the_newest_first() -> None:
    """Both values with their titles and quotes; the edition stands in title, name or first lines."""
    old = "# Press PQX-8, manual 2017\n\n## Pressures\n\nThe relief valve is set to 180 bar.\n"
    new = "# Press PQX-8, manual\n\nEdition 05/2024.\n\n## Pressures\n\nSet the relief valve to 200 bar.\n"
    for manuals in ((old, new), (new, old)):
        answer = asked("To how many bar is the relief valve of PQX-8 set?", hits_of(*manuals))
        assert answer.text.startswith("The sources differ [1] [2].")
        assert [quote.quote for quote in answer.citations[:2]] == [
            "Set the relief valve to 200 bar.",
            "The relief valve is set to 180 bar.",
        ]
        assert "Press PQX-8, manual 2017: The relief valve is set to 180 bar [2]." in answer.text
    same = old.replace("2017", "2018")
    assert "differ" not in asked("To how many bar is the relief valve of PQX-8 set?", hits_of(old, same)).text


@pytest.mark.skipif(not CASE.exists(), reason="the collected cases (../shared/cases) are not here")
def test_the_collected_case_is_refused() -> None:
    """One pump's manual answers nothing about its neighbour."""
    found: list[Passage] = [part for file in CASE.iterdir() for part in prepare(file.name, file.read_bytes())[1]]
    answer = asked("How many litres of oil is the pump PQX-2 filled with?", [Hit(part, 0.9) for part in found])
    assert answer.abstained
    assert "PQX-2" in answer.reason
