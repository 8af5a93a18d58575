"""Holds an answer to the identifiers that a question names: what is said of another machine is no answer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.knowledge.records import Hit, Language, Passage, Question
from pipelines.knowledge.search.identifiers import Identifier, alike, canonical, identifiers, key_of, name_of, opening

# An error by its number: `E-27` for error 27; a name in capitals alone; the word before an offset.
CODE = re.compile(r"(?:ERR|ER|E)0*(\d+)")
CAPITALS = re.compile(r"(?<![\w-])[A-ZА-ЯЁ]{3,6}(?![\w-]|\s?\d)")
WORD_BEFORE = re.compile(r"\w+\W{1,3}$")
MOST_NEAR = 3  # identifiers that a refusal names in place of one
NOTHING_SPEAKS: dict[Language, str] = {
    "en": "nothing found speaks of {asked}",
    "ru": "в найденном нет ничего о {asked}",
}
THERE_IS: dict[Language, str] = {"en": "{said}; there is {near}", "ru": "{said}; есть {near}"}
NOT_OF_IT: dict[Language, str] = {
    "en": "what is found of {asked} does not answer this",
    "ru": "найденное о {asked} не отвечает на этот вопрос",
}


@dataclass(frozen=True)
class Binding:
    """What a question binds its answer to.

    Attributes:
        groups: Keys, one or several of each group must be spoken of: those of one group are compared.
        avoided: Keys of the machine that is asked from; what is said of others of its kind is not said of it.
        missing: Identifiers asked for, as written, that no hit speaks of.
        near: Those of the same kind that hits do speak of.
        asked: All identifiers asked for that bind, as written.
        text: The question with every identifier as one word.
        opened: By document the keys that its first lines name.
    """

    groups: tuple[frozenset[str], ...]
    avoided: frozenset[str]
    missing: tuple[str, ...]
    near: tuple[str, ...]
    asked: tuple[str, ...]
    text: str
    opened: dict[str, frozenset[str]]

    @property
    def binds(self) -> bool:
        """Whether it matters at all of what a sentence speaks."""
        return bool(self.groups or self.avoided)

    def holds(self, passage: Passage, start: int, end: int) -> bool:
        """Tell whether a sentence of a passage speaks of what is asked for, and of no other one of its kind."""
        scope = self._scope(passage)
        asked = frozenset().union(*self.groups)
        if not all(any(scope.speaks(key, asked, start, end) for key in group) for group in self.groups):
            return False
        return not any(scope.speaks_otherwise(key, start, end) for key in self.avoided)

    def holds_any(self, passage: Passage) -> bool:
        """Tell whether a passage may hold anything that is asked for."""
        scope = self._scope(passage)
        return all(any(key in scope.all for key in group) for group in self.groups)

    def singled_out(self, group: frozenset[str], passage: Passage, start: int, end: int) -> bool:
        """Tell whether a stretch names one of a group that is not what its whole document is about."""
        scope = self._scope(passage)
        opening = frozenset(key for key in scope.opening if not (key.startswith("№") or CODE.fullmatch(key)))
        whole, own = frozenset().union(*scope.above[-3:-1], opening), scope.within(start, end)
        return any((key in own or not own.isdisjoint(_spellings(key))) and key not in whole for key in group)

    def refusal(self, language: Language) -> str:
        """Return why there is no answer: what was asked for, and what there is; empty where nothing binds."""
        if self.missing:
            said = NOTHING_SPEAKS[language].format(asked=", ".join(self.missing))
            return THERE_IS[language].format(said=said, near=", ".join(self.near)) if self.near else said
        return NOT_OF_IT[language].format(asked=", ".join(self.asked)) if self.asked else ""

    @cached_property
    def _scopes(self) -> dict[str, "Scope"]:
        """Those that were asked for: a passage is read once, and not for each of its sentences."""
        return {}

    def _scope(self, passage: Passage) -> "Scope":
        known = self._scopes.get(passage.passage_id)
        if known is None:
            opened = self.opened.get(passage.document_id, frozenset())
            known = self._scopes[passage.passage_id] = Scope(passage, opened)
        return known


@dataclass(frozen=True)
class Scope:
    """Of what the sentences of a passage speak.

    Attributes:
        opening: Keys that the beginning of its document names.
    """

    passage: Passage
    opening: frozenset[str]

    @cached_property
    def named(self) -> tuple[Identifier, ...]:
        """The identifiers of the text."""
        return identifiers(self.passage.text, self.passage.language)

    @cached_property
    def above(self) -> tuple[frozenset[str], ...]:
        """The keys of each heading, the innermost first, then of title, file name and beginning."""
        language = self.passage.language
        headings = reversed(self.passage.heading.split(" > "))
        parts = [*headings, self.passage.title, name_of(self.passage.document_id)]
        return (*(_keys(identifiers(part, language)) for part in parts), self.opening)

    @cached_property
    def all(self) -> frozenset[str]:
        """Every key that it names anywhere."""
        return frozenset().union(_keys(self.named), *self.above)

    def speaks(self, key: str, asked: frozenset[str], start: int, end: int) -> bool:
        """Tell whether a sentence speaks of a key.

        It does where it names it. Else its headings say of what it speaks, and where they do not name it, the last
        sentence before it that names anything.
        """
        own = self.within(start, end)
        if key in own or not own.isdisjoint(_spellings(key)):
            return True
        if any(_rivals(key, other, asked) for other in own):
            return False
        # One of several that the text names side by side is not what the others are about.
        aside = not self._strong(start, end) <= asked
        listed = aside and any(key in (each.key, each.base) for each in self.named)
        for names in self.above[:-1] if listed else self.above:
            mine, others = key in names, any(_rivals(key, other, asked) for other in names)
            if mine and not others:
                return True
            if mine or others:
                return self._last_before(start, key, asked, names) if others else True
        return not aside and self._last_before(start, key, asked, frozenset(), else_=False)

    def speaks_otherwise(self, key: str, start: int, end: int) -> bool:
        """Tell whether a sentence speaks of another one of a key's kind, and not of it."""
        asked = frozenset({key})
        own = self.within(start, end)
        for names in (own, *self.above):
            if key in names:
                return False
            if any(_rivals(key, other, asked) for other in names):
                return True
        return False

    def _last_before(
        self, start: int, key: str, asked: frozenset[str], above: frozenset[str], *, else_: bool | None = None
    ) -> bool:
        """Tell whether the last identifier before a sentence is the key, of those that could be in its place."""
        for each in reversed([one for one in self.named if one.end <= start]):
            if key in (each.key, each.base):
                return True
            if not each.weak and (each.key in above or _rivals(key, each.key, asked) or not above):
                return False
        return key in above if else_ is None else else_

    def _strong(self, start: int, end: int) -> frozenset[str]:
        return frozenset(each.key for each in self.named if start <= each.start and each.end <= end and not each.weak)

    def within(self, start: int, end: int) -> frozenset[str]:
        """Return the keys that a stretch of the text names."""
        return _keys(each for each in self.named if start <= each.start and each.end <= end)


