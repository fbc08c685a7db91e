"""Rewriting: changes that a rule names, made in the positive prompts; and where they do not help a model, if one is configured.

Promises that only positive prompts change, that nothing is done for what is refused, and that the time is linear in the text whatever its words. It matches
plain words alone: what is hidden from a plain matcher stays, is found when the guard screens the result again, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from custodes.errors import ConfigError
from custodes.gateway.rules.policy import Change, Rule
from custodes.gateway.vocabulary import Action, Grade, Text, TextRole, Verdict

__all__ = ["ModelRewriting", "Rewriter", "changed", "swaps_of"]

_WORD: Final = re.compile(r"\w+")
_BETWEEN: Final = re.compile(r"[\s\-]+")
TEXT_CHARS_MAX: Final = 100_000

Swaps = Mapping[tuple[str, ...], str]
"""The words of a term, lower case -> what stands in its place."""


class ModelRewriting(Protocol):
    """A model that writes a milder prompt. What it writes is screened as if it had been asked."""

    async def rewrite(self, text: str) -> str | None:
        """None where it cannot. Raises CustodesError where it does not answer; asked once."""


@dataclass(frozen=True)
class Rewriter:
    """What the guard asks. ``rules``: those that rewrite, by name; ``contexts``: the lexicon's plain terms, by context."""

    rules: Mapping[str, Rule] = field(repr=False)
    contexts: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    model: ModelRewriting | None = None
    _swaps: dict[str, Swaps] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._swaps.update((name, swaps_of(rule.changes, self.contexts)) for name, rule in self.rules.items())

    async def rewrite(self, texts: Sequence[Text], verdict: Verdict) -> Mapping[str, str] | None:
        """By ``where`` what changes; None where nothing does, which refuses. Raises CustodesError."""
        rule = self.rules.get(verdict.rule)
        if rule is None or verdict.action is not Action.REWRITE or verdict.grade is Grade.HARD or _ambiguous(texts):
            return None
        positive = [text for text in texts if text.role is TextRole.POSITIVE and len(text.value) <= TEXT_CHARS_MAX]
        found = [(text, changed(text.value, self._swaps[rule.name], rule.add)) for text in positive]
        made = {text.where: new for text, new in found if new != text.value}
        return made or await self._by_model(positive)

    async def _by_model(self, texts: Sequence[Text]) -> Mapping[str, str] | None:
        if self.model is None:
            return None
        made = {text.where: await self.model.rewrite(text.value) for text in texts if text.value}
        whole = {where: new for where, new in made.items() if new is not None}
        return whole if len(whole) == len(made) and whole else None


def changed(text: str, swaps: Swaps, add: str = "") -> str:
    """The text with its terms changed, at word boundaries, longest first; and ``add`` at its end, once."""
    parts, at = [], 0
    for begin, end, new in _found(text, swaps):
        parts += [text[at:begin], new]
        at = end
    result = "".join([*parts, text[at:]])
    return f"{result}, {add}" if add and add not in result else result


def swaps_of(changes: Sequence[Change], contexts: Mapping[str, Sequence[str]]) -> Swaps:
    """What is changed, by words. Raises ConfigError for a context that the lexicon lacks, and for a term without words."""
    swaps: dict[tuple[str, ...], str] = {}
    for change in changes:
        terms = change.terms or contexts.get(change.context, ())
        if not terms:
            raise ConfigError(
                f"a rule rewrites terms of the context {change.context!r}, which the lexicon does not have"
            )
        for term in terms:
            words = tuple(_WORD.findall(term.casefold()))
            if not words:
                raise ConfigError("a rule rewrites a term that has no word in it")
            swaps.setdefault(words, change.by)
    return swaps


def _found(text: str, swaps: Swaps) -> Iterator[tuple[int, int, str]]:
    """Where terms stand: begin, end, what to put there. Each word starts at most as many look-ups as the longest term has words."""
    words = [(found.start(), found.end(), found[0].casefold()) for found in _WORD.finditer(text)]
    longest, at = max(map(len, swaps), default=0), 0
    while at < len(words):
        run = _together(text, words, at, longest)
        for count in range(run, 0, -1):
            new = swaps.get(tuple(word for _, _, word in words[at : at + count]))
            if new is not None:
                yield words[at][0], words[at + count - 1][1], new
                at += count - 1
                break
        at += 1


def _together(text: str, words: Sequence[tuple[int, int, str]], at: int, longest: int) -> int:
    """How many words from here on stand beside each other, with space or hyphen between them alone."""
    count = min(1, longest)
    while count < min(longest, len(words) - at):
        if not _BETWEEN.fullmatch(text, words[at + count - 1][1], words[at + count][0]):
            break
        count += 1
    return count


def _ambiguous(texts: Sequence[Text]) -> bool:
    """Whether a field's name stands for two texts: a change would reach both."""
    return len({text.where for text in texts}) != len(texts)
