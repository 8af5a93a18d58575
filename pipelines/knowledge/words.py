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

# Words that say what kind of answer is wanted, not what it is about: a text that holds the answer seldom holds them.
REMEDY_WORDS: dict[Language, frozenset[str]] = {
    "en": _set("fix fixing repair repairing solve resolve remedy cure eliminate troubleshoot correct handle"),
    "ru": _set(
        "устранить устранять исправить исправлять починить чинить решить вылечить побороть избавиться делать "
        "сделать предпринять поступить"
    ),
}
CAUSE_WORDS: dict[Language, frozenset[str]] = {
    "en": _set(
        """cause causes caused reason reasons mean means meaning sign signs symptom symptoms detect detecting recognise
        recognize identify notice"""
    ),
    "ru": _set(
        """причина причины причиной причине причинам означает значит вызвано вызывает вызвать признак признаки признаков
        распознать определить обнаружить выявить заметить"""
    ),
}
# Every source here is about hydraulics, and few say so in every section.
DOMAIN_WORDS: dict[Language, frozenset[str]] = {
    "en": _set("hydraulic hydraulics hydraulically"),
    "ru": _set("гидравлика гидравлики гидравлике гидравлический гидравлическая гидросистема гидросистемы"),
}
WHAT_TO_DO: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(what (to|should|must|can) (i |we |be )?(do|done)|steps|procedure)\b"),
    "ru": re.compile(r"\b(что (нужно |надо |мне )?(с?делать|предпринять)|порядок действий|шаги)\b"),
}
HOW: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\bhow (to|do|can|should|would|must)\b"),
    "ru": re.compile(r"\bкак(им образом)?\b(?! (часто|долго|много|быстро|называ|зов))"),
}

# Words of the trade that stand for one another in questions and manuals, by their first one.
SYNONYMS: dict[Language, tuple[frozenset[str], ...]] = {
    "en": (
        _set("noise noisy noises loud rattle rattles rattling whine whines whining knocking"),
        _set("overheat overheats overheating overheated hot heats heating temperature"),
        _set("leak leaks leaking leakage leakages drip drips dripping"),
        _set("clog clogs clogged clogging plugged blocked blockage"),
        _set("drop drops dropping fall falls falling fell loss loses decrease decreases low"),
        _set("replace replacing replaced replacement change changing changed"),
        _set("slow slowly sluggish"),
        _set("aeration aerated foam foams foaming air"),
        _set("vibration vibrations vibrate vibrates vibrating shakes shaking"),
        _set("oil fluid"),
    ),
    "ru": (
        _set("шум шума шумы шумит шумят шуметь шумный гул гудит стук стучит вой воет"),
        _set("перегрев перегрева перегревается перегреваться греется греться нагрев нагревается горячее температура"),
        _set("утечка утечки утечек течь течет подтекает подтекание подтеки"),
        _set("засорен засорился засорение засоренный забит забился забитый загрязнен загрязнение"),
        _set("падение падает падать упало упал снижение снижается снизилось потеря низкое просадка"),
        _set("замена замены заменить заменять менять поменять сменить"),
        _set("медленно медленный медленное замедление"),
        _set("аэрация вспенивание пена пенится воздух воздуха"),
        _set("вибрация вибрации вибрирует вибрировать трясет"),
        _set("масло масла жидкость жидкости"),
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
    stem = str(_stemmer(language).stemWord(word))
    return _synonyms(language).get(stem, stem)


@cache
def _synonyms(language: Language) -> dict[str, str]:
    """Map the stem of every synonym to the name of its group."""
    stemmer = _stemmer(language)
    return {str(stemmer.stemWord(word)): f"={min(group)}" for group in SYNONYMS[language] for word in group}


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


def expanded(question: str, language: Language) -> str:
    """Return the question with the synonyms of its words, for a search that knows only stems."""
    asked = set(words(question))
    groups = [group for group in SYNONYMS[language] if group & asked]
    return " ".join([question, *sorted(set().union(*groups) - asked)])


def asks_for_remedy(question: str, language: Language) -> bool:
    """Tell whether a question wants to know what to do about something."""
    asked = words(question)
    return bool(REMEDY_WORDS[language].intersection(asked) or WHAT_TO_DO[language].search(" ".join(asked)))


def asks_how(question: str, language: Language) -> bool:
    """Tell whether a question wants to know how something is done."""
    return bool(HOW[language].search(" ".join(words(question))))


def coverage(wanted: Iterable[str], present: set[str], weight: dict[str, float]) -> float:
    """Return the weighted share of `wanted` stems that are `present`, 0..1."""
    total = found = 0.0
    for stem in wanted:
        total += weight[stem]
        found += weight[stem] if stem in present else 0.0
    return found / total if total else 0.0
