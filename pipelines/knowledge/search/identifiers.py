"""Reads the identifiers of a text: models, parts, valves, articles and errors, however they are spelled.

One identifier has one key: `PQX-8`, `pqx 8`, `PQX8` and one with letters of the other script are the same. Quantities,
standards, grades of oil, threads, counted steps and ordinals are none.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from pipelines.knowledge.records import Language, Passage
from pipelines.knowledge.search.quantities import UNITS
from pipelines.knowledge.search.text import STOP_WORDS, concept, stems, words_of


class Identifier(NamedTuple):
    """An identifier where it stands.

    Attributes:
        key: The same for every spelling.
        written: As it stands.
        start: Offset in its text; `text[start:end] == written`.
        base: The key without a number that follows apart, as `A10VSO` of `A10VSO 71`; empty where none does.
        weak: A word of the language with a number, as `press 9`, or small letters with one apart: it is an identifier
            where others of its kind are, and else may be a manner of speaking.
    """

    key: str
    written: str
    start: int
    end: int
    base: str = ""
    weak: bool = False


# Letters of other scripts that look like Latin ones, in capitals. Source: Unicode's confusables, those of Russian and
# Greek keyboards.
LOOKALIKES = str.maketrans("АВЕЁКМНОРСТУХІЈЅԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEEKMHOPCTYXIJSQWABEZHIKMNOPTYX")
DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")

# What stands before a number and makes no identifier of it: standards, threads, nominal sizes, classes of protection,
# interfaces, counted things.
GENERIC = frozenset(
    word.translate(LOOKALIKES)
    for word in words_of(
        """ISO DIN EN IEC SAE API ASTM ANSI NFPA NAS BS JIS VDE VDI VDMA CETOP ATEX NORSOK UL CE ГОСТ ОСТ ТУ СП СНИП
        RP RC BSP BSPP NPT NPTF UNF UNC JIC ORFS TR DN PN NG NW SW IP IK CAT SIL PL PH RA RZ CO CH RS USB CAN TCP IPV RJ
        MP FIG FIGS TAB PAGE PP STEP STAGE LEVEL VERSION VER REV CLASS GRADE TYPE SIZE GROUP TABLE CHAPTER SECTION ITEM
        POINT NOTE PHASE DAY WEEK MONTH YEAR SHIFT PART PARTS ANNEX APPENDIX CLAUSE ARTICLE NO NR NUMBER SERIES MAX MIN
        ШАГ РИС СТР ТАБЛ ТАБЛИЦА ГЛАВА РАЗДЕЛ ПУНКТ ПП ЭТАП УРОВЕНЬ ДЕНЬ КЛАСС ГРУППА ТИП РАЗМЕР ЧАСТЬ СТАТЬЯ НЕДЕЛЯ ГОД
        APPROX CA МЕСЯЦ СМЕНА ВЕРСИЯ РЕДАКЦИЯ ПОЗ ПОЗИЦИЯ ПРИЛОЖЕНИЕ НОМЕР СЕРИЯ ДО ОТ НА ЗА ПО ПРИ"""
    )
)
# Grades of oil with their viscosity. Source: ISO 6743-4, ISO 3448, DIN 51524, GOST 17479.3.
OILS = frozenset(
    word.translate(LOOKALIKES)
    for word in words_of(
        "HLP HL HM HV HH HFC HFD HFA HFB HEES HETG HEPG HVLP HLPD VG ATF NLGI UTTO И МГЕ АМГ ИГП ВМГЗ ТП АУ ИГНЕ МГ"
    )
)
OIL = re.compile(
    r"(?P<grade>[^\W\d_]{1,4})[-/. ]?(?:0|1|2|3|5|7|8|10|12|15|18|20|22|30|32|38|40|45|46|49|50|68|72|91|100|114|150|"
    r"220|320|460)[^\W\d_]?"
)
# Words with a number that are counted and not called by it.
COUNTED = words_of(
    """step stage level page pages figure fig table chapter section item point note phase day days week weeks month year
    version revision class grade size group annex appendix clause paragraph row column part parts times about
    approximately every least most than under over only exactly nearly almost within another next last first top
    january february march april may june july august september october november december
    шаг этап уровень страница рисунок рис таблица глава раздел пункт день дня дней неделя месяц год года лет версия
    редакция класс группа размер часть строка столбец каждые каждый около примерно более менее минимум максимум свыше
    января февраля марта апреля мая июня июля августа сентября октября ноября декабря шага этапа раздела пункта главы"""
)
# What follows a number that is a quantity.
UNIT_TAIL = re.compile(r"\s*-?\s*((?:[^\W\d_]|[%‰°µμ])+)")
# A number with a word of one of these before it names one of many: it binds whether others are named or not.
CODED = re.compile(
    r"\b(?P<noun>errors?|faults?|alarms?|trips?|codes?|messages?|warnings?|parameters?|diagnostics?|"
    r"ошибк\w*|неисправност\w*|авари\w*|тревог\w*|код\w{0,3}|сообщени\w*|предупреждени\w*|параметр\w*)"
    r"(?:\s+(?:code|codes|number|no\.?|nr\.?|message|код\w{0,3}|номер\w{0,3}))?\s*(?:№|#|:)?\s*"
    r"(?P<number>\d{1,6})\b(?![.,]?\d)",
    re.IGNORECASE,
)
ARTICLE = re.compile(
    r"\b(?P<noun>article|part|order|ordering|item|serial|material|drawing|spare part|catalogue|catalog|stock|ident|"
    r"артикул\w*|каталожн\w+|заказ\w*|детал\w+|чертеж\w*|серийн\w+|заводск\w+)"
    r"(?:\s*(?:№|#|:|numbers?|no\.?|nr\.?|code|номер\w{0,3}|код\w{0,3}))*\s*"
    r"(?P<number>\d(?:[\d ./-]{2,}\d))(?![.,]?\d)",
    re.IGNORECASE,
)
# A line of a table or list of errors, by its number: `27 - pump too hot`.
LISTED = re.compile(r"(?:^|\n)[ \t]*(?:- )?(?P<number>\d{1,6})[ \t]*(?:[-–—:|=;]|\s{2,})")
CODE_WORDS = re.compile(
    r"\b(?:errors?|faults?|alarms?|codes?|messages?|parameters?|ошиб\w+|авари\w+|код\w{0,3}|сообщени\w+|параметр\w*)\b",
    re.IGNORECASE,
)
# Codes of one run: letters and digits, parts joined by - / . or _.
TOKEN = re.compile(r"(?<![\w@])[^\W_]+(?:[-/._][^\W_]+)*(?![\w@])")
LETTERS_FIRST = re.compile(r"[^\W\d_]{1,8}[-/._]?\d")
DIGITS_FIRST = re.compile(r"\d+[-/._]?[^\W\d_]{1,6}[-/._]?\d|\d[^\W\d_]{2,6}$")
APART = re.compile(
    r"[ \t\u00a0](?:№ ?|#)?(?P<number>\d{1,4}(?P<more>[^\W\d_]?(?:[/-]\d{1,3}[^\W\d_]?)?))"
    r"(?![\w]|[.,/-]\d|[-/][^\W\d_])"
)
LONG_NUMBER = re.compile(r"(?<![\w.,/-])\d{6,12}(?![\w/-]|[.,]\d)")
GROUPED = re.compile(r"(?<![\w.,/-])\d{1,6}(?:[-./]\d{1,6}){2,}(?![\w/-])")
DATE = re.compile(
    r"(?:19|20)\d\d[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)?\d\d|\d{1,3}(?:\.\d{1,3}){3}"
)
# Grades of oil, sizes, threads, gases and paragraphs.
NO_CODE = re.compile(r"\d+W[-/]?\d+|\d+[x×]\d+|[MGR]\d{1,2}(?:[x×/]\S*)?|[HNO]2[OS]?|[пp]\.\d[\d.]*", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_]{2,}")
IN_LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")
# Characters at the beginning of a document that say what it is about. Source: own choice; a title page and a sentence.
OPENING = 300
SHORT = 6  # letters: a word of capitals that is longer is shouting


@lru_cache(maxsize=8_192)
def identifiers(text: str, language: Language = "en") -> tuple[Identifier, ...]:
    """Return the identifiers of a text in order; none lies inside another."""
    plain = DASHES.sub("-", text)
    found = [
        *_coded(plain),
        *_tokens(plain),
        *_numbers(plain),
        *_designated(plain, language),
    ]
    kept: list[Identifier] = []
    for each in sorted(found, key=lambda one: (one.weak, one.start, one.start - one.end)):
        if all(each.end <= other.start or other.end <= each.start for other in kept):
            kept.append(each._replace(written=text[each.start : each.end]))
    return tuple(sorted(kept, key=lambda one: one.start))


def keys(text: str, language: Language = "en") -> frozenset[str]:
    """Return the keys that a text names, those of a series included."""
    found = identifiers(text, language)
    return frozenset(key for each in found for key in (each.key, each.base) if key)


def marks(text: str, language: Language = "en") -> list[str]:
    """Return the keys of a text as words that no other text holds, for an index."""
    return [f"#{key.lower()}" for key in sorted(keys(text, language))]


def name_of(document_id: str) -> str:
    """Return the name of a document's file as its id has it."""
    return document_id.rsplit("-", 2)[0] if document_id.count("-") > 1 else document_id


