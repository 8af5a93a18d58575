"""Turns text into stems, in English and Russian, so that a question and a sentence meet in one form."""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.knowledge.records import Language

WORD = re.compile(r"[^\W_]+")
CYRILLIC = re.compile(r"[А-Яа-яЁё]")
LETTER = re.compile(r"[^\W\d_]")

# Share of Cyrillic letters from which a text is read as Russian; a Russian question may be half part codes and brands.
# Source: XQuAD, 1,190 questions: at this share every English and every Russian one is told right.
CYRILLIC_SHARE = 0.25


# By ISO 639-1, -2 and -3, and as people write them.
NAMES: dict[str, Language] = {
    **dict.fromkeys(("en", "eng", "english", "английский"), "en"),
    **dict.fromkeys(("ru", "rus", "russian", "русский"), "ru"),
}


def words_of(listed: str) -> frozenset[str]:
    """Return the words of a list, apart by spaces."""
    return frozenset(listed.split())


STOP_WORDS: dict[Language, frozenset[str]] = {
    "en": words_of(
        """a about above after again all also am an and any are as at be because been before being below between both
        but by can could did do does doing down during each few for from further had has have having he her here hers
        him his how i if in into is it its itself just many may me might more most much must my no nor not of off on
        once only or other our out over own same she should so some such than that the their them then there these
        they this those through to too under until up upon very was we were what when where which while who whom whose
        why will with would you your s t"""
    ),
    "ru": words_of(
        """а без более больше будет будто бы был была были было быть в вам вас ведь весь во вот все всего всех вы где
        да даже для до другой его ее ей ему если есть еще ж же за зачем здесь и из или им ими их к как какая какие каким
        какими каких какого какое какой каком какую ко когда который которая которое которые которых кто куда ли лучше
        между меня мне много можно мой моя мы на над надо наш не него нее ней нельзя нет ни нибудь никогда ним них
        ничего но ну о об один он она они оно от очень по под после потом потому почему почти при про раз разве с сам
        свою себе себя сейчас со совсем так такой там тебя тем теперь то тогда того тоже только том тот три тут ты у уж
        уже хоть чего чей чем через что чтобы чуть эти этих это этого этой этом этот эту я сколько каково какова каковы
        является являются"""
    ),
}

# Words that say what kind of answer is wanted, not what it is about: a text that holds the answer seldom holds them.
REMEDY_WORDS: dict[Language, frozenset[str]] = {
    "en": words_of("fix fixing repair repairing solve resolve remedy cure eliminate troubleshoot correct handle"),
    "ru": words_of(
        "устранить устранять исправить исправлять починить чинить решить вылечить побороть избавиться делать "
        "сделать предпринять поступить"
    ),
}
CAUSE_WORDS: dict[Language, frozenset[str]] = {
    "en": words_of(
        """cause causes caused reason reasons mean means meaning sign signs symptom symptoms detect detecting recognise
        recognize identify notice"""
    ),
    "ru": words_of(
        """причина причины причиной причине причинам означает значит вызвано вызывает вызвать признак признаки признаков
        распознать определить обнаружить выявить заметить"""
    ),
}
# Every source here is about hydraulics, and few say so in every section.
DOMAIN_WORDS: dict[Language, frozenset[str]] = {
    "en": words_of("hydraulic hydraulics hydraulically"),
    "ru": words_of("гидравлика гидравлики гидравлике гидравлический гидравлическая гидросистема гидросистемы"),
}
NEGATIONS: dict[Language, frozenset[str]] = {
    "en": words_of("no not never without cannot nor don doesn isn aren won shouldn mustn neither"),
    "ru": words_of("не нет ни без нельзя никогда"),
}
HOW_MUCH: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(how (many|much|long|old|far|large|big|tall|often|fast|high|hot|cold|deep)|when|"
        r"(what|which) (year|percent\w*|number|date|day|age|amount|century|month|pressure|temperature|torque|limit|"
        r"interval|value|share))\b",
        re.IGNORECASE,
    ),
    "ru": re.compile(
        r"\b(сколько|когда|как (долго|давно|часто|далеко)|как(?:ой|ом|ая|ое|им|ие)\w* (год|процент|числ|количеств|дат|"
        r"век|возраст|номер|давлени|температур|момент|предел|интервал|значени|дол))",
        re.IGNORECASE,
    ),
}
NUMBER = re.compile(
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|million|billion|half|twice|dozen|"
    r"один|одн\w+|дв[аеу]\w*|тр[иеё]\w*|четыр\w+|пят\w+|шест\w+|сем\w+|восем\w+|девят\w+|десят\w+|сто|тысяч\w*|миллион\w*|"
    r"миллиард\w*|половин\w+)\b",
    re.IGNORECASE,
)
# Letters that two stems must begin with to be of one word, and what such a word counts.
# Source: XQuAD, en and ru: hit@1 .780 and .751 with 5 letters, .773 and .733 without; refusal AUROC .948 and .913,
# .947 and .909.
BEGINNING = 5
ALIKE = 0.7
WHAT_TO_DO: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(what (to|should|must|can) (i |we |be )?(do|done)|steps|procedure)\b"),
    "ru": re.compile(r"\b(что (нужно |надо |мне )?(с?делать|предпринять)|порядок действий|шаги)\b"),
}
HOW: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\bhow (to|do|can|should|would|must)\b"),
    "ru": re.compile(r"\bкак(им образом)?\b(?! (часто|долго|много|быстро|называ|зов))"),
}


