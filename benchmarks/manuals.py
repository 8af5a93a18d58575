"""Manuals of machines whose names differ by one sign, made up, with questions that have one right passage or none.

Every value is drawn for its machine, so that a value tells whose manual it was taken from. The last wording of every
list is drawn by reports alone: what rules were written against is not what they are judged by.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.knowledge.records import Language

Kind = Literal["asked", "spelled", "absent", "unsaid", "general"]
DEVELOPMENT, REPORT = range(3), range(100, 103)  # seeds

# How one family of machines is called: what is equal, and what differs by a sign or two.
LATIN = ("PQ", "HV", "KR", "LX", "ZT", "PGX", "MVR", "TDH", "A{n}VSO", "AX{n}P", "R{n}KH", "F{n}C")
CYRILLIC = ("НШ", "ПГ", "ГМ", "РГС", "КДЖ", "ШЛ")
NOUNS: dict[Language, tuple[str, ...]] = {
    "en": ("Pump", "Press", "Power unit", "Shear", "Injection moulding machine", "Lift table"),
    "ru": ("Насос", "Пресс", "Гидростанция", "Ножницы", "Термопластавтомат", "Подъёмный стол"),
}
TITLES: dict[Language, tuple[str, ...]] = {
    "en": ("{noun} {name}", "Operating instructions {name}", "{name}: maintenance manual", "Manual of {noun} {name}"),
    "ru": ("{noun} {name}", "Руководство по эксплуатации {name}", "{name}: обслуживание", "Паспорт. {noun} {name}"),
}

# What a manual says of one quantity, and what is asked about it; `{m}` is the machine, `{v}` the value, `{t}` a tag.
FACTS: dict[Language, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "en": {
        "fill": (
            ("The reservoir of the {m} is filled with {v} litres of oil.", "Fill the tank of {m} with {v} l of HLP 46.",
             "The oil volume of the tank is {v} l.", "Before the first start {v} litres of oil are poured in."),
            ("How many litres of oil does {m} take?", "What is the oil volume of {m}?", "oil filling of {m} in litres"),
        ),
        "relief": (
            ("The relief valve is set to {v} bar.", "Set the pressure relief valve of the {m} to {v} bar.",
             "Relief valve: setting {v} bar at an oil temperature of 50 °C.",
             "{v} bar is the setting of the relief valve."),
            ("To what pressure is the relief valve of {m} set?", "What is the relief valve setting of {m}?",
             "relief valve pressure {m}"),
        ),
        "change": (
            ("Change the oil after {v} operating hours.", "The oil of the {m} is changed every {v} h.",
             "Oil change interval: {v} hours at 2 shifts.", "Every {v} hours the oil is replaced."),
            ("How often is the oil of {m} changed?", "What is the oil change interval of {m}?", "{m} oil change hours"),
        ),
        "torque": (
            ("Tighten the cover bolts M12 with {v} Nm.", "The cover bolts of the {m} are tightened with {v} Nm.",
             "Tightening torque of the cover bolts: {v} Nm.", "A torque of {v} Nm holds the cover bolts."),
            ("With what torque are the cover bolts of {m} tightened?", "What is the torque of the cover bolts on {m}?",
             "cover bolt torque {m}"),
        ),
        "gas": (
            ("The accumulator is precharged with nitrogen to {v} bar.", "Precharge of the accumulator of {m}: {v} bar.",
             "The precharge pressure is {v} bar at 20 °C.", "Nitrogen at {v} bar precharges the accumulator."),
            ("What is the precharge pressure of the accumulator of {m}?", "accumulator precharge {m}",
             "To how many bar is the accumulator on {m} precharged?"),
        ),
        "error": (
            ("{t}: oil temperature above {v} °C, check the cooler.",
             "Error {t} means that the oil is hotter than {v} °C.",
             "| {t} | Oil hotter than {v} °C |", "{t} - the oil has passed {v} °C"),
            ("What does error {t} of {m} mean?", "{m} shows {t}, what is it?", "meaning of {t} on {m}"),
        ),
        "seal": (
            ("The seal kit has the article number {v}.", "Order the seal kit of the {m} as article {v}.",
             "Seal kit: part no. {v}.", "Article {v} is the seal kit."),
            ("Which article number has the seal kit of {m}?", "seal kit of {m}, part number?",
             "What is the part number of the seal kit for {m}?"),
        ),
    },
    "ru": {
        "fill": (
            ("В бак {m} заливают {v} л масла.", "Объём масла в баке составляет {v} л.",
             "Бак {m} вмещает {v} литров масла HLP 46.", "Перед первым пуском залейте {v} литров масла в бак."),
            ("Сколько литров масла заливают в {m}?", "Какой объём масла у {m}?", "объём масла {m}"),
        ),
        "relief": (
            ("Предохранительный клапан настроен на {v} бар.", "Настройте предохранительный клапан {m} на {v} бар.",
             "Предохранительный клапан: настройка {v} бар при 50 °C.",
             "{v} бар - настройка предохранительного клапана."),
            ("На какое давление настроен предохранительный клапан {m}?", "Настройка предохранительного клапана {m}?",
             "давление предохранительного клапана {m}"),
        ),
        "change": (
            ("Меняйте масло через {v} часов работы.", "Масло {m} меняют каждые {v} ч.",
             "Интервал замены масла: {v} часов.", "Каждые {v} часов масло заменяют."),
            ("Как часто меняют масло в {m}?", "Какой интервал замены масла у {m}?", "{m} замена масла часы"),
        ),
        "torque": (
            ("Болты крышки М12 затягивают с моментом {v} Н·м.", "Момент затяжки болтов крышки {m}: {v} Н·м.",
             "Болты крышки затяните моментом {v} Н·м.", "Момент {v} Н·м держит болты крышки."),
            ("С каким моментом затягивают болты крышки {m}?", "Какой момент затяжки болтов крышки у {m}?",
             "момент затяжки болтов крышки {m}"),
        ),
        "gas": (
            ("Гидроаккумулятор заряжают азотом до {v} бар.", "Давление зарядки гидроаккумулятора {m}: {v} бар.",
             "Давление зарядки гидроаккумулятора {v} бар при 20 °C.", "Азот под {v} бар заряжает гидроаккумулятор."),
            ("Каково давление зарядки гидроаккумулятора {m}?", "зарядка гидроаккумулятора {m}",
             "До скольких бар заряжают гидроаккумулятор {m}?"),
        ),
        "error": (
            ("{t}: температура масла выше {v} °C, проверьте охладитель.",
             "Ошибка {t} значит, что масло горячее {v} °C.",
             "| {t} | Масло горячее {v} °C |", "{t} - масло прошло {v} °C"),
            ("Что значит ошибка {t} у {m}?", "{m} показывает {t}, что это?", "значение {t} на {m}"),
        ),
        "seal": (
            ("Комплект уплотнений имеет артикул {v}.", "Комплект уплотнений {m} заказывают как артикул {v}.",
             "Комплект уплотнений: артикул {v}.", "Артикул {v} - это комплект уплотнений."),
            ("Какой артикул у комплекта уплотнений {m}?", "комплект уплотнений {m}, артикул?",
             "Какой номер у комплекта уплотнений для {m}?"),
        ),
    },
}  # fmt: skip
SECTIONS: dict[Language, dict[str, str]] = {
    "en": {"fill": "Oil", "relief": "Pressures", "change": "Maintenance", "torque": "Assembly", "gas": "Accumulator",
           "error": "Error messages", "seal": "Spare parts"},
    "ru": {"fill": "Масло", "relief": "Давления", "change": "Обслуживание", "torque": "Сборка",
           "gas": "Гидроаккумулятор", "error": "Сообщения об ошибках", "seal": "Запасные части"},
}  # fmt: skip
FILLER: dict[Language, tuple[str, ...]] = {
    "en": ("Read these instructions before work and keep them beside the machine.",
           "Work on the hydraulic system is for trained people alone.",
           "Cleanliness after ISO 4406 is 18/16/13 or better.",
           "The ambient temperature lies between 5 and 40 °C.", "Wear goggles and gloves.",
           "The noise stays below 75 dB."),
    "ru": ("Прочтите руководство до начала работ и храните его у машины.",
           "К работам допускаются только обученные люди.", "Чистота масла по ISO 4406 не хуже 18/16/13.",
           "Температура воздуха от 5 до 40 °C.", "Надевайте очки и перчатки.", "Шум не выше 75 дБ."),
}  # fmt: skip
# Questions that name numbers and no identifier, or name none of a machine; the answer stands in every manual.
GENERAL: dict[Language, tuple[str, ...]] = {
    "en": ("Which cleanliness after ISO 4406 is needed?", "Is 18/16/13 after ISO 4406 enough?",
           "Is an ambient temperature of 35 °C allowed?", "Does the noise stay below 80 dB?"),
    "ru": ("Какая чистота масла по ISO 4406 нужна?", "Достаточно ли 18/16/13 по ISO 4406?",
           "Допустима ли температура воздуха 35 °C?", "Шум ниже 80 дБ?"),
}  # fmt: skip
# What no manual says of its machine.
UNSAID: dict[Language, tuple[str, ...]] = {
    "en": ("What colour is {m} painted?", "How heavy is {m}?", "Who built {m}?", "How wide is the foundation of {m}?",
           "How long is the warranty of {m}?"),
    "ru": ("В какой цвет окрашен {m}?", "Сколько весит {m}?", "Кто изготовил {m}?", "Какова ширина фундамента {m}?",
           "Какая гарантия на {m}?"),
}  # fmt: skip
SCRIPTS = str.maketrans("ABEKMHOPCTX", "АВЕКМНОРСТХ")  # what a Russian keyboard writes for the Latin letters


@dataclass(frozen=True, slots=True)
class Manual:
    """A manual as it is uploaded."""

    file: str
    content: str
    language: Language
    machine: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what answers it.

    Attributes:
        file: Of the manual that does; empty where none does.
        value: That the answer must hold.
        strange: Values of the same quantity of other machines, none of which it may hold.
    """

    text: str
    language: Language
    kind: Kind
    file: str = ""
    value: str = ""
    strange: frozenset[str] = frozenset()