def opening(passage: Passage) -> str:
    """Return the first lines of a document, which say what it is about, of a passage that may be its first."""
    return passage.text[:OPENING] if passage.page == 1 and passage.start < OPENING else ""


def canonical(text: str, language: Language = "en", known: frozenset[str] = frozenset()) -> str:
    """Return a text in which every identifier is one word, the same for all spellings.

    Args:
        text: A passage, or a question.
        language: Of the text.
        known: Of a question the keys that sources know, weak ones too; a passage is also told by its series.
    """
    parts, end = [], 0
    for each in identifiers(text, language):
        one_word = not each.weak or each.key in known
        base = "" if known else each.base
        said = f" {base} {each.key} ".replace("№", "") if one_word else each.written
        parts += [text[end : each.start], said]
        end = each.end
    return "".join([*parts, text[end:]])


def without(text: str, language: Language = "en") -> str:
    """Return a text without its identifiers, the whole of it where it is nothing else."""
    parts, end = [], 0
    for each in identifiers(text, language):
        parts.append(text[end : each.start])
        end = each.end
    left = " ".join([*parts, text[end:]])
    return left if WORD.search(left) else text


def alike(one: str, other: str) -> bool:
    """Tell whether two keys could be two of one kind: their letters are equal, or they differ by one sign."""
    if one == other:
        return False
    letters = [re.sub(r"\d", "", key) for key in (one, other)]
    if letters[0] == letters[1]:
        return True
    return all(len(part) > 1 for part in letters) and _one_apart(one, other)


