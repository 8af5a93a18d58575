"""Tells whether a step is work for a machine that stands still; where that is not plain, it is.

A step that only looks, listens, reads or writes is none, nor one that the manual has done on a running machine.

Source: ISO 4413:2010, 5.4 and ISO 14118:2017: work on what holds pressure or moves only when the machine is isolated
and without pressure.
"""

import re
from functools import cache

from pipelines.knowledge.records import Language
from pipelines.knowledge.search.text import stems, words, words_of

# What opens, cleans, replaces, adjusts or moves something, wherever in a step it stands.
HANDS: dict[Language, frozenset[str]] = {
    "en": words_of(
        """replace replacement remove removal disassemble dismantle dismount unscrew tighten retighten loosen drain
        flush disconnect detach adjust adjustment readjust repair renew weld clean refit reinstall install
        reassemble depressurise depressurize bleed unbolt overhaul"""
    ),
    "ru": words_of(
        """замените заменить замена заменять снимите снять снятие разберите разобрать разборка открутите открутить
        отверните затяните затянуть подтяните подтянуть ослабьте ослабить слейте слить промойте промыть промывка
        отсоедините отсоединить отрегулируйте отрегулировать регулировка отремонтируйте отремонтировать очистите
        очистить очистка прочистите прочистить установите установить смонтируйте демонтируйте соберите выверните
        вывернуть отцентрируйте поменяйте разгерметизируйте"""
    ),
}
# The same at the beginning of a clause; elsewhere these words are also names of parts and states.
BEGINS: dict[Language, frozenset[str]] = {
    "en": words_of(
        """fit open close set reset change exchange swap fill refill top grease lubricate seal reseal lengthen shorten
        fasten secure lap grind hone descale rinse wipe wash blow insert pull push press touch reach plug unplug cap
        drill crimp restore shut shim rotate turn move mount connect attach cut align correct release vent discharge
        empty put take lower raise support lock switch isolate stop"""
    ),
    "ru": words_of(
        """откройте открыть закройте закрыть настройте настроить смените сменить залейте залить долейте долить смажьте
        смазать уплотните закрепите протрите продуйте вставьте вытащите выньте вынуть потяните нажмите заглушите
        восстановите поверните переместите подключите присоедините обрежьте выровняйте исправьте сбросьте сбросить
        выпустите разрядите опорожните поставьте возьмите опустите поднимите подоприте заблокируйте отключите
        остановите удалите удалить обновите"""
    ),
}
# What changes nothing on the machine.
HARMLESS: dict[Language, frozenset[str]] = {
    "en": words_of(
        """check read measure record note write compare listen watch observe look inspect verify confirm ask order call
        inform tell document calculate choose select determine identify find plan label mark send wait run start
        restart warm repeat see consult log report keep make ensure train store"""
    ),
    "ru": words_of(
        """проверьте проверить прочтите прочитайте считайте измерьте измерить запишите записать сравните послушайте
        наблюдайте осмотрите закажите сообщите предупредите дождитесь подождите запустите прогрейте рассчитайте
        выберите определите найдите запланируйте подпишите укажите отправьте убедитесь повторите посмотрите спросите
        отметьте храните соблюдайте"""
    ),
}
# What stands before the verb of a clause, and what it may be begun by.
BEFORE: dict[Language, frozenset[str]] = {
    "en": words_of(
        "first then next finally now always also slowly carefully gently only please regularly daily weekly"
    ),
    "ru": words_of("сначала затем потом далее теперь всегда также медленно осторожно только регулярно ежедневно снова"),
}
CLAUSE = re.compile(r"[,;:.!()]|\b(?:and|then|or|и|затем|или|потом)\b", re.IGNORECASE)
SUBORDINATE = re.compile(r"^\s*(?:to|when|if|after|before|once|чтобы|если|когда|после|перед|до)\b[^,]*,", re.IGNORECASE)
RUNNING = re.compile(
    r"\b(?:while|with|when)\s+(?:the\s+|a\s+)?(?:\w+\s+){0,2}(?:is\s+|are\s+)?(?:still\s+)?running\b|"
    r"\bduring operation\b|\bin operation\b|\bwithout (?:stopping|shutting|a (?:stop|shutdown))\b|"
    r"\b(?:no (?:stop|shutdown|standstill) is|(?:stop|shutdown|standstill) is not) (?:needed|required|necessary)\b|"
    r"\bneed not (?:be stopped|stand still)\b|\b(?:на|при) работающ\w+|\bна ходу\b|\bво время работы\b|"
    r"\bбез остановки\b|\bне останавливая\b|\bостановка (?:\w+ )?не (?:требуется|нужна)\b",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"\b(?:never|not|don't|no|нельзя|никогда|запрещ\w+|не)\b[^.;]*$", re.IGNORECASE)


def needs_standstill(step: str, language: Language, heading: str = "") -> bool:
    """Tell whether a step asks for a machine that stands still.

    Args:
        step: As the manual has it.
        language: Of the manual.
        heading: What the step stands under.
    """
    if any(_while_running(text) for text in (step, heading)):
        return False
    if not _stems(HANDS[language], language).isdisjoint(stems(step, language)):
        return True
    main = SUBORDINATE.sub("", step)
    first, *others = [begun for clause in CLAUSE.split(main) if (begun := _begun(clause, language))] or [""]
    begins = _stems(BEGINS[language], language)
    return first not in _stems(HARMLESS[language], language) or any(begun in begins for begun in others)


def _while_running(text: str) -> bool:
    match = RUNNING.search(text)
    return match is not None and not FORBIDDEN.search(text[: match.start()])


def _begun(clause: str, language: Language) -> str:
    """Return the stem of the first word of a clause that says what to do."""
    found = [word for word in words(clause) if word not in BEFORE[language]]
    return next(iter(stems(found[0], language)), found[0]) if found else ""


@cache
def _stems(listed: frozenset[str], language: Language) -> frozenset[str]:
    return frozenset(stems(" ".join(listed), language))