def collection(seed: int, families: int = 6) -> tuple[list[Manual], list[Asked]]:
    """Return manuals of machines of some families in both languages, and questions about them."""
    draw = random.Random(seed)  # noqa: S311
    fresh = seed in REPORT
    manuals: list[Manual] = []
    asked: list[Asked] = []
    for language in ("en", "ru"):
        prefixes = [*LATIN, *(CYRILLIC if language == "ru" else ())]
        for prefix in draw.sample(prefixes, families):
            made, questions = _family(draw, language, prefix.format(n=draw.randint(2, 28)), fresh=fresh)
            manuals += made
            asked += questions
        asked += [Asked(text, language, "general") for text in GENERAL[language]]
    return manuals, asked


def names(draw: random.Random, prefix: str, count: int) -> list[str]:
    """Return names of one family, alike in everything but a sign or two."""
    number = draw.randint(2, 89)
    forms = (
        (f"{number}", f"{number + 1}", f"{number}A", f"{number}0", f"1{number}"),
        (f"{number}", f"{number + 2}", f"{number}0", f"{number + 7}", f"1{number}"),
        (f"{number}/1", f"{number}/2", f"{number + 1}/1", f"{number}/12", f"{number}/3"),
    )
    glue = draw.choice(("-", " "))
    return draw.sample([f"{prefix}{glue}{form}" for form in draw.choice(forms)], count)