def key_of(written: str) -> str:
    """Return the key of an identifier as it is written."""
    wide = unicodedata.normalize("NFKC", written).upper().translate(LOOKALIKES)
    return re.sub(r"[\W_]", "", wide)


def _one_apart(one: str, other: str) -> bool:
    """Tell whether one sign more, less, other or exchanged with its neighbour makes one of the other."""
    if len(one) == len(other):
        places = [place for place in range(len(one)) if one[place] != other[place]]
        if len(places) == 1:
            return True
        return len(places) == 2 and places[1] == places[0] + 1 and sorted(one) == sorted(other)
    short, long = sorted((one, other), key=len)
    return len(long) == len(short) + 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def _coded(text: str) -> list[Identifier]:
    """Return numbers of errors, parameters and articles, which bind by what they are called."""
    found = [_numbered(match) for match in CODED.finditer(text) if not _measured(text, match.end())]
    found += [_numbered(match) for match in ARTICLE.finditer(text)]
    if CODE_WORDS.search(text):
        found += [_numbered(match) for match in LISTED.finditer(text)]
    return found


def _numbered(match: re.Match[str]) -> Identifier:
    number = re.sub(r"\D", "", match["number"])
    return Identifier(f"№{number}", match["number"], *match.span("number"))


def _tokens(text: str) -> list[Identifier]:
    """Return codes of letters and digits, with a number that follows apart where it is no quantity."""
    found = []
    shouted = text.upper() == text and len(WORD.findall(text)) > 2
    for match in TOKEN.finditer(text):
        written = match[0]
        one = _code(written)
        capitals = written.isalpha() and written.isupper() and 1 < len(written) <= SHORT and not shouted
        if not one and not (capitals and _plain(written) not in GENERIC):
            continue
        number = APART.match(text, match.end())
        if number and not _measured(text, number.end()) and not _is_oil(written + number["number"]):
            key = key_of(written + number["number"])
            found.append(Identifier(key, "", match.start(), number.end(), key_of(written) if one else ""))
        elif one:
            found.append(Identifier(key_of(written), written, *match.span()))
    return found


