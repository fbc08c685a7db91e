"""Screening of texts: what of each disguise is found on harmless words, what ordinary prompts are refused, and what a prompt costs.

The grid, the ordinary prompts and the hostile texts are those of ``tests/gateway/screening``.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from tables import Bench

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gateway.screening.disguises import DISGUISES, LANGUAGES, pairs
from tests.gateway.screening.prompts import ORDINARY, ordinary
from tests.gateway.screening.test_grid import walk
from tests.gateway.screening.test_screen import HOSTILE

from custodes.gateway.screening.lexicon import joined, shipped
from custodes.gateway.screening.screen import Screen
from custodes.gateway.vocabulary import Text, TextRole

__all__ = ["bench_screening"]

RULES = (
    {"context:umbrella", "context:garden"},
    {"context:minor", "context:sexual"},
    {"context:real-person", "context:sexual"},
)


def bench_screening(*, quick: bool = False) -> Bench:
    """The table by class, and the notes."""
    screen = Screen(shipped("standins"))
    alone, together = grid(screen)
    bench = Bench("screening", "Screening of texts")
    bench.heads = ["disguise", "alone: words", "found", "with each other: words", "found", "share"]
    for name in [disguise.name for disguise in DISGUISES]:
        (tried, found), (tried2, found2) = alone[name], together[name]
        bench.rows.append([name, str(tried), str(found), f"{tried2:,}", f"{found2:,}", f"{found2 / tried2:.1%}"])
    tried, found = together["all"]
    bench.rows.append(["all pairs", "", "", f"{tried:,}", f"{found:,}", f"{found / tried:.1%}"])
    both = Screen(joined(shipped("standins"), shipped("starter")))
    count = ORDINARY // 10 if quick else ORDINARY
    refused, strange, costs = prompts(both, count)
    bench.notes = [
        f"The words umbrella and garden of the lexicon of stand-ins, in {len(LANGUAGES)} languages; each in {len(DISGUISES)} disguises alone, and in every pair of them; each word where the disguise changes it. Found: the context of the word is among the facts.",
        "Missed by intent: words of fewer than five letters spelled in another alphabet's Latin (the Russian garden is the English *sad*), and short words in pieces (the limit is six letters).",
        f"Ordinary prompts: {count:,} of a seeded grammar, with families, schools, medicine, art and ages of things among them. Rules of two contexts, stand-ins and starter: {refused} refused. With a context that the prompt has no word of: {strange}.",
    ]
    worst, ratio = hostile(both)
    bench.ratios = [
        f"An ordinary prompt (half have fewer than 92 characters): {statistics.median(costs) * 1e3:.2f} ms, 99 of 100 below {statistics.quantiles(costs, n=100)[98] * 1e3:.2f} ms, both lexicons, one thread.",
        f"A prompt of 1,000 characters: {thousand(both, plain=True) * 1e3:.2f} ms in ASCII with weights; {thousand(both, plain=False) * 1e3:.2f} ms with a dozen languages, emoji, schedules and alternations in it.",
        f"100,000 hostile characters ({len(HOSTILE)} kinds): {worst[1] * 1e3:,.0f} ms for the worst ({worst[0]}), and at most {ratio:.1f} times the time of 50,000.",
    ]
    return bench


def grid(screen: Screen) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Words tried and found, of each class alone, and of all pairs that it is in."""
    alone = {disguise.name: walk(screen, disguise)[:2] for disguise in DISGUISES}
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for one, other in pairs():
        some, right, _ = walk(screen, one, other)
        for name in (one.name, other.name, "all"):
            tried[name] += some
            found[name] += right
    return alone, {name: (tried[name], found[name]) for name in tried}


def prompts(screen: Screen, count: int) -> tuple[int, int, list[float]]:
    """Ordinary prompts refused, prompts with a context out of nowhere, and seconds of each."""
    refused = strange = 0
    costs = []
    for text in ordinary(count):
        start = time.perf_counter()
        facts = screen.facts([Text(TextRole.POSITIVE, text)])
        costs.append(time.perf_counter() - start)
        names = {fact.name for fact in facts}
        refused += any(rule <= names for rule in RULES)
        strange += bool(names - {"context:minor"})
    return refused, strange, costs


def thousand(screen: Screen, *, plain: bool) -> float:
    """Seconds for a prompt of 1,000 characters: the median of many."""
    some = [
        [text for text in ordinary(200, seed) if not plain or (text.isascii() and not set("[{") & set(text))]
        for seed in range(40)
    ]
    texts = [Text(TextRole.POSITIVE, ", ".join(one)[:1000]) for one in some]
    costs = []
    for text in texts * 5:
        start = time.perf_counter()
        screen.facts([text])
        costs.append(time.perf_counter() - start)
    return statistics.median(costs)


def hostile(screen: Screen) -> tuple[tuple[str, float], float]:
    """The worst kind and its seconds, and the worst ratio of twice the length."""
    spent: dict[str, list[float]] = {}
    for name, unit in HOSTILE.items():
        for size in (50_000, 100_000):
            text = Text(TextRole.POSITIVE, (unit * size)[:size])
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                screen.facts([text])
                best = min(best, time.process_time() - start)
            spent.setdefault(name, []).append(best)
    name = max(spent, key=lambda kind: spent[kind][1])
    return (name, spent[name][1]), max(long / short for short, long in spent.values())