def spelled(draw: random.Random, name: str) -> str:
    """Return a name as somebody else writes it."""
    letters = [letter for letter in name if letter.isalpha()]
    ways = [name.lower(), name.replace("-", " ", 1), name.replace("-", "", 1), name.replace("-", "\u2011")]
    if " " in name:
        ways = [name.lower(), name.replace(" ", "-"), name.replace(" ", "")]
    if all(letter in "ABEKMHOPCTX" for letter in letters):
        ways.append(name.translate(SCRIPTS))
    return draw.choice([way for way in ways if way != name])


def _family(draw: random.Random, language: Language, prefix: str, *, fresh: bool) -> tuple[list[Manual], list[Asked]]:
    """Return manuals of four machines of a family, and questions about them and about one without a manual."""
    *present, absent = names(draw, prefix, 5)
    noun = draw.choice(NOUNS[language])
    facts = {fact: _values(draw, fact, len(present)) for fact in FACTS[language]}
    tags = draw.sample([f"E-{number}" for number in range(100, 140)] + ["F07", "F17", "A 12", "A 21"], 4)
    manuals: list[Manual] = []
    asked: list[Asked] = []
    made_of: dict[str, str] = {}
    for place, name in enumerate(present):
        values = {fact: drawn[place] for fact, drawn in facts.items()}
        file, content = _written(draw, language, noun, name, values, tags, fresh=fresh)
        manuals.append(Manual(file, content, language, name))
        made_of[name] = file
        for fact, value in values.items():
            strange = frozenset(facts[fact]) - {value}
            kind: Kind = draw.choice(("asked", "spelled"))
            said = spelled(draw, name) if kind == "spelled" else name
            text = _question(draw, language, fact, said, tags[0], fresh=fresh)
            asked.append(Asked(text, language, kind, file, value, strange))
    for name in present:
        text = draw.choice(_drawn(UNSAID[language], fresh)).format(m=name)
        asked.append(Asked(text, language, "unsaid", made_of[name]))
    for fact in FACTS[language]:
        text = _question(draw, language, fact, draw.choice([absent, spelled(draw, absent)]), tags[0], fresh=fresh)
        asked.append(Asked(text, language, "absent", strange=frozenset(facts[fact])))
    text = _question(draw, language, "error", present[0], "E-199", fresh=fresh)
    asked.append(Asked(text, language, "absent", strange=frozenset(facts["error"])))
    return manuals, asked