def _code(written: str) -> bool:
    """Tell whether one run of letters and digits is an identifier."""
    if not re.search(r"\d", written) or NO_CODE.fullmatch(written) or _is_oil(written):
        return False
    if LETTERS_FIRST.match(written):
        prefix = re.match(r"[^\W\d_]+", written)
        return prefix is not None and _plain(prefix[0]) not in GENERIC
    if not DIGITS_FIRST.match(written):
        return False
    middle = WORD_INSIDE.search(written)
    return middle is not None and middle[0].isupper() and middle[0].lower() not in UNITS


WORD_INSIDE = re.compile(r"[^\W\d_]+")


def _is_oil(written: str) -> bool:
    oil = OIL.fullmatch(written)
    return oil is not None and _plain(oil["grade"]) in OILS


def _plain(word: str) -> str:
    return word.upper().translate(LOOKALIKES)


def _numbers(text: str) -> list[Identifier]:
    """Return long numbers and numbers in groups, which name articles; dates and quantities are none."""
    found = []
    for match in LONG_NUMBER.finditer(text):
        if not _measured(text, match.end()):
            found.append(Identifier(f"№{match[0]}", match[0], *match.span()))
    for match in GROUPED.finditer(text):
        if not DATE.fullmatch(match[0]) and len(re.sub(r"\D", "", match[0])) >= len("123456"):
            found.append(Identifier(f"№{re.sub(r'[^0-9]', '', match[0])}", match[0], *match.span()))
    return found


def _designated(text: str, language: Language) -> list[Identifier]:
    """Return words with a number, as `press 9`, and small letters with one, as `pqx 8`."""
    found = []
    for match in WORD.finditer(text):
        number = APART.match(text, match.end())
        word = match[0].lower()
        if not number or number["number"].startswith("0") or _measured(text, number.end()):
            continue
        if word in COUNTED or word in UNITS or word in STOP_WORDS[language] or _plain(word) in GENERIC | OILS:
            continue
        key = key_of(_called(word, language) + number["number"])
        found.append(Identifier(key, "", match.start(), number.end(), weak=True))
    return found


def _called(word: str, language: Language) -> str:
    """Return a word without its ending; one of the trade as both languages call it."""
    stem = next(iter(stems(word, language)), word)
    named = concept(stem, language)
    return f"CONCEPT{named[1:].translate(IN_LETTERS)}" if named else stem


def _measured(text: str, end: int) -> bool:
    """Tell whether what stands before an offset is a number of some unit."""
    tail = UNIT_TAIL.match(text, end)
    return bool(tail and tail[1].lower() in UNITS)
