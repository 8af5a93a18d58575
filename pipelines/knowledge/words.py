"""Under passages, index and answer: how text becomes stems, in English and Russian.

Exists so that a question and a sentence meet in one form, whatever their endings.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from pipelines.knowledge.records import Language

WORD = re.compile(r"[^\W_]+")
CYRILLIC = re.compile(r"[А-Яа-яЁё]")
LETTER = re.compile(r"[^\W\d_]")

# Share of Cyrillic letters from which a text is read as Russian; a Russian question may be half part codes and brands.
# Source: XQuAD, 1,190 questions: at this share every English and every Russian one is told right.
CYRILLIC_SHARE = 0.25


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


STOP_WORDS: dict[Language, frozenset[str]] = {
    "en": _set(
        """a about above after again all also am an and any are as at be because been before being below between both
        but by can could did do does doing down during each few for from further had has have having he her here hers
        him his how i if in into is it its itself just many may me might more most much must my no nor not of off on
        once only or other our out over own same she should so some such than that the their them then there these
        they this those through to too under until up upon very was we were what when where which while who whom whose
        why will with would you your s t"""
    ),
    "ru": _set(
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

# Verbs that ask for a remedy, not for a topic: a text that holds the remedy seldom holds the verb.
REMEDY_WORDS: dict[Language, frozenset[str]] = {
    "en": _set("fix fixing repair repairing solve resolve remedy cure eliminate troubleshoot correct handle"),
    "ru": _set(
        "устранить устранять исправить исправлять починить чинить решить вылечить побороть избавиться делать "
        "сделать предпринять поступить"
    ),
}
HOW_TO: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(how (to|do|can|should|would)|what (to do|should|must|steps)|steps|procedure|instructions?)\b"
    ),
    "ru": re.compile(
        r"\b(как(им образом)?\b(?! (называ|зов|дел))|что (нужно |надо )?(с?делать|предпринять)|порядок|шаги)"
    ),
}


def language_of(text: str) -> Language:
    """Tell Russian from English by the share of Cyrillic letters."""
    letters = len(LETTER.findall(text))
    return "ru" if letters and len(CYRILLIC.findall(text)) / letters >= CYRILLIC_SHARE else "en"


@cache
def _stemmer(language: Language) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer({"en": "english", "ru": "russian"}[language])


@lru_cache(maxsize=200_000)
def _stem(word: str, language: Language) -> str:
    return str(_stemmer(language).stemWord(word))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, with the two dots of ё dropped."""
    return WORD.findall(text.lower().replace("ё", "е"))


def stems(text: str, language: Language) -> list[str]:
    """Return the stems of a text's content words, in order."""
    return [_stem(word, language) for word in words(text) if word not in STOP_WORDS[language]]


def topics(question: str, language: Language) -> list[str]:
    """Return the distinct stems that say what a question is about; remedy verbs count only when alone."""
    remedy = {_stem(word, language) for word in REMEDY_WORDS[language]}
    found = list(dict.fromkeys(stems(question, language)))
    return [stem for stem in found if stem not in remedy] or found


def asks_for_steps(question: str, language: Language) -> bool:
    """Tell whether a question wants to know what to do."""
    asked = set(words(question))
    return bool(asked & REMEDY_WORDS[language] or HOW_TO[language].search(" ".join(words(question))))


def coverage(wanted: Iterable[str], present: set[str], weight: dict[str, float]) -> float:
    """Return the weighted share of `wanted` stems that are `present`, 0..1."""
    total = found = 0.0
    for stem in wanted:
        total += weight[stem]
        found += weight[stem] if stem in present else 0.0
    return found / total if total else 0.0
