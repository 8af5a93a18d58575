"""Answers questions about a machine from what is stored of it: what it is, what changed, what happened before.

Stands on the store and knows no HTTP. Every sentence is cited by the trace id of a diagnosis, or by the system or event
that it tells of; what is read is bounded, and is the tenant's own.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pipelines.errors import UnknownFamily
from pipelines.knowledge.answer.answer import Event, count_tokens, pieces
from pipelines.knowledge.answer.faults import faults
from pipelines.knowledge.records import Answer, Citation, Hit, Language, Passage
from pipelines.knowledge.search.text import language_of, words
from pipelines.machines.family import Family, name_of
from serve_app.families import Families
from serve_app.store.life import evidence_of
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Finding, System

MODEL = "database"
Matter = Literal["changed", "before", "now", "machine"]

# Findings and events that an answer lists, and events that are looked through for them. Source: own choices; what a
# person reads, and what the index by system gives in milliseconds.
SHOWN, EVENTS_READ = 8, 100
# How far "before" looks back. Source: own choice; a seasonal fault comes again within a year.
BEFORE = timedelta(days=400)

MATTERS: dict[Language, dict[Matter, re.Pattern[str]]] = {
    "en": {
        "changed": re.compile(
            r"\bwhat(?:'s| is| has| have| was)?\b.{0,25}\b(?:changed|happened|new|occurred)\b|"
            r"\bany(?:thing)? (?:changes?|news?|events?|alarms?|findings?)\b.{0,20}"
            r"\b(?:since|today|yesterday|in the last)\b",
            re.IGNORECASE,
        ),
        "before": re.compile(
            r"\b(?:has|have|had|did|was|were)\b.{0,50}"
            r"\b(?:happen\w*|occur\w*|seen|appear\w*|like this|alarm\w*|fault\w*)\b"
            r".{0,40}\b(?:before|earlier|already|previously|in the past|ever|again)\b|\bhow often (?:has|have|did)\b|"
            r"\b(?:is|was) (?:this|it|that) the first time\b",
            re.IGNORECASE,
        ),
        "now": re.compile(
            r"\b(?:open|active|current) alarms?\b|\balarms? (?:is|are) (?:open|active|raised)\b|"
            r"\bin alarm\b|\bhow is (?:the|this|my) (?:machine|system)\b|"
            r"\b(?:last|latest|newest|recent) (?:\w+ )?(?:diagnos\w+|findings?|alarms?|repairs?|notes?|feedback)\b",
            re.IGNORECASE,
        ),
        "machine": re.compile(
            r"\b(?:which|what) (?:components?|channels?|sensors?|units?|family|kind of machine)\b.{0,30}"
            r"\b(?:have|has|is|does|are|of)\b|\bwhat (?:machine|system) is (?:this|it)\b",
            re.IGNORECASE,
        ),
    },
    "ru": {
        "changed": re.compile(
            r"\bчто\b.{0,25}\b(?:изменилось|случилось|произошло|происходило|нового|поменялось)\b|"
            r"\bбыли ли\b.{0,20}\b(?:изменения|события|тревоги)\b",
            re.IGNORECASE,
        ),
        "before": re.compile(
            r"\b(?:было|бывало|случалось|происходило|встречалось|повторялось|возникало|был\w*)\b.{0,40}"
            r"\b(?:раньше|прежде|ранее|уже|когда-либо|до этого)\b|"
            r"\b(?:раньше|прежде|ранее|уже|когда-нибудь)\b.{0,30}\b(?:было|бывало|случалось|происходило|встречалось|такое)\b|"
            r"\bкак часто (?:это |такое )?(?:было|бывает|случалось|происходило)\b|\bвпервые ли\b",
            re.IGNORECASE,
        ),
        "now": re.compile(
            r"\b(?:открыт|активн|текущ)\w+ тревог\w*|\bтревог\w* (?:сейчас )?(?:открыт|активн)\w+|"
            r"\bв тревоге\b|\bкак (?:там )?(?:машина|система|станок)\b|"
            r"\bпоследн\w+ (?:\w+ )?(?:диагноз\w*|диагностик\w*|тревог\w*|ремонт\w*|заметк\w*|находк\w*)",
            re.IGNORECASE,
        ),
        "machine": re.compile(
            r"\bкаки[ехм]\w* (?:компонент|канал|датчик|узл|единиц)\w*|\bчто это за (?:машина|система|станок)\b|"
            r"\bкакого (?:она )?(?:типа|семейства)\b",
            re.IGNORECASE,
        ),
    },
}
SPAN = re.compile(
    r"\b(?:last|past|за|последн\w+)\s+(?:последн\w+\s+)?(?P<number>\d{1,3})?\s*"
    r"(?P<unit>hours?|days?|weeks?|months?|час\w*|сут\w*|дн\w*|ден\w*|недел\w*|месяц\w*)",
    re.IGNORECASE,
)
HOURS = {"h": 1, "d": 24, "w": 168, "m": 720, "ч": 1, "с": 24, "д": 24, "н": 168, "м": 720}
TODAY, WEEK, MONTH = words("today сегодня"), words("week неделю неделе недели"), words("month месяц месяце месяца")


class Fact(NamedTuple):
    """A sentence with what it is cited by."""

    text: str
    key: str
    title: str


@dataclass(frozen=True)
class Told:
    """An assistant that has its answer already."""

    answer: Answer

    async def ask(self, asked: object) -> Answer:
        """Return the answer."""
        return self.answer

    async def flagged(self, tenant_id: int, document_id: str) -> Sequence[Passage]:
        """Return nothing: it has no documents."""
        return ()

    async def health(self) -> Literal["ok"]:
        """Return that it is well."""
        return "ok"

    async def stream(self, asked: object) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        """Yield no passages, the answer in pieces, and the whole of it last."""
        yield ()
        for piece in pieces(self.answer.text):
            yield piece
        yield self.answer


def matter_of(question: str, language: Language) -> Matter | None:
    """Return what a question wants to know of a machine; None where it is for the manuals."""
    return next((matter for matter, form in MATTERS[language].items() if form.search(question)), None)


def since_of(question: str, now: datetime) -> datetime:
    """Return the moment from which a question asks what changed; since yesterday where it does not say."""
    if (span := SPAN.search(question)) is not None:
        return now - timedelta(hours=HOURS[span["unit"][0].lower()] * int(span["number"] or 1))
    asked, today = set(words(question)), now.replace(hour=0, minute=0, second=0, microsecond=0)
    if not asked.isdisjoint(TODAY):
        return today
    days = 7 if not asked.isdisjoint(WEEK) else 30 if not asked.isdisjoint(MONTH) else 1
    return today - timedelta(days=days)


async def told(store: StoreParts, tenant_id: int, system_id: int, question: str, now: datetime) -> Answer | None:
    """Answer a question about a machine; None where it is none.

    Raises:
        NotFound: No such system in the tenant.
    """
    language = language_of(question)
    matter = matter_of(question, language)
    if matter is None:
        return None
    system = await store.systems.get(tenant_id, system_id)
    try:
        family = await Families(store).of(tenant_id, system.family)
    except UnknownFamily:
        family = None
    teller = _Teller(store, tenant_id, system, family, language)
    match matter:
        case "changed":
            facts = await teller.changed(since_of(question, now))
        case "before":
            facts = await teller.before(now)
        case "now":
            facts = await teller.state(now)
        case "machine":
            facts = teller.machine()
    return _answer(facts)


@dataclass(frozen=True)
class _Teller:
    """Puts what is stored of one machine into sentences."""

    store: StoreParts
    tenant_id: int
    system: System
    family: Family | None
    language: Language

    def machine(self) -> list[Fact]:
        """Say what the machine is."""
        if self.family is None:
            return [self._of_system(self._say("is_of", family=name_of(self.system.family)))]
        parts = [each.title.get(self.language, name) for name, each in self.family.components.items()]
        channels = [f"{name} ({each.unit})" for name, each in self.family.channels.items() if not each.extra]
        said = [
            self._say("is_of", family=self.family.title),
            *([self._say("parts", parts=", ".join(parts))] if parts else []),
            self._say("measures", channels=", ".join(channels)),
        ]
        return [self._of_system(each) for each in said]

    async def state(self, now: datetime) -> list[Fact]:
        """Say whether the machine is in alarm, and what was found last."""
        raised = evidence_of(self.system).raised
        said = self._say("alarm" if raised else "no_alarm", state=STATES[self.language][self.system.state])
        return [self._of_system(said), *map(self._found, (await self._findings(now - BEFORE))[:3])]

    async def changed(self, since: datetime) -> list[Fact]:
        """Say what happened since a moment, the newest first."""
        events = await self.store.events.newest(self.tenant_id, self.system.system_id, EVENTS_READ)
        found = [(each.created_at, self._found(each)) for each in await self._findings(since)]
        for event in events:
            if event.at >= since:
                text = self._say("event", at=_moment(event.at), what=KINDS[self.language][event.kind], text=event.text)
                key = str(event.trace_id or f"event-{event.event_id}")
                found.append((event.at, Fact(text, key, self.system.name)))
        if not found:
            return [await self._nothing("unchanged", since)]
        return [fact for _, fact in sorted(found, key=lambda pair: pair[0], reverse=True)[:SHOWN]]

    async def before(self, now: datetime) -> list[Fact]:
        """Say when what was found last was found before, and what people said of it."""
        findings = await self._findings(now - BEFORE)
        if not findings:
            return [await self._nothing("never", now - BEFORE)]
        last, *earlier = findings
        alike = [each for each in earlier if _same(each, last) and last.created_at - each.created_at > EPISODE]
        if not alike:
            return [self._found(last), await self._nothing("first", now - BEFORE)]
        count = self._say("times", count=len(_episodes(alike)), since=_moment(alike[-1].created_at))
        head = Fact(count, str(alike[-1].trace_id), self._title(alike[-1]))
        return [self._found(last), head, *map(self._found, _episodes(alike)[: SHOWN - 2])]

    async def _findings(self, since: datetime) -> Sequence[Finding]:
        return await self.store.diagnoses.findings(self.tenant_id, self.system.system_id, since)

    async def _nothing(self, said: str, since: datetime) -> Fact:
        """Say that nothing was found, cited by the last diagnosis where there is one."""
        last = await self.store.diagnoses.last(self.tenant_id, self.system.system_id)
        text = self._say(said, since=_moment(since))
        if last is None:
            return self._of_system(text)
        return Fact(f"{text} {self._say('last', at=_moment(last.created_at))}", str(last.trace_id), self.system.name)

    def _found(self, finding: Finding) -> Fact:
        """Say what a diagnosis found, and what people said of it."""
        parts = [
            self.family.components[name].title.get(self.language, name)
            if self.family is not None and name in self.family.components
            else name
            for name in finding.components
        ]
        what = faults().get(finding.kind or "", {}).get(self.language, finding.kind or UNNAMED[self.language])
        where = f" ({', '.join(parts)})" if parts else ""
        severity = SEVERITIES[self.language].get(finding.severity, finding.severity)
        text = self._say("found", at=_moment(finding.created_at), what=f"{what}{where}", severity=severity)
        if finding.verdict:
            verdict = VERDICTS[self.language][finding.verdict]
            note = f": {finding.note.rstrip('. ')}" if finding.note else ""
            text = f"{text.rstrip('.')}; {verdict}{note}."
        return Fact(text, str(finding.trace_id), self._title(finding))

    def _title(self, finding: Finding) -> str:
        return f"{self.system.name}, {_moment(finding.created_at)}"

    def _of_system(self, text: str) -> Fact:
        return Fact(text, f"system-{self.system.system_id}", self.system.name)

    def _say(self, sentence: str, **given: object) -> str:
        return SENTENCES[self.language][sentence].format(name=self.system.name, **given)


# Findings that follow one another within this time are one event. Source: own choice; a shift.
EPISODE = timedelta(hours=8)
UNNAMED: dict[Language, str] = {"en": "an anomaly", "ru": "отклонение"}
STATES: dict[Language, dict[str, str]] = {
    "en": {"commissioning": "being commissioned", "monitoring": "monitored", "maintenance": "in maintenance"},
    "ru": {"commissioning": "вводится в работу", "monitoring": "под наблюдением", "maintenance": "на обслуживании"},
}
SEVERITIES: dict[Language, dict[str, str]] = {
    "en": {},
    "ru": {"warning": "предупреждение", "critical": "критично", "normal": "норма", "unknown": "неизвестно"},
}
VERDICTS: dict[Language, dict[str, str]] = {
    "en": {
        "confirmed": "people confirmed it",
        "false_alarm": "people called it a false alarm",
        "missed": "people saw it",
    },
    "ru": {"confirmed": "люди подтвердили", "false_alarm": "люди сочли ложной тревогой", "missed": "люди заметили"},
}
KINDS: dict[Language, dict[str, str]] = {
    "en": {
        "state.changed": "the state changed",
        "alarm.raised": "the alarm was raised",
        "alarm.cleared": "the alarm was cleared",
        "window.late": "windows were judged late",
        "window.unread": "a window could not be read",
        "readings.missing": "readings stayed away",
    },
    "ru": {
        "state.changed": "изменилось состояние",
        "alarm.raised": "поднята тревога",
        "alarm.cleared": "тревога снята",
        "window.late": "окна оценены с опозданием",
        "window.unread": "окно не удалось прочесть",
        "readings.missing": "показания не приходили",
    },
}
SENTENCES: dict[Language, dict[str, str]] = {
    "en": {
        "is_of": "{name} is of the family {family}.",
        "parts": "Its components are: {parts}.",
        "measures": "It measures: {channels}.",
        "alarm": "{name} is {state} and in alarm.",
        "no_alarm": "{name} is {state}; no alarm is open.",
        "event": "{at}: {what} ({text}).",
        "found": "{at}: {what}, {severity}.",
        "unchanged": "Nothing has changed on {name} since {since}.",
        "never": "Since {since} no diagnosis of {name} has found anything.",
        "first": "Since {since} nothing alike was found before.",
        "times": "Cases of the same before: {count}, the first at {since}.",
        "last": "The last diagnosis is of {at}.",
    },
    "ru": {
        "is_of": "{name} относится к семейству {family}.",
        "parts": "Её компоненты: {parts}.",
        "measures": "Измеряются: {channels}.",
        "alarm": "{name}: {state}, тревога открыта.",
        "no_alarm": "{name}: {state}; открытых тревог нет.",
        "event": "{at}: {what} ({text}).",
        "found": "{at}: {what}, {severity}.",
        "unchanged": "С {since} на {name} ничего не изменилось.",
        "never": "С {since} диагностика {name} ничего не находила.",
        "first": "С {since} ничего подобного раньше не находили.",
        "times": "Таких случаев раньше: {count}, первый {since}.",
        "last": "Последний диагноз от {at}.",
    },
}


def _same(one: Finding, other: Finding) -> bool:
    """Tell whether two findings are of one fault: of one part, or where none is named of one kind."""
    if one.components and other.components:
        return one.components[0] == other.components[0]
    return one.kind == other.kind


def _episodes(findings: Iterable[Finding]) -> list[Finding]:
    """Return the newest finding of each run of findings that follow one another."""
    kept: list[Finding] = []
    before: datetime | None = None
    for each in findings:
        if before is None or before - each.created_at > EPISODE:
            kept.append(each)
        before = each.created_at
    return kept


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _answer(facts: Sequence[Fact]) -> Answer:
    """Return facts as an answer; each one's quote is its sentence, and its document what it is cited by."""
    citations = tuple(
        Citation(number, fact.key, fact.title, 1, 0, len(fact.text), fact.text, 1.0)
        for number, fact in enumerate(facts, 1)
    )
    text = "\n".join(f"{fact.text.rstrip('.')} [{number}]." for number, fact in enumerate(facts, 1))
    return Answer(text, citations, (), MODEL, count_tokens(text), grounded=True, abstained=False)
