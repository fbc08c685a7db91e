"""Processes that die, for ``test_crashes`` and ``test_secrets_at_rest``: run as a program, because it forks.

``every``: a fixed story is told again and again, by a child that is killed at its first step on the disk, its second, and so on to the last.
After each death the world must be as it was before the act that was going on, or as it is after it. ``random``: workers share an outbox and are killed
at random moments. ``busy``: one process writes until it is told to stop. What is wrong is printed, one JSON list.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from custodes.errors import ConfigError, CustodesError
from custodes.handover import clocks as clocks_module
from custodes.handover import outbox as outbox_module
from custodes.handover import place as place_module
from custodes.handover.clocks import Kept, Term, purge
from custodes.handover.custody import Act, Custody
from custodes.handover.locker import Locker
from custodes.handover.outbox import Item, LeaseLost, Outbox, Pace, Seams
from custodes.handover.pages import FilePages
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipt, Receipts
from tests.handover.keeping import NOON, Clock, custody_in, deed, letter, outbox_in, transport_key

Step = Callable[[], Any]
OLD, NEW = transport_key(1), transport_key(2)
LATER = NOON + timedelta(days=400)

# -- dying at every step


def dies_at(step: int) -> None:
    """From here on this process is killed at its step number ``step`` on the disk; of what it was writing then, half is written."""
    taken = 0

    def counts(event: str = "", arguments: tuple[Any, ...] = ()) -> None:
        nonlocal taken
        if event and event not in ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir"):
            return
        taken += 1
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)

    write, sync = os.write, os.fsync

    def half(descriptor: int, data: Any) -> int:
        nonlocal taken
        taken += 1
        if taken == step:
            write(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    def synced(descriptor: int) -> None:
        counts()
        sync(descriptor)

    os.write, os.fsync = half, synced
    sys.addaudithook(counts)


class Story:
    """Acts in order, and what can be seen of the world after each of them."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def acts(self) -> Iterator[Step]:
        raise NotImplementedError

    def seen(self) -> Any:
        raise NotImplementedError


class OutboxStory(Story):
    """Three letters through everything that can become of one."""

    def acts(self) -> Iterator[Step]:
        clock = Clock()
        outbox = outbox_in(self.home / "outbox", clock=clock, attempts_max=2)
        for number in range(3):
            yield lambda number=number: outbox.put(letter(number))
            clock.passes(seconds=1)
        item = self._taken(outbox)
        yield lambda: outbox.save(item, {"report": "42"})
        yield lambda: outbox.delete(item)
        yield lambda: outbox.put(letter(0))
        second = self._taken(outbox)
        yield lambda: outbox.retry(second, "timeout")
        third = self._taken(outbox)
        yield lambda: outbox.bury(third, "code_4100")
        yield lambda: outbox.revive(third.head.id)
        yield lambda: outbox.drop(third.head.id)

    def _taken(self, outbox: Outbox) -> Item:
        # After a crash in between, the lease of the dead one must end first; in the story nobody else ever takes anything.
        item = outbox.take("ncmec", "test")
        assert item is not None
        return item

    def seen(self) -> Any:
        outbox = outbox_in(self.home / "outbox")
        survey = outbox.survey()
        there = [
            # a lease is taken before the act that is counted, so it says nothing of how far the story came
            (h.key, h.state.value.replace("sending", "waiting"), h.error, h.progress, outbox.get(h.id).payload)  # type: ignore[union-attr]
            for h in survey.items
        ]
        return sorted(there, key=str), survey.damaged, [outbox.known(letter(number).key) for number in range(3)]


class RotationStory(Story):
    """Keys change twice. Whatever happens, each letter can be read with the keys that there are."""

    def acts(self) -> Iterator[Step]:
        clock = Clock()
        outbox = outbox_in(self.home / "outbox", OLD, clock=clock)
        for number in range(3):
            outbox.put(letter(number))
            clock.passes(seconds=1)
        delivered = outbox.take("ncmec", "test")
        assert delivered is not None
        outbox.delete(delivered)
        yield lambda: None
        yield lambda: outbox_in(self.home / "outbox", NEW, OLD).rotate()
        yield lambda: outbox_in(self.home / "outbox", OLD, NEW).rotate()

    def seen(self) -> Any:
        survey = outbox_in(self.home / "outbox", NEW, OLD).survey()
        return sorted(head.key for head in survey.items), survey.damaged, self._missed_at_need()

    def _missed_at_need(self) -> bool:
        """Whether either key opens the folder, and does not open something in it."""
        place = self.home / "outbox"
        for key in (NEW, OLD):
            copy = self.home / "copy"
            shutil.copytree(place, copy)
            try:
                if outbox_in(copy, key).survey().damaged:
                    return True
            except ConfigError:  # noticed when it is opened
                pass
            finally:
                shutil.rmtree(copy)
        return False


