"""Tells passages that give orders to whoever answers from those that inform a technician.

Source: OWASP LLM01:2025 (prompt injection); the forms that its examples and public red-team sets share, in both
languages of the index.
"""

import re
import unicodedata

# By what they attempt, so that a report can say why a passage was set aside.
ORDERS: dict[str, re.Pattern[str]] = {
    "overrides instructions": re.compile(
        r"\b(?:ignore|disregard|forget|override|bypass|skip|do not follow|stop following)\b.{0,40}"
        r"\b(?:previous|prior|above|earlier|preceding|all|any|your|system|other|the)\b.{0,30}"
        r"\b(?:instructions?|prompts?|rules?|directions?|messages?|guidelines|context|passages|sources)\b|"
        r"\b(?:игнорируй\w*|проигнорируй\w*|забудь\w*|отмени\w*|обойди\w*|пренебреги\w*|"
        r"не\s+(?:следуй|выполняй|соблюдай|учитывай)\w*)\b.{0,40}"
        r"\b(?:инструкци|указани|правил|подсказк|промпт|сообщени|команд|контекст|отрывк|источник)",
        re.IGNORECASE | re.DOTALL,
    ),
    "speaks as a role": re.compile(
        r"<\|[^|>\n]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?\s*(?:system|assistant|passage)\b|"
        r"^\s*#{0,4}\s*(?:system|assistant|developer|user|human|ассистент|система|пользователь)\s*:",
        re.IGNORECASE | re.MULTILINE,
    ),
    "assigns a role": re.compile(
        r"\byou are (?:now|no longer|henceforth)\b|\bpretend (?:to be|you)\b|"
        r"\bact as (?:if|an?|the)\b.{0,40}\b(?:assistant|model|ai|admin\w*|developer|dan)\b|"
        r"\bfrom now on,? (?:you|answer|reply|respond)\b|\bnew (?:system )?(?:instructions?|prompt)\b|"
        r"\b(?:ты|вы) (?:теперь|больше не)\b|\bпритворись|\bпритворитесь|\bдействуй(?:те)? как\b|"
        r"\bс этого момента\b|\bновые? (?:системн\w+ )?(?:инструкци|промпт)",
        re.IGNORECASE,
    ),
    "speaks to the assistant": re.compile(
        r"\b(?:dear|hey|note to|attention|message (?:to|for)|instructions? (?:to|for)) (?:the )?"
        r"(?:ai|assistant|llm|language model|chat ?bot|model)\b|"
        r"\b(?:ai|assistant|llm|language model|chat ?bot)s?\b.{0,30}"
        r"\b(?:must|should|shall|has to|have to|will now|is to)\b|"
        r"\b(?:answer|reply|respond|say|output|print|write)\b.{0,25}"
        r"\b(?:only with|exactly|nothing but|the (?:word|phrase|following))\b|"
        r"\b(?:ассистент|помощник|языков\w+ модел\w+|нейросет\w+|чат-?бот)\w*.{0,30}"
        r"\b(?:долж|обязан|следует|игнорируй)|"
        r"\b(?:ответь|отвечай|напиши|скажи|выведи)(?:те)?\b.{0,25}\b(?:только|ровно|дословно|всегда|слово|фразу)\b",
        re.IGNORECASE | re.DOTALL,
    ),
    "asks for secrets": re.compile(
        r"\b(?:reveal|show|print|repeat|output|leak|disclose|send|e-?mail|post|forward|exfiltrate|upload)\b.{0,50}"
        r"\b(?:system prompt|prompts?|instructions|api keys?|internal keys?|passwords?|secrets?|tokens?|credentials?|"
        r"other (?:tenants?|customers?|compan\w+)|conversation|user data|question|chat history)\b|"
        r"\b(?:раскрой|покажи|выведи|повтори|отправь|перешли|вышли|сообщи|передай|загрузи)(?:те)?\b.{0,50}"
        r"\b(?:системн\w+ (?:промпт|подсказк|инструкци)\w*|промпт|ключ\w*|парол\w*|секрет\w*|токен\w*|"
        r"друг\w+ (?:арендатор|клиент|компани|предприяти)\w*|переписк\w*|вопрос\w*|данн\w+ пользовател)",
        re.IGNORECASE | re.DOTALL,
    ),
    "carries live markup": re.compile(
        r"!\[[^\]\n]{0,200}\]\(|<\s*(?:script|img|iframe|object|embed|svg|form|a\s+href|meta|link)\b|"
        r"\bjavascript\s*:|\bon(?:error|load|click)\s*=|data:text/html|"
        r"https?://\S+\?\S*=\S*(?:\{|%7b|\$|<|%3c)",
        re.IGNORECASE,
    ),
}
# Between letters these are invisible, and cut a word in two for a search but not for a reader.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
# Letters of one script that look like those of the other, in words that mix both.
LOOKALIKES = str.maketrans("аеорсухіѕјԁԛԝ", "aeopcyxisjdqw")


def order_in(text: str) -> str:
    """Return what a passage attempts by giving orders, empty where it gives none."""
    plain = unicodedata.normalize("NFKC", INVISIBLE.sub("", text))
    for form in (plain, plain.translate(LOOKALIKES)):
        for attempt, pattern in ORDERS.items():
            if pattern.search(form):
                return attempt
    return ""