def language_of(text: str) -> Language:
    """Tell Russian from English by the share of Cyrillic letters."""
    letters = len(LETTER.findall(text))
    return "ru" if letters and len(CYRILLIC.findall(text)) / letters >= CYRILLIC_SHARE else "en"


def language_named(tag: str) -> Language | None:
    """Return the language that a tag names, such as `en-US`, `eng` or `RU`; None for any other."""
    return NAMES.get(re.split(r"[-_.]", tag.strip().lower())[0])


@cache
def _stemmer(language: Language) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer({"en": "english", "ru": "russian"}[language])


@lru_cache(maxsize=200_000)
def _stem(word: str, language: Language) -> str:
    stem = str(_stemmer(language).stemWord(word))
    return _concepts(language, alike=True).get(stem, stem)


class Term(NamedTuple):
    """A line of the glossary.

    Attributes:
        forms: Words by language.
        alike: Those of one language stand for one another, too.
    """

    forms: Mapping[Language, frozenset[str]]
    alike: bool


@cache
def glossary() -> tuple[Term, ...]:
    """Return the words of the trade, by what they name."""
    import yaml

    lines = yaml.safe_load(Path(__file__).parents[1].joinpath("glossary.yaml").read_text(encoding="utf-8"))
    return tuple(
        Term({language: words_of(line[language]) for language in STOP_WORDS}, line.get("alike", False))
        for line in lines
    )


@cache
def _concepts(language: Language, *, alike: bool) -> Mapping[str, str]:
    """Map the stem of every word to the name of the first line that has it."""
    stemmer = _stemmer(language)
    named: dict[str, str] = {}
    for number, term in enumerate(glossary()):
        for word in sorted(term.forms[language]) if term.alike or not alike else ():
            named.setdefault(str(stemmer.stemWord(word)), f"={number}")
    return named


def concept(stem: str, language: Language) -> str | None:
    """Return the name of what a stem stands for, the same in both languages; None for a word of no trade."""
    return stem if stem.startswith("=") else _concepts(language, alike=False).get(stem)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, with the two dots of ё dropped."""
    return WORD.findall(text.lower().replace("ё", "е"))


def stems(text: str, language: Language) -> list[str]:
    """Return the stems of a text's content words, in order."""
    return [_stem(word, language) for word in words(text) if word not in STOP_WORDS[language]]


def topics(question: str, language: Language) -> list[str]:
    """Return the distinct stems that say what a question is about; words of remedy, cause and field only when alone."""
    left_out = REMEDY_WORDS[language] | CAUSE_WORDS[language] | DOMAIN_WORDS[language]
    general = {_stem(word, language) for word in left_out}
    found = list(dict.fromkeys(stems(question, language)))
    return [stem for stem in found if stem not in general] or found


def synonyms(question: str, language: Language) -> list[str]:
    """Return the synonyms of a question's words that it does not hold itself, for a search that knows only stems."""
    asked = set(words(question))
    groups = [term.forms[language] for term in glossary() if term.alike and term.forms[language] & asked]
    return sorted(set().union(*groups) - asked)


def asks_for_remedy(question: str, language: Language) -> bool:
    """Tell whether a question wants to know what to do about something."""
    asked = words(question)
    return bool(REMEDY_WORDS[language].intersection(asked) or WHAT_TO_DO[language].search(" ".join(asked)))


def asks_how(question: str, language: Language) -> bool:
    """Tell whether a question wants to know how something is done."""
    return bool(HOW[language].search(" ".join(words(question))))


def negated(text: str, language: Language) -> bool:
    """Tell whether a sentence denies or forbids something."""
    return not NEGATIONS[language].isdisjoint(words(text))


def asks_for_number(question: str, language: Language) -> bool:
    """Tell whether the answer to a question is a number or a date."""
    return bool(HOW_MUCH[language].search(question))


def holds_number(text: str) -> bool:
    """Tell whether a text names a number, in figures or in a word."""
    return bool(NUMBER.search(text))


def held(stem: str, counted: Mapping[str, int]) -> float:
    """Return how often a text holds a stem; one that only begins alike counts in part."""
    if counted.get(stem) or len(stem) < BEGINNING:
        return counted.get(stem, 0)
    alike = sum(n for other, n in counted.items() if len(other) >= BEGINNING and other.startswith(stem[:BEGINNING]))
    return ALIKE * alike


def coverage(wanted: Iterable[str], present: Iterable[str], weight: dict[str, float]) -> float:
    """Return the weighted share of `wanted` stems that are `present`, 0..1."""
    counted = dict.fromkeys(present, 1)
    total = found = 0.0
    for stem in wanted:
        total += weight[stem]
        found += weight[stem] * min(1.0, held(stem, counted))
    return found / total if total else 0.0