class CustodyStory(Story):
    """Deeds one by one and several at once. What was told stands; of what was going on, any beginning may."""

    def acts(self) -> Iterator[Step]:
        custody = custody_in(self.home)
        for number in range(4):
            yield lambda number=number: custody.append(deed(number))
        yield lambda: custody.append(*(deed(number, Act.RECEIVED) for number in range(5)))
        yield lambda: custody.append(deed(9, Act.DELETED))

    def seen(self) -> Any:
        custody_in(self.home).append(deed(99, Act.OPENED))
        custody_in(self.home).verify()
        told = [(line.act.value, line.incident) for line in custody_in(self.home).records()]
        return [each for each in told if each[0] not in ("cut", "opened")]


class PurgeStory(Story):
    """Receipts whose time is over. Nothing is gone without its line, and none has two."""

    def acts(self) -> Iterator[Step]:
        receipts, custody = Receipts(Folder(self.home / "receipts"), [OLD]), custody_in(self.home)
        for number in range(2):
            receipts.keep(f"{number:032x}", "ncmec", "test", Receipt(step="finish", received=NOON, body=b"<r/>"))
            custody.append(deed(number, Act.RECEIVED))
        yield lambda: None
        yield self._purge

    def _purge(self) -> None:
        receipts = Receipts(Folder(self.home / "receipts"), [OLD])

        def remove(thing: Kept) -> None:
            receipts.remove(thing.incidents[0], thing.route, thing.environment)

        purge(custody_in(self.home), [Term(what="receipt", since=Act.RECEIVED, years=1)], LATER, "custodes", remove)

    def seen(self) -> Any:
        self._purge()  # what a crash stopped is done again, and then all is as it should be
        receipts, custody = Receipts(Folder(self.home / "receipts"), [OLD]), custody_in(self.home)
        left = [len(receipts.of(f"{number:032x}", "ncmec", "test")) for number in range(2)]
        return left, sorted(line.incident for line in custody.records() if line.act is Act.DELETED)


STORIES: dict[str, type[Story]] = {
    "outbox": OutboxStory,
    "rotation": RotationStory,
    "custody": CustodyStory,
    "purge": PurgeStory,
}


def in_child(work: Callable[[], None]) -> int:
    """Whether, and by what signal, it died."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException as error:  # told by its sort, and the test fails
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def every(name: str, home: Path) -> list[str]:
    """Kill the story at each of its steps. Returns what was wrong; also that it hardly died."""
    after = worlds(name, home)
    wrong: list[str] = []
    for step in range(1, 10_000):
        place = home / str(step)
        place.mkdir()
        mark = os.memfd_create("reached")

        def dies(place: Path = place, mark: int = mark, step: int = step) -> None:
            acts = STORIES[name](place).acts()
            first, number = next(acts), 0
            dies_at(step)
            for number, act in enumerate(chain([first], acts)):
                os.pwrite(mark, b"%4d" % number, 0)
                act()
            os.pwrite(mark, b"%4d" % (number + 1), 0)

        code = in_child(dies)
        number = int(os.pread(mark, 4, 0) or 0)
        os.close(mark)
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"{name} step {step}: the story itself failed")
        wrong += compared(name, place, step, after[number : number + 2])
        shutil.rmtree(place)
        if code == 0:
            return wrong if step > 20 else [*wrong, f"{name}: there were {step} steps only"]
    return [*wrong, f"{name} never ended"]


def worlds(name: str, home: Path) -> list[Any]:
    """What is seen before the first act, and after each."""
    count = sum(1 for _ in undisturbed(name, home / "count"))
    found = []
    for acts in range(count + 1):
        place = home / f"whole-{acts}"
        place.mkdir()
        story = STORIES[name](place)
        for number, act in enumerate(story.acts()):
            if number == acts:
                break
            act()
        found.append(story.seen())
    return found


def undisturbed(name: str, place: Path) -> Iterator[None]:
    place.mkdir()
    for act in STORIES[name](place).acts():
        act()
        yield


def compared(name: str, place: Path, step: int, allowed: list[Any]) -> list[str]:
    try:
        seen = STORIES[name](place).seen()
    except CustodesError as error:
        return [f"{name} step {step}: {type(error).__name__}"]
    if seen in allowed:
        return []
    if name == "custody" and seen[: len(allowed[0])] == allowed[0] and allowed[-1][: len(seen)] == seen:
        return []  # a beginning of what was recorded at once
    return [f"{name} step {step}: seen {seen}, expected one of {allowed}"]


# -- dying at random


class Day(Clock):
    """A time that the whole family sees, and that passes only when all of its workers are dead."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> Any:
        return NOON + timedelta(days=int(self.path.read_text()))