def bind(question: Question, hits: Sequence[Hit]) -> Binding:
    """Return what a question binds its answer to, of what hits speak."""
    opened = _opening(hits)
    known: dict[str, Identifier] = {}
    for hit in hits:
        passage = hit.passage
        for part in (passage.text, *passage.heading.split(" > "), passage.title, name_of(passage.document_id)):
            for each in identifiers(part, passage.language):
                known.setdefault(each.key, each)
                if each.base:
                    known.setdefault(each.base, each)
    own = _keys(identifiers(question.context, question.language))
    wanted: list[str] = []
    missing: list[str] = []
    near: list[str] = []
    asked: list[str] = []
    for each in identifiers(question.text, question.language):
        key = _resolved(each, known)
        if key in known:
            wanted.append(key)
        elif (key in own and each.key in own) or not key:
            continue
        else:
            missing.append(_called(question.text, each))
            near += _near(key, known)
        asked.append(_called(question.text, each))
    strange = _strange_names(question.text, known, hits)
    missing += strange
    near += [one.written for name in strange for one in known.values() if one.key and _letters(one.key, name)]
    return Binding(
        groups=_grouped(wanted),
        avoided=own - frozenset(wanted),
        missing=tuple(dict.fromkeys(missing)),
        near=tuple(dict.fromkeys(near))[:MOST_NEAR],
        asked=tuple(dict.fromkeys(asked)),
        text=canonical(question.text, question.language, frozenset(wanted)),
        opened=opened,
    )