def _values(draw: random.Random, fact: str, count: int) -> list[str]:
    if fact == "seal":
        first = draw.randint(100_000, 899_000)
        return [str(first + 1_001 * place) for place in draw.sample(range(9), count)]
    return [str(value) for value in draw.sample(range(41, 399), count)]


def _written(
    draw: random.Random,
    language: Language,
    noun: str,
    name: str,
    values: dict[str, str],
    tags: Sequence[str],
    *,
    fresh: bool,
) -> tuple[str, str]:
    """Return a manual's file name and text; its title, its file's name or its first line says whose it is."""
    whole = draw.choice(TITLES[language]).format(noun=noun, name=name)
    plain = {"en": "Operating manual", "ru": "Руководство"}[language]
    slug = f"{draw.randint(1000, 9999)}"
    said, first = draw.choice(((whole, ""), (whole, ""), (plain, f"{noun} {name}.")))
    lines = [f"# {said}", "", " ".join([first, *draw.sample(FILLER[language], 3)]).strip()]
    for fact in draw.sample(list(values), len(values)):
        wordings = _drawn(FACTS[language][fact][0], fresh)
        lines += ["", f"## {SECTIONS[language][fact]}", ""]
        text = draw.choice(wordings).format(m=name, v=values[fact], t=tags[0])
        if text.startswith("|"):
            header = {"en": "| Code | Meaning |", "ru": "| Код | Значение |"}[language]
            lines += [header, "|---|---|", text, *(f"| {tag} | {draw.choice(FILLER[language])} |" for tag in tags[1:])]
        else:
            lines.append(
                " ".join(draw.sample([text, *draw.sample(FILLER[language], 2)], 3)) if ":" not in text else text
            )
    file = f"{slug}-{language}.md"
    return file, "\n".join(lines) + "\n"


def _question(draw: random.Random, language: Language, fact: str, name: str, tag: str, *, fresh: bool) -> str:
    return draw.choice(_drawn(FACTS[language][fact][1], fresh)).format(m=name, t=tag)


def _drawn(wordings: Sequence[str], fresh: bool) -> Sequence[str]:
    return wordings if fresh else wordings[:-1]