def shared(home: Path) -> Outbox:
    return Outbox(
        Folder(home / "outbox"), [OLD], Pace(lease_s=3600, first_s=1, cap_s=1), Seams(Day(home / "day"), lambda: 1.0)
    )


def worker(home: Path, seed: int, letters: int) -> None:
    """Puts all letters, and delivers: saves, delivers, records, deletes. Now and then it fails on purpose."""
    rng = random.Random(seed)
    outbox, custody = shared(home), custody_in(home)
    for number in rng.sample(range(letters), letters):
        outbox.put(letter(number, b"payload %d" % number))
        deliver(home, rng, outbox, custody)
    while deliver(home, rng, outbox, custody):
        pass


def deliver(home: Path, rng: random.Random, outbox: Outbox, custody: Custody) -> bool:
    item = outbox.take("ncmec", "test")
    if item is None:
        return False
    item = outbox.save(item, {"step": "sending"})
    if rng.random() < 0.1:
        outbox.retry(item, "timeout")
        return True
    alone(home / "sending" / item.head.id)
    log = os.open(home / "delivered", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{item.head.key} {item.payload.decode()}\n".encode())
    os.close(log)
    custody.append(deed(int(item.head.key[:32], 16), Act.RECEIVED))
    (home / "sending" / item.head.id).unlink()
    outbox.delete(item)
    return True


def alone(path: Path) -> None:
    """Nobody who lives is sending this."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, b"%d" % os.getpid())
        os.close(descriptor)
    except FileExistsError:
        other = int(path.read_text() or 0)
        if other and other != os.getpid() and Path(f"/proc/{other}").exists():
            (path.parent.parent / "twice").write_text("two at once")
        path.write_text(str(os.getpid()))


def at_random(home: Path, kills: int, letters: int) -> list[str]:
    """Rounds of two workers that are killed, until there were so many kills; then one that may end."""
    rng = random.Random(kills)
    (home / "sending").mkdir()
    (home / "day").write_text("0")
    died = rounds = 0
    while died < kills:
        rounds += 1
        children = [started(home, rng.random(), letters * (1 + rounds // 4)) for _ in range(2)]
        for child in children:
            time.sleep(rng.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
        died += sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL for child in children)
        (home / "day").write_text(str(rounds))
        shutil.rmtree(home / "sending")
        (home / "sending").mkdir()
    total = letters * (1 + rounds // 4)
    while shared(home).survey().items or not all(shared(home).known(letter(number).key) for number in range(total)):
        rounds += 1
        (home / "day").write_text(str(rounds))
        worker(home, rounds, total)
    return judged(home, died, total)


def started(home: Path, seed: float, letters: int) -> int:
    if (child := os.fork()) == 0:
        try:
            worker(home, int(seed * 1e9), letters)
        except LeaseLost:
            (home / "twice").write_text("a lease was lost")
        except BaseException as error:  # told, and the test fails
            (home / "twice").write_text(f"{type(error).__name__}: {error}")
        os._exit(0)
    return child


def judged(home: Path, died: int, letters: int) -> list[str]:
    wrong = [f"violated: {(home / 'twice').read_text()}"] if (home / "twice").exists() else []
    delivered = (home / "delivered").read_text().splitlines()
    expected = {f"{letter(number).key} payload {number}" for number in range(letters)}
    if set(delivered) != expected:
        wrong.append(
            f"{len(expected - set(delivered))} letters were lost, {len(set(delivered) - expected)} came from nowhere"
        )
    if len(delivered) - len(expected) > died:
        wrong.append(f"{len(delivered) - len(expected)} were delivered twice, by {died} deaths")
    custody = custody_in(home)
    received = [line.incident for line in custody.records() if line.act is Act.RECEIVED]
    if len(set(received)) != letters or not len(expected) <= len(received) <= len(delivered):
        wrong.append(f"of {len(delivered)} deliveries {len(received)} are recorded")
    return wrong


# -- being busy


def busy(home: Path) -> NoReturn:
    """Outbox, receipts and custody of what comes on standard input, one payload a line, until it ends; then over again until killed."""
    payloads = sys.stdin.buffer.read().splitlines()
    outbox, custody = outbox_in(home / "outbox", clock=Clock()), custody_in(home)
    receipts = Receipts(Folder(home / "receipts"), [OLD])
    turn = 0
    while True:
        for number, payload in enumerate(payloads):
            outbox.put(letter(number, payload, key=f"{number:032x}/ncmec/{turn}"))
            item = outbox.take("ncmec", "test")
            assert item is not None
            item = outbox.save(item, {"request": payload[:200].decode(errors="replace")})
            outbox.retry(item, "timeout")
            receipts.keep(f"{number:032x}", "ncmec", "test", Receipt(step="finish", received=NOON, body=payload))
            custody.append(deed(number, Act.RECEIVED))
        turn += 1
        (home / "turns").write_text(str(turn))


# -- faults that the tests must notice


def marks_after_deleting() -> None:
    """A letter is gone before its name is spent: killed in between, it is put again."""

    def spend(self: Folder, name: str) -> None:
        self.remove(name)
        place_module.replace_file(self.path / f"{name}.spent", b"")

    Folder.spend = spend  # type: ignore[method-assign]


def writes_in_place() -> None:
    """Files are overwritten where they lie."""

    def replace_file(path: Path, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, content)
        os.close(descriptor)

    place_module.replace_file = replace_file  # type: ignore[attr-defined]


def forgets_keys_first() -> None:
    """The old key is forgotten before everything is under the new one."""
    rotate = Locker.rotate

    def early(self: Locker) -> int:
        self._forget()
        return rotate(self)

    Locker.rotate = early  # type: ignore[method-assign]


def remembers_first() -> None:
    """How far the record has come is remembered before it has come there."""
    add, remember = FilePages.add, FilePages.remember

    def late(self: FilePages, first: int, lines: list[bytes]) -> None:
        self._late = first, lines  # type: ignore[attr-defined]

    def early(self: FilePages, envelope: bytes) -> None:
        remember(self, envelope)
        if lines := self.__dict__.pop("_late", ()):
            add(self, *lines)

    FilePages.add, FilePages.remember = late, early  # type: ignore[method-assign]


def records_before_removing() -> None:
    """The record says that something is gone before it is."""

    def early(custody: Custody, terms: Any, now: Any, who: str, remove: Callable[[Kept], None]) -> None:
        for thing in clocks_module.due(clocks_module.kept(custody.records(), terms), now):
            custody.append(clocks_module._deletion(thing, who))
            remove(thing)

    globals()["purge"] = early


def leases_nothing() -> None:
    """An item that somebody is sending is due for everybody."""
    was = outbox_module._is_due
    outbox_module._is_due = lambda head, now: head.state == "sending" or was(head, now)
    Outbox._mine = lambda self, item: item  # type: ignore[method-assign]


FAULTS = (
    marks_after_deleting,
    writes_in_place,
    forgets_keys_first,
    remembers_first,
    records_before_removing,
    leases_nothing,
)


def main(what: str, argument: str, fault: str = "") -> None:
    if fault:
        next(plant for plant in FAULTS if plant.__name__ == fault)()
    if what == "busy":
        busy(Path(argument))
    memory = Path("/dev/shm")  # a death is no power cut: what a dead process wrote is there, on whatever disk
    home = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        wrong = every(argument, home) if what == "every" else at_random(home, int(argument), 12)
    finally:
        shutil.rmtree(home)
    sys.stdout.write(json.dumps(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
