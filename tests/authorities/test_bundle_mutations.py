"""Updates that were changed anywhere on their way, in thousands of ways: none is taken whose list differs from the true one."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root
from tuf.api.serialization import DeserializationError

from custodes.bundles.target import seal_list
from custodes.model import Entry

from .bundle_world import (
    VERSIONS,
    History,
    Table,
    World,
    entries,
    export_of,
    quick_folder,
    resigned,
    said_of,
    taken,
    truth,
)


class Mutator:
    """Changes a table of files, each way as likely as any other."""

    def __init__(self, history: History, chance: random.Random) -> None:
        self.history, self.chance = history, chance
        self.stranger = strangers_table(history.world)
        self.ways: list[Callable[[Table], None]] = [
            self.flip,
            self.cut,
            self.extend,
            self.swap,
            self.older,
            self.delete,
            self.edit,
            self.edit_and_sign,
            self.replace_root,
            self.replace_some,
            self.replace_all,
        ]

    def mutated(self, table: Table) -> Table:
        changed = dict(table)
        for way in self.chance.choices(self.ways, k=self.chance.choice((1, 1, 2, 3))):
            way(changed)
        return changed

    def one(self, table: Table, part: str = "") -> str:
        return self.chance.choice(sorted(name for name in table if part in name))

    def flip(self, table: Table) -> None:
        name = self.one(table)
        data = bytearray(table[name])
        if data:
            data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        table[name] = bytes(data)

    def cut(self, table: Table) -> None:
        name = self.one(table)
        table[name] = table[name][: self.chance.randrange(len(table[name]) + 1)]

    def extend(self, table: Table) -> None:
        table[self.one(table)] += self.chance.choice((b" ", b"\n", b"{}", self.chance.randbytes(9)))

    def swap(self, table: Table) -> None:
        one, other = self.one(table), self.one(table)
        table[one], table[other] = table[other], table[one]

    def older(self, table: Table) -> None:
        name = self.one(table)
        old = self.history.at(self.chance.randrange(1, VERSIONS + 1))
        role = name.rpartition(".")[0].rpartition(".")[2] if name.startswith("metadata/") else "targets/"
        table[name] = old[self.one(old, role)]

    def delete(self, table: Table) -> None:
        del table[self.one(table)]

    def edit(self, table: Table) -> None:
        """One value changed, and all of it written anew under the old signatures."""
        name = self.one(table, "metadata/")
        try:
            document = json.loads(table[name])
        except ValueError:
            return
        if isinstance(document, dict):
            self.change(document)
        table[name] = json.dumps(document, sort_keys=self.chance.random() < 0.5).encode()

    def change(self, document: Any) -> None:
        at = document
        while isinstance(at, dict | list) and at:
            key = self.chance.choice(sorted(at)) if isinstance(at, dict) else self.chance.randrange(len(at))
            if not isinstance(at[key], dict | list) or self.chance.random() < 0.15:
                at[key] = self.other(at[key])
                return
            at = at[key]

    def other(self, value: Any) -> Any:
        if isinstance(value, int):
            return value + self.chance.choice((-1, 1, 2**31))
        if isinstance(value, str) and value[:2] == "20":
            return self.chance.choice(("2091-01-01T00:00:00Z", "2019-01-01T00:00:00Z", ""))
        return self.chance.choice((None, "", 0, [], {}, value * 2 if isinstance(value, str | list) else 1))

    def edit_and_sign(self, table: Table) -> None:
        """A later version of a file, signed by a stranger."""
        name = self.one(table, "metadata/")
        with suppress(DeserializationError, ValueError):  # what an earlier change left may be no metadata any more
            table[name] = resigned(table[name], further, CryptoSigner.generate_ed25519())

    def replace_root(self, table: Table) -> None:
        table["metadata/2.root.json"] = self.chance.choice((table.get("metadata/1.root.json", b""), *self.roots()))

    def roots(self) -> list[bytes]:
        mine = self.stranger["metadata/1.root.json"]
        return [mine, resigned(mine, further, CryptoSigner.generate_ed25519()), resigned(mine, further)]

    def replace_some(self, table: Table) -> None:
        for name, data in self.stranger.items():
            if self.chance.random() < 0.5:
                table[name] = data

    def replace_all(self, table: Table) -> None:
        """All that a stranger publishes as this list, sealed to the same recipient, but for the first root."""
        table |= {name: data for name, data in self.stranger.items() if "root" not in name}


def further(signed: Any) -> None:
    signed.version += 1


def strangers_table(world: World) -> Table:
    """What somebody else would publish as the same list: another list, under greater numbers."""
    home = world.home / "stranger"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    stranger = World.make(home)
    for count in range(VERSIONS + 1, VERSIONS + 17):
        said = said_of(count)
        held = entries(count, category="B2")
        stranger.publisher.publish(said, seal_list(export_of(said, held), [world.recipient]))
    return stranger.served()


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with quick_folder() as home:
        yield History(home)


def wrongly_taken(history: History, count: int, seed: int) -> tuple[int, Counter[str]]:
    """How many of so many mutated updates were taken and differ from the true list; and how the others ended."""
    chance = random.Random(seed)
    mutator, ends = Mutator(history, chance), Counter[str]()
    for _ in range(count):
        version = chance.randrange(2, VERSIONS + 1)
        bundle = history.subscriber(version - 1, mutator.mutated(history.at(version)))
        answer = taken(bundle, said_of(version - 1).version)
        ends["true" if answer == truth(version) else answer if isinstance(answer, str) else "wrong"] += 1
        shutil.rmtree(Path(bundle.state))
    return ends["wrong"], ends


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_of_mutated_updates_none_is_taken_that_differs_from_the_true_list(history: History, count: int) -> None:
    wrong, ends = wrongly_taken(history, count, seed=count)
    assert wrong == 0
    assert ends["refused"] > count / 2, "most changes are of something that counts"
    assert set(ends) <= {"refused", "true", "unchanged", "wrong"}


def test_planted_fault_where_no_signature_is_asked_for_a_strangers_list_is_taken(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Root, "verify_delegate", lambda *_: None)
    wrong, _ = wrongly_taken(history, 200, seed=1)
    assert wrong > 0


def test_a_strangers_list_is_another_one() -> None:
    assert not truth(VERSIONS) & frozenset[Entry](entries(VERSIONS, category="B2"))