def _resolved(asked: Identifier, known: dict[str, Identifier]) -> str:
    """Return the key by which hits know an identifier, its own where they do not; empty where it binds nothing."""
    if asked.key in known:
        return asked.key
    spelled = next((key for key in known if key in _spellings(asked.key)), "")
    if spelled:
        return spelled
    if (code := CODE.fullmatch(asked.key)) and f"№{code[1]}" in known:
        return f"№{code[1]}"
    if asked.base and asked.base in known and not any(one.base == asked.base for one in known.values()):
        return asked.base
    if asked.weak and not any(_same_letters(asked.key, key) for key in known):
        return ""
    return asked.key


def _called(text: str, asked: Identifier) -> str:
    """Return an identifier as a refusal names it: a bare number with the word before it."""
    before = WORD_BEFORE.search(text[: asked.start]) if asked.key.startswith("№") else None
    return f"{before[0]}{asked.written}" if before else asked.written


def _strange_names(text: str, known: Mapping[str, Identifier], hits: Sequence[Hit]) -> list[str]:
    """Return names in capitals that no hit holds, and that differ by one sign from those of machines that hits name."""
    if text.upper() == text:
        return []
    names = [name for name in CAPITALS.findall(text) if any(_letters(key, name) for key in known)]
    said = " ".join(f"{hit.passage.title} {hit.passage.heading} {hit.passage.text}" for hit in hits) if names else ""
    return [name for name in names if name not in said]


def _letters(key: str, name: str) -> bool:
    """Tell whether the letters of a key are those of a name but for one sign."""
    letters = re.sub(r"[\d№]", "", key)
    return len(letters) > 2 and alike(key_of(name), letters)


def _near(key: str, known: dict[str, Identifier]) -> list[str]:
    """Return what hits speak of that is written most like a key."""
    found = [one for other, one in known.items() if other == one.key and (alike(key, other) or key == one.base)]
    return [one.written for one in sorted(found, key=lambda one: (not _same_letters(key, one.key), one.weak))]


def _grouped(wanted: Iterable[str]) -> tuple[frozenset[str], ...]:
    """Return keys by kind: those of one kind are asked about side by side."""
    groups: list[set[str]] = []
    for key in dict.fromkeys(wanted):
        mine = next((group for group in groups if any(alike(key, other) for other in group)), None)
        if mine is None:
            groups.append({key})
        else:
            mine.add(key)
    return tuple(frozenset(group) for group in groups)


def _rivals(key: str, other: str, asked: frozenset[str]) -> bool:
    return other not in asked and alike(key, other) and other not in _spellings(key)


def _spellings(key: str) -> frozenset[str]:
    """Return what the number of an error is also called; nothing for any other key."""
    if not key.startswith("№"):
        return frozenset()
    return frozenset(
        f"{letters}{zero}{key[1:]}" for letters in ("E", "ER", "ERR", "F", "A", "AL", "W") for zero in ("", "0", "00")
    )


def _same_letters(one: str, other: str) -> bool:
    return one != other and re.sub(r"\d", "", one) == re.sub(r"\d", "", other)


def _keys(found: Iterable[Identifier]) -> frozenset[str]:
    return frozenset(key for each in found for key in (each.key, each.base) if key)


def _opening(hits: Sequence[Hit]) -> dict[str, frozenset[str]]:
    """Return by document the keys that its first lines name, where they are among the hits."""
    opened: dict[str, frozenset[str]] = {}
    for passage in sorted((hit.passage for hit in hits), key=lambda passage: passage.start):
        if said := opening(passage):
            opened.setdefault(passage.document_id, _keys(identifiers(said, passage.language)))
    return opened
