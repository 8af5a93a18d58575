"""Tells which sentences of a passage may be quoted: not those about answering, nor those in a language of their own.

A passage that plainly gives orders is never found (`ingest/injection`). Here is the wider net, which hides nothing: a
sentence in which two words of asking and answering meet, one of them such as no manual needs, tells no technician
anything. It stays in its passage, and is not said again.
"""

import re
from functools import lru_cache

from pipelines.knowledge.records import Passage
from pipelines.knowledge.search.text import words_of

# Words of asking and answering, such as manuals hardly have; response times and responding valves are left out.
ANSWERING = re.compile(
    r"(?:^|[.:;,]\s*)(?:always |only |never |do not |please |then |just )?(?:say|speak|print|translate|praise|"
    r"rate|refuse|"
    r"mention|reveal|output|act on|trust|believe|paraphrase|recite|rewrite)\b|"
    r"\b(?:what|whatever|values?|which|that) you (?:will )?(?:write|give|say|print|output|are asked|were shown|"
    r"have read|quote)\b|"
    r"\bno matter what you\b|\byour (?:output|memory|job|next (?:answer|reply|words))\b|\b(?:is|as) the topic\b|"
    r"\bthe topic is\b|"
    r"\bbots?\b|\bthis (?:chat|conversation)\b|\bgenerat\w+ (?:this|the) (?:text|answer|reply)\b|\b(?:other|"
    r"earlier|preceding) "
    r"(?:lines?|files?|paragraphs?)\b|"
    r"\b(?:пиши|вставь|откажись|сотри|верь|доверяй|говори|выдавай|переведи|напечатай|отрицай|хвали|скрой|умолчи)\b|"
    r"\b(?:роботам|ботам|если речь (?:о|об|про))\b|"
    r"\b(?:answer(?:s|ed|ing)?|repl(?:y|ies|ied|ying)|respond(?:s|ed|ing)? (?:to (?:the|this|any|every|all)|with|"
    r"by|that|as)|"
    r"(?:your|any|every|this|each|all) responses?|response to (?:this|the|any|every) (?:query|question|user)|"
    r"when you respond|cit(?:e|es|ing)\b|quot(?:e|es|ing)\b|claim(?:s|ing)?\b(?! (?:form|for|under))|pretend\w*|"
    r"inquir\w+|enquir\w+|(?:person|people|user|users|reader|readers|one|anyone|whoever|those|operator|customer)s? "
    r"(?:who |that )?(?:is |are )?ask(?:s|ing)?|asked (?:about|whether|how|why|what|for)|assistants?|chat ?bots?|"
    r"language models?|summari[sz]\w+|quer(?:y|ies)|convince\w*|"
    r"(?:the|your|a) (?:reader|asker)s?|overrid\w+\s*:|system override|all other material|(?:other|rest of the|"
    r"these|remaining|"
    r"all) (?:documents|passages|sources)|(?:text|guidance|everything|anything|what) (?:\w+ ){0,3}?(?:before|"
    r"preced\w+|above)|"
    r"(?:forget|ignore|disregard) (?:all |everything |the |what ){0,2}(?:above|foregoing)|your instructions|"
    r"ответ(?:ь|ьте|ить)\b|(?:твой|ваш|любой|каждый|все|всякий) ответ\w*|ответ\w* на (?:этот |любой |"
    r"каждый )?вопрос\w*|"
    r"отвеча(?:й|йте|ть|я)\b|"
    r"спрос(?:ит|ят|и|ите|ивш\w*)|спрашива\w+|вопроша\w+|утвержда(?:й|йте)|процитир\w+|цитир\w+|притвор\w+|"
    r"пользовател\w+,? (?:что|будто)|ассистент\w*|чат-?бот\w*|языков\w+ модел\w*|нейросет\w*|промпт\w*|читател\w+|"
    r"(?:друг|остальн|проч)\w+ (?:документ|источник|отрывк|страниц)\w*|(?:ты|тебя|тебе|твой|твоя|твои|твоих)\b)",
    re.IGNORECASE,
)
# Words that meet one of these in an order: what is to be said, to whom, and what is to be set aside for it.
BESIDE = re.compile(
    r"\b(?:say|says|said|tell|tells|told|inform\w*|state[sd]?|recommend\w*|report\w*|mention\w*|declare\w*|"
    r"include\w*|"
    r"conclude\w*|know|hear|receive|word|words|phrase|sentence|instead|always|every|only|never|must|should|shall|"
    r"has to|ignor\w*|"
    r"discard\w*|erase|secret|help|stop|nothing|except|after each|believes?|everything|any|is|are|when|whenever|"
    r"no matter|"
    r"disregard\w*|forget|forgotten|hide|omit\w*|instructions?|guidance|rules?|notes?|user|users|reader|readers|"
    r"question\w*|manual|page|document\w*|note|approve|safe|optional|harmless|as if|comply|"
    r"скажи\w*|сообщ\w+|указан\w+|упомина\w+|сказа\w+|слово\w*|словом|вопрос\w*|всегда|только|никогда|долж\w+|"
    r"пользовател\w*|"
    r"источник\w*|документ\w*|отмен\w+|забудь\w*|игнорир\w+|считай|так|начинай|получил\w*|нужн\w+)\b",
    re.IGNORECASE,
)
# A list of questions and their answers, and where to put one's own.
HONEST = re.compile(
    r"\banswer the (?:prompt|question)s? (?:on|of|at|in) the\b|^\s*(?:q|a|question|answer|вопрос|"
    r"ответ)\s*\d*\s*[:.]|\b(?:if you have|with any|for (?:any )?further|any other) questions?\b|"
    r"\b(?:at|on|after|to) (?:the|each|a|this) prompts?\b|\b(?:yes|no|enter|ok)\b.{0,12}\b(?:at|to) the (?:prompt|"
    r"question)\b|"
    r"\bthe (?:system|controller|valve|panel|drive|sensor|device) (?:\w+ )?(?:answers|replies|prompts|responds)\b|"
    r"\b(?:do not|never|don't) (?:ignore|disregard|skip)\b|\bне (?:игнорируйте|пренебрегайте)\b|"
    r"если у вас (?:есть|возник\w+) вопрос",
    re.IGNORECASE,
)
# Words of grammar, by which a sentence is known to be of another language than the passage it stands in.
ENGLISH = words_of("the a an of to and in is are for with on at by it that this not be from or as when if must")
FOREIGN = words_of(
    """für als immer ist aus mit von im zum toujours pour sur avec dans ce cette para con por siempre sobre
    der die das den dem und nicht dass sie es ist keine ein eine zu auf le la les des et que est une un pas du il el
    los las una del che di non per lo gli jest że nie się na het een niet van op att det och inte og ikke os um uma
    não em usuario l'utilisateur benutzer użytkownikowi bu ve için ne"""
)
OTHER_SCRIPT = re.compile(r"[\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
WORD = re.compile(r"[^\W\d_][^\W\d_']*")
# Words of grammar of another language that make a sentence of it. Source: own choice; names have one at most.
STRANGE = 2


def quotable(passage: Passage, start: int, end: int) -> bool:
    """Tell whether a sentence of a passage may be quoted."""
    text = passage.text[start:end]
    return not about_answering(text) and not _of_another_language(text, passage.text)


@lru_cache(maxsize=8_192)
def about_answering(text: str) -> bool:
    """Tell whether a sentence is about asking and answering, and not about a machine."""
    if HONEST.search(text):
        return False
    spans = [match.span() for match in ANSWERING.finditer(text)]
    beside = [match.span() for match in BESIDE.finditer(text)]
    return any(apart(one, other) for one in spans for other in [*spans, *beside])


def apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two spans share no sign."""
    return one[1] <= other[0] or other[1] <= one[0]


def _of_another_language(text: str, passage: str) -> bool:
    """Tell whether a sentence is in another language than most of its passage, or in another script."""
    if OTHER_SCRIPT.search(text):
        return len(OTHER_SCRIPT.findall(passage)) < sum(map(str.isalpha, passage)) / 2
    foreign, own = _grammar(text)
    whole_foreign, whole_own = _grammar(passage)
    return foreign >= STRANGE and foreign > own and whole_own > whole_foreign - foreign


def _grammar(text: str) -> tuple[int, int]:
    """Return how many words of grammar a text has of other languages, and of English."""
    found = [word.lower() for word in WORD.findall(text)]
    return sum(word in FOREIGN for word in found), sum(word in ENGLISH for word in found)
