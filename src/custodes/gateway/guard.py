"""THE HEART of the gateway: one request, screened, decided, rewritten if the rules say so; then every image that came of it, released or withheld.

Promises, whatever breaks: nothing passes that was not screened by every check and allowed by the rules; no byte leaves that the inspection did not itself
write; a decision is recorded before it is acted on, and a withheld image is sealed before anybody is answered. A check that raises, hangs or answers nonsense
is the fact ``fault:…``, and no rule allows that. How a client speaks is for ``dialects``, who it is for ``people``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from custodes.gateway.vocabulary import (
    Action,
    Asked,
    Category,
    Fact,
    Grade,
    Name,
    NameKind,
    Picture,
    Stage,
    Text,
    Verdict,
)
from custodes.handover.finding import Match

__all__ = [
    "Caller",
    "Checks",
    "Evidence",
    "Guard",
    "Inspecting",
    "Looked",
    "Passage",
    "Patience",
    "Records",
    "RefusedError",
    "Released",
    "Remote",
    "Rewriting",
    "Ruling",
    "Screening",
    "UnableError",
    "Withheld",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the tenant, and the end user as the tenant hints at one, as an opaque name. ``request``: the same for every retry of one request.

    ``warned``: whether a warning is in force, by strikes. ``booking``: under which its images are booked.
    """

    tenant: str
    user: str = ""
    request: str = ""
    warned: bool = False
    booking: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking at one image gave. ``released``: the image written again without metadata; empty where it may not leave. ``matches``: with lists."""

    facts: tuple[Fact, ...]
    stage: Stage = Stage.OUTPUT
    released: bytes = field(default=b"", repr=False)
    format: str = ""
    sha256: bytes = field(default=b"", repr=False)
    matches: tuple[Match, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Released:
    """An image that may leave, as the inspection wrote it."""

    content: bytes = field(repr=False)
    format: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """An image that does not leave, and the rule's category for the caller."""

    verdict: Verdict


class RefusedError(Exception):
    """The rules refuse: the request, or all of what came of it. Not a fault: the answer is final, and no client should try again."""

    def __init__(self, verdict: Verdict, stage: Stage) -> None:
        super().__init__(f"refused at {stage}")
        self.verdict, self.stage = verdict, stage


class UnableError(Exception):
    """A check, the ledger or the evidence could not do its work, so nothing leaves. ``what`` names it; no content."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} could not do its work: nothing was let through")
        self.what = what


# -- what the guard asks of others


class Screening(Protocol):
    """Texts to facts."""

    def facts(self, texts: Sequence[Text]) -> tuple[Fact, ...]:
        """Pure; linear in the texts."""


class Inspecting(Protocol):
    """An image to facts and, if it may leave, to what may leave. Lists first and alone: what matches is shown to no detector."""

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        """Raises CustodesError where it cannot."""


class Ruling(Protocol):
    """Facts to a verdict. Pure and total."""

    def decide(self, facts: Sequence[Fact], stage: Stage, *, tenant: str, acknowledged: bool) -> Verdict:
        """A fact that it does not know refuses."""


class Rewriting(Protocol):
    """Texts to milder ones."""

    async def rewrite(self, texts: Sequence[Text], verdict: Verdict) -> Mapping[str, str] | None:
        """By ``where`` what changes; None where it cannot be done, which refuses."""


class Remote(Protocol):
    """A model behind an endpoint, asked only about what the local checks let pass."""

    async def facts(self, asked: Asked) -> tuple[Fact, ...]:
        """Raises CustodesError where it does not answer."""


class Records(Protocol):
    """The ledger. What it returns from is durable."""

    async def decided(
        self, caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact], *, acknowledged: bool
    ) -> None:
        """One decision; strikes count once for each request, however often it is sent. ``acknowledged``: as the rules were told."""


class Evidence(Protocol):
    """Where withheld images go: sealed at once, or destroyed where the law says so."""

    async def keep(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        """Durable when it returns."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Everything that a request goes through."""

    screening: Screening
    inspecting: Inspecting
    ruling: Ruling
    rewriting: Rewriting
    records: Records
    evidence: Evidence
    remote: Remote | None = None
    known: Mapping[NameKind, frozenset[str]] = field(default_factory=dict)
    """Models, adapters, embeddings, nodes, scripts that the operator offers."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a check may take before it counts as broken."""

    look_s: float = 60.0
    remote_s: float = 20.0
    record_s: float = 10.0


_ALLOWED: Final = Verdict(Action.ALLOW, "")


@dataclass(frozen=True, slots=True)
class Passage:
    """A request that may go to the generator. ``texts``: by ``where`` what the generator is given in place of what was asked; ``facts``: of the request.

    ``pictures``: by ``where`` each picture as the inspection wrote it again. The generator is given these: what was judged, and no metadata.
    """

    caller: Caller
    asked: Asked
    facts: tuple[Fact, ...]
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    verdict: Verdict = _ALLOWED


REWRITES_MAX: Final = 2
_THREAD_CHARACTERS: Final = 4_000
"""Longer texts are screened beside the loop: others must not wait for them."""
_FAULT: Final = Verdict(Action.WITHHOLD, "fault", Grade.HARD, Category.UNREADABLE)
_GENERATOR: Final = Verdict(Action.REFUSE, "the generator refused", Grade.SOFT, Category.MODERATION)


class Guard:
    """The one choke point. Every dialect goes through ``admit`` and ``release``, and has no other way to a generator or to a client."""

    def __init__(self, checks: Checks, patience: Patience = Patience()) -> None:
        self._checks, self._patience = checks, patience

    async def admit(self, caller: Caller, asked: Asked, *, acknowledged: bool = False) -> Passage:
        """Whether a request may go on, and as what. Raises RefusedError; UnableError where a check did not do its work."""
        passage, looks = await self._examined(caller, asked, acknowledged=acknowledged)
        if passage.verdict.action is Action.REWRITE:
            passage = await self._rewritten(passage, acknowledged=acknowledged)
        await self._settled(passage, looks, acknowledged=acknowledged)
        if passage.verdict.action in (Action.REFUSE, Action.WITHHOLD):
            raise RefusedError(passage.verdict, Stage.INPUT)
        return passage

    async def judge(self, caller: Caller, asked: Asked) -> Verdict:
        """What the rules say of something that goes nowhere: for callers who only ask. Recorded, without strikes. Raises UnableError."""
        passage, looks = await self._examined(caller, asked, acknowledged=False)
        passage = replace(passage, verdict=replace(passage.verdict, strikes=0))
        await self._settled(passage, looks, acknowledged=False)
        return passage.verdict

    async def refused_by_generator(self, passage: Passage, stage: Stage) -> RefusedError:
        """The generator itself refused: recorded, and an error to raise, as if a rule had. Raises UnableError."""
        await self._record(passage.caller, stage, _GENERATOR, passage.facts)
        return RefusedError(_GENERATOR, stage)

    async def release(self, passage: Passage, images: Sequence[bytes]) -> list[Released | Withheld]:
        """What of the images may leave, in their order. Raises UnableError where one could not be judged, recorded or sealed: then none may."""
        found: list[Released | Withheld] = []
        broken = False
        for number, content in enumerate(images):  # to the end, whatever breaks: what matched is sealed
            looked = await self._look(content, Stage.OUTPUT, str(number))
            facts = (*passage.facts, *looked.facts)
            verdict = self._decide(facts, Stage.OUTPUT, passage.caller, acknowledged=False)
            if verdict.action is Action.ALLOW and not looked.released:
                verdict = _FAULT
            await self._kept(passage.caller, verdict, content, looked)
            await self._record(passage.caller, Stage.OUTPUT, verdict, facts)
            broken = broken or verdict.rule == _FAULT.rule
            found.append(
                Released(looked.released, looked.format) if verdict.action is Action.ALLOW else Withheld(verdict)
            )
        if broken:
            raise UnableError("a check")
        return found

    # -- the checks

    async def _examined(self, caller: Caller, asked: Asked, *, acknowledged: bool) -> tuple[Passage, list[Looked]]:
        """Every check of a request, and the verdict on what they found; and what was seen of its pictures."""
        looks = [await self._look(picture.content, Stage.INPUT, picture.where) for picture in asked.pictures]
        facts = (
            *(fact for looked in looks for fact in looked.facts),
            *(await self._screened(asked.texts)),
            *_of_pictures(asked.pictures),
            *self._unknown(asked.names),
        )
        facts, verdict = await self._asked_remote(asked, facts, caller, acknowledged=acknowledged)
        pairs = zip(asked.pictures, looks, strict=True)
        written = {picture.where: looked.released for picture, looked in pairs}
        if verdict.action in (Action.ALLOW, Action.REWRITE) and not all(written.values()):
            verdict = _FAULT
        return Passage(caller, asked, facts, pictures=written, verdict=verdict), looks

    async def _asked_remote(
        self, asked: Asked, facts: tuple[Fact, ...], caller: Caller, *, acknowledged: bool
    ) -> tuple[tuple[Fact, ...], Verdict]:
        """The verdict, and where all that is here lets it pass, also by what a model behind an endpoint says."""
        verdict = self._decide(facts, Stage.INPUT, caller, acknowledged=acknowledged)
        if verdict.action is Action.ALLOW and self._checks.remote is not None:
            facts = (*facts, *await self._remote(asked))
            verdict = self._decide(facts, Stage.INPUT, caller, acknowledged=acknowledged)
        return facts, verdict

    async def _settled(self, passage: Passage, looks: Sequence[Looked], *, acknowledged: bool) -> None:
        """What must be durable before a request goes on, or does not. Raises UnableError, where a check was broken too: that is no refusal."""
        for picture, looked in zip(passage.asked.pictures, looks, strict=True):
            if passage.verdict.report and set(looked.facts) & set(passage.verdict.facts):
                await self._sealed(passage.caller, passage.verdict, picture.content, looked)
        await self._record(passage.caller, Stage.INPUT, passage.verdict, passage.facts, acknowledged=acknowledged)
        if passage.verdict.rule == _FAULT.rule:
            raise UnableError("a check")

    def _unknown(self, names: Iterable[Name]) -> Iterable[Fact]:
        """What is named and not on the operator's lists. A kind that has no list has no known names."""
        for name in names:
            if name.value not in self._checks.known.get(name.kind, frozenset()):
                yield Fact(f"unknown:{name.kind}", Stage.INPUT, "guard")

    async def _screened(self, texts: Sequence[Text]) -> tuple[Fact, ...]:
        try:
            if sum(len(text.value) for text in texts) < _THREAD_CHARACTERS:
                facts = self._checks.screening.facts(texts)
            else:
                work = asyncio.to_thread(self._checks.screening.facts, texts)
                facts = await _within(self._patience.look_s, work)
            return _sound(facts, facts)
        except Exception:  # whatever broke, the request does not pass
            return (Fact("fault:screening", Stage.INPUT, "guard"),)

    async def _look(self, content: bytes, stage: Stage, where: str) -> Looked:
        try:
            looked = await _within(self._patience.look_s, self._checks.inspecting.look(content, stage, where))
            return _sound(looked, looked.facts)
        except Exception:
            return Looked((Fact("fault:inspection", stage, "guard", where=where),), stage)

    async def _remote(self, asked: Asked) -> tuple[Fact, ...]:
        assert self._checks.remote is not None
        try:
            facts = await _within(self._patience.remote_s, self._checks.remote.facts(asked))
            return _sound(facts, facts)
        except Exception:
            return (Fact("fault:remote", Stage.INPUT, "guard"),)

    def _decide(self, facts: Sequence[Fact], stage: Stage, caller: Caller, *, acknowledged: bool) -> Verdict:
        """The rules' verdict on what was noticed. Where a check broke only a verdict that reports stands: a fault must not hide what matched."""
        faults = tuple(fact for fact in facts if fact.name.startswith("fault:"))
        whole = tuple(fact for fact in facts if fact not in faults)
        try:
            verdict = self._checks.ruling.decide(whole, stage, tenant=caller.tenant, acknowledged=acknowledged)
            _sound(verdict, verdict.facts)
        except Exception:
            return replace(_FAULT, facts=(Fact("fault:rules", stage, "guard"),))
        stands = verdict.report and verdict.action in (Action.REFUSE, Action.WITHHOLD)
        return replace(_FAULT, facts=faults) if faults and not stands else verdict

    async def _rewritten(self, passage: Passage, *, acknowledged: bool) -> Passage:
        """The passage with milder texts, each screened again; refused where that does not help."""
        texts, verdict, asked = dict(passage.texts), passage.verdict, passage.asked
        for _ in range(0 if asked.fixed else REWRITES_MAX):
            changes = await self._changes(asked.texts, verdict)
            if not changes:
                break
            texts |= changes
            asked = replace(
                asked, texts=tuple(replace(text, value=texts.get(text.where, text.value)) for text in asked.texts)
            )
            kept = tuple(fact for fact in passage.facts if fact.where not in {text.where for text in asked.texts})
            facts = (*kept, *(await self._screened(asked.texts)))
            facts, verdict = await self._asked_remote(asked, facts, passage.caller, acknowledged=acknowledged)
            if verdict.action is not Action.REWRITE:
                rewritten = replace(verdict, rule=passage.verdict.rule) if verdict.action is Action.ALLOW else verdict
                return replace(passage, asked=asked, facts=facts, texts=texts, verdict=rewritten)
        return replace(passage, verdict=replace(verdict, action=Action.REFUSE))

    async def _changes(self, texts: Sequence[Text], verdict: Verdict) -> Mapping[str, str] | None:
        if verdict.grade is Grade.HARD:
            return None
        try:
            return await _within(self._patience.remote_s, self._checks.rewriting.rewrite(texts, verdict))
        except Exception:
            return None

    # -- what must be durable

    async def _record(
        self, caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact], *, acknowledged: bool = False
    ) -> None:
        try:
            decided = self._checks.records.decided(caller, stage, verdict, facts, acknowledged=acknowledged)
            await _within(self._patience.record_s, decided)
        except Exception as error:
            raise UnableError("the ledger") from error

    async def _kept(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        """Seal what was judged and does not leave. What a broken check left unjudged is told to nobody: it is dropped."""
        if verdict.action is not Action.ALLOW and verdict.rule != _FAULT.rule:
            await self._sealed(caller, verdict, content, looked)

    async def _sealed(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        try:
            await _within(self._patience.record_s, self._checks.evidence.keep(caller, verdict, content, looked))
        except Exception as error:
            raise UnableError("the evidence") from error


def _of_pictures(pictures: Iterable[Picture]) -> Iterable[Fact]:
    """That a picture was given, by its role: rules may ask for it."""
    return (Fact(f"input:{picture.role}", Stage.INPUT, "guard", where=picture.where) for picture in pictures)


def _sound(answer: T, facts: Iterable[Fact]) -> T:
    """An answer that is made of facts. Raises TypeError for nonsense, which counts as a check that broke."""
    if not all(isinstance(fact, Fact) for fact in facts):
        raise TypeError("a check answered what are no facts")
    return answer


async def _within(seconds: float, work: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await work
