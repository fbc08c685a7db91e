"""Each attack of the TUF specification (section 1.5.2) on a subscriber who trusts a root: nothing but the true list is ever taken.

An attacker holds whatever lies between publisher and subscriber: every file that was ever served, in any mixture; in some tests keys too.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from custodes.authorities import bundle as module
from custodes.authorities.bundle import Bundle
from custodes.bundles import roots
from custodes.bundles.repository import Lifetimes, sign_root
from custodes.bundles.roots import ROLES, next_root
from custodes.bundles.target import seal_list, target_name
from custodes.crypto.seal import Recipient, create_identity
from custodes.model import Entry

from .bundle_world import (
    LIST,
    START,
    TIMESTAMP,
    VERSIONS,
    History,
    Served,
    Table,
    World,
    entries,
    export_of,
    quick_folder,
    refusal,
    resigned,
    said_of,
    taken,
    truth,
)

PERHAPS_ROOT = "metadata/2.root.json"


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with quick_folder() as home:
        yield History(home)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with quick_folder() as home:
        yield home


# Rollback


def rollbacks(history: History) -> list[frozenset[Entry] | str]:
    pairs = [(seen, old) for seen in range(2, VERSIONS + 1) for old in range(1, seen)]
    assert len(pairs) >= 50
    return [taken(history.subscriber(seen, history.at(old))) for seen, old in pairs]


def test_rollback_files_older_than_those_seen_are_refused(history: History) -> None:
    assert set(rollbacks(history)) == {"refused"}


def test_rollback_planted_fault_a_client_that_forgets_versions_takes_an_old_list(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Bundle._page

    def forgetful(self: Bundle, checkpoint: str) -> Any:
        shutil.rmtree(self.state / "trusted")
        return page(self, checkpoint)

    monkeypatch.setattr(Bundle, "_page", forgetful)
    assert "refused" not in rollbacks(history)


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type])
def test_rollback_a_stolen_timestamp_key_does_not_lead_back(history: History, role: str) -> None:
    """The timestamp key alone can only vouch for what the others signed, and not for less than was seen."""
    for seen, old in itertools.combinations(range(VERSIONS, 0, -1), 2):
        table = history.at(seen)
        lower = MetaFile.from_data(old + 1, table[f"metadata/{old + 1}.snapshot.json"], ["sha256"])
        if role == Targets.type:  # the old snapshot under a new number
            lower = MetaFile(seen + 2)
            table[f"metadata/{seen + 2}.snapshot.json"] = table[f"metadata/{old + 1}.snapshot.json"]

        def change(timestamp: Timestamp, lower: MetaFile = lower) -> None:
            timestamp.version += 1
            timestamp.snapshot_meta = lower

        table[TIMESTAMP] = resigned(table[TIMESTAMP], change, history.world.online(Timestamp.type))
        assert taken(history.subscriber(seen, table)) == "refused"


# Freeze


@pytest.mark.parametrize("days", [1, 3])
def test_freeze_a_timestamp_is_taken_until_it_expires_and_not_at_that_moment(tmp_path: Path, days: int) -> None:
    world = World.make(tmp_path, Lifetimes(timestamp_days=days))
    table = world.publish(1)
    for number in range(50):
        away = timedelta(seconds=2**number / 2**30)
        world.clock.now = START + timedelta(days=days) - away
        if away >= timedelta(microseconds=1):
            assert taken(world.subscriber(tmp_path / f"before-{number}", table)) == truth(1)
        world.clock.now = START + timedelta(days=days) + away
        assert "expired" in refusal(world.subscriber(tmp_path / f"after-{number}", table))
        assert "expired" in refusal(world.subscriber(tmp_path / f"before-{number}", table))


@pytest.mark.parametrize("role", [Root.type, Targets.type, Snapshot.type])
def test_freeze_a_fresh_timestamp_does_not_make_up_for_what_expired_above_it(tmp_path: Path, role: str) -> None:
    days = {"root_days": 9, "targets_days": 9, "snapshot_days": 9, "timestamp_days": 1}
    days |= {f"{above}_days": 4 for above in ("snapshot", *({"targets"} if role != Snapshot.type else ()))}
    days |= {"root_days": 4} if role == Root.type else {}
    world = World.make(tmp_path, Lifetimes(**days))
    table = world.publish(1)
    for hours in range(96, 96 + 50):
        world.clock.now = START + timedelta(hours=hours)
        table[TIMESTAMP] = resigned(table[TIMESTAMP], later(world), world.online(Timestamp.type))
        assert "expired" in refusal(world.subscriber(tmp_path / f"state-{hours}", table))


def later(world: World) -> Any:
    def change(signed: Any) -> None:
        signed.version += 1
        signed.expires = world.clock.now + timedelta(days=1)

    return change


def frozen_with_a_clock_set_back(world: World, home: Path) -> list[frozenset[Entry] | str]:
    table = world.publish(1)
    found = []
    for hours in range(25, 75):
        bundle = world.subscriber(home / f"state-{hours}", table)
        world.clock.now = START + timedelta(hours=hours)
        assert taken(bundle) == "refused"
        world.clock.now = START + timedelta(hours=1)
        found.append(taken(bundle))
    return found


def test_freeze_a_clock_that_was_set_back_makes_nothing_fresh_again(tmp_path: Path) -> None:
    assert set(frozen_with_a_clock_set_back(World.make(tmp_path), tmp_path)) == {"refused"}


def test_freeze_planted_fault_without_memory_of_the_time_a_clock_set_back_freezes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bundle, "_time", lambda self: self.clock())
    assert set(frozen_with_a_clock_set_back(World.make(tmp_path), tmp_path)) == {truth(1)}


def test_freeze_the_reference_client_asks_the_machines_own_clock_too(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    table = world.publish(1)
    old = resigned(table[TIMESTAMP], lambda signed: setattr(signed, "expires", START.replace(year=2020)))
    table[TIMESTAMP] = resigned(old, lambda _: None, world.online(Timestamp.type))
    world.clock.now = START.replace(year=2019)
    assert "expired" in refusal(world.subscriber(tmp_path / "state", table))


# Mix and match


def mixtures() -> list[tuple[int, str, int]]:
    """A state, the role whose file comes from another, and that other."""
    return [
        (count, role, other)
        for count in range(2, VERSIONS + 1)
        for role in (Snapshot.type, Targets.type, "list")
        for other in range(1, VERSIONS + 1)
        if other != count
    ]


def test_mix_and_match_files_of_different_states_are_not_taken_together(history: History) -> None:
    assert len(mixtures()) >= 150
    for count, role, other in mixtures():
        table = history.at(count)
        table[history.name(count, role)] = history.at(other)[history.name(other, role)]
        assert taken(history.subscriber(count - 1, table)) == "refused", (count, role, other)


def test_mix_and_match_planted_fault_without_lengths_and_digests_old_files_come_as_far_as_the_versions(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MetaFile, "verify_length_and_hashes", lambda *_: None)
    monkeypatch.setattr(TargetFile, "verify_length_and_hashes", lambda *_: None)
    lists = {count: history.at(count)[history.name(count, "list")] for count in range(2, VERSIONS + 1)}
    new, old = next((new, old) for new in lists for old in lists if old < new and len(lists[old]) <= len(lists[new]))
    table = history.at(new)
    table[history.name(new, "list")] = lists[old]
    assert "not the version" in refusal(history.subscriber(new - 1, table)), "what is sealed names its version too"
    header, read = module._read(export_of(said_of(new), entries(new)))[0], module._read
    monkeypatch.setattr(module, "_read", lambda export: (header, read(export)[1]))
    assert taken(history.subscriber(new - 1, table)) == truth(old), "with both gone an old list passes for the new one"


# Endless data


class Endless(Served):
    """A file that has no end."""

    endless = ""

    def parts(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        if name != self.endless:
            yield from super().parts(name, size_bytes_max)
            return
        yield self.table.get(name, b"")
        while True:
            self.given += 4096
            yield b" " * 4096


LONGEST = {PERHAPS_ROOT: 512_000, TIMESTAMP: 16_384}


def test_endless_data_no_more_is_read_than_a_file_may_have(history: History) -> None:
    for count in range(2, VERSIONS + 1):
        for role in (Root.type, Timestamp.type, Snapshot.type, Targets.type, "list"):
            name = PERHAPS_ROOT if role == Root.type else history.name(count, role)
            table = history.at(count)
            served = Endless(table)
            served.endless = name
            assert "longer" in refusal(history.subscriber(count - 1, served))
            others = sum(len(data) for other, data in table.items() if other != name)
            assert served.given <= others + LONGEST.get(name, len(table.get(name, b""))) + 2 * 4096


def test_a_file_with_one_byte_more_than_was_signed_is_refused(history: History) -> None:
    for count, role in itertools.product(range(2, VERSIONS + 1), (Snapshot.type, Targets.type, "list")):
        for byte in (b"\n", b" ", b"\0"):
            table = history.at(count)
            table[history.name(count, role)] += byte
            assert "longer" in refusal(history.subscriber(count - 1, table))


# Wrong content


def test_wrong_content_a_sealed_list_that_was_altered_anywhere_or_cut_is_refused(history: History) -> None:
    name = history.name(5, "list")
    data = history.at(5)[name]
    for place in sorted(random.Random(5).sample(range(len(data)), 50)):
        for altered in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            table = history.at(5)
            table[name] = altered
            assert "not the one that the publisher signed" in refusal(history.subscriber(4, table))


def publish_as(world: World, said_name: str, sealed: bytes, custom: Any) -> Table:
    """What a publisher with all keys could sign: any bytes under any name, with anything said of them."""
    world.publish(1)
    table = world.served()
    target = TargetFile.from_data(said_name, sealed, ["sha256"])
    target.unrecognized_fields["custom"] = custom
    folder, _, plain = said_name.rpartition("/")
    table[f"targets/{folder}/{target.hashes['sha256']}.{plain}"] = sealed

    def change(targets: Targets) -> None:
        targets.version += 1
        targets.targets[said_name] = target

    signed = resigned(table["metadata/2.targets.json"], change, world.online(Targets.type))
    table["metadata/3.targets.json"] = signed

    def lead(snapshot: Snapshot) -> None:
        snapshot.version += 1
        snapshot.meta["targets.json"] = MetaFile(3)

    table["metadata/3.snapshot.json"] = resigned(table["metadata/2.snapshot.json"], lead, world.online(Snapshot.type))

    def vouch(timestamp: Timestamp) -> None:
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile(3)

    table[TIMESTAMP] = resigned(table[TIMESTAMP], vouch, world.online(Timestamp.type))
    return table


def builtins(**changed: Any) -> dict[str, Any]:
    said = said_of(7)
    return {**{name: getattr(said, name) for name in said.__struct_fields__}, **changed}


SAID_WRONG = {
    "nothing is said": None,
    "a text": "demo",
    "another list": builtins(list="other"),
    "another format": builtins(format="custodes-bundle/2"),
    "no version": {name: value for name, value in builtins().items() if name != "version"},
    "a number as version": builtins(version=7),
    "a field more": builtins(entries=7),
    "another version than is sealed": builtins(version="8-000000000008"),
    "another scheme than is sealed": builtins(scheme="iwf"),
}


@pytest.mark.parametrize("custom", SAID_WRONG.values(), ids=SAID_WRONG)
def test_wrong_content_what_is_said_of_a_list_must_fit_it(tmp_path: Path, custom: Any) -> None:
    world = World.make(tmp_path)
    sealed = seal_list(export_of(said_of(7), entries(7)), [world.recipient])
    table = publish_as(world, target_name(LIST), sealed, custom)
    assert refusal(world.subscriber(tmp_path / "state", table))
    right = publish_as(world, target_name(LIST), sealed, builtins())
    assert taken(world.subscriber(tmp_path / "other", right)) == truth(7)


def test_wrong_content_another_list_under_the_name_of_this_one_is_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    sealed = seal_list(export_of(said_of(7, list="other"), entries(7)), [world.recipient])
    table = publish_as(world, target_name(LIST), sealed, builtins())
    assert "what is sealed is not the list" in refusal(world.subscriber(tmp_path / "state", table))


def test_wrong_content_what_is_sealed_to_somebody_else_does_not_open(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    _, other = create_identity()
    sealed = seal_list(export_of(said_of(7), entries(7)), [Recipient(other)])
    table = publish_as(world, target_name(LIST), sealed, builtins())
    assert taken(world.subscriber(tmp_path / "state", table)) == "refused"


def test_wrong_content_what_is_sealed_and_cut_or_no_list_is_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    export = export_of(said_of(7), entries(7))
    lines = export.splitlines(keepends=True)
    wrong = [export[:place] for place in range(0, len(export) - 1, len(export) // 40)]
    wrong += [b"".join(lines[:2] + lines[3:]), b"".join([*lines, lines[-1]]), b"".join(lines[1:]), export * 2]
    wrong += [b"", b"\0", b"[" * 4096, b"\xff\xfe", lines[0], lines[0] + lines[-1]]
    assert len(wrong) >= 50
    for number, text in enumerate(wrong):
        table = publish_as(world, target_name(LIST), seal_list(text, [world.recipient]), builtins())
        assert "what is sealed" in refusal(world.subscriber(tmp_path / f"state-{number}", table)), number


# Keys: forged signatures, rotation, recovery


def strangers() -> Signer:
    return CryptoSigner.generate_ed25519()


def as_key(signer: Signer, keyid: str) -> Signer:
    """A stranger's key that signs under the id of a trusted one."""
    key = Key.from_dict(keyid, signer.public_key.to_dict())
    return CryptoSigner(signer._private_key, key)  # type: ignore[attr-defined]


def forgeries(history: History) -> list[frozenset[Entry] | str]:
    found = []
    for count, role in itertools.product(range(2, VERSIONS + 1), (Timestamp.type, Snapshot.type, Targets.type)):
        name = history.name(count, role)
        right = Metadata.from_bytes(history.at(count)[name])
        (keyid,) = right.signatures
        for signers in ([], [strangers()], [as_key(strangers(), keyid)]):
            table = history.at(count)
            table[name] = resigned(table[name], lambda signed: setattr(signed, "version", signed.version + 1), *signers)
            if role != Timestamp.type:
                table[f"metadata/{count + 2}.{role}.json"] = table[name]
            found.append(taken(history.subscriber(count - 1, table)))
    return found


def test_forged_metadata_are_refused(history: History) -> None:
    found = forgeries(history)
    assert len(found) >= 50
    assert set(found) == {"refused"}


def test_planted_fault_where_no_signature_is_asked_for_forgeries_are_taken(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Root, "verify_delegate", lambda *_: None)
    assert any(isinstance(each, frozenset) for each in forgeries(history))


def successor(
    world: World, owners: dict[str, tuple[str, Signer]], online: dict[str, Signer], version: int = 2
) -> Metadata[Root]:
    current = world.publisher.root()
    root = next_root(current, owners, online, world.clock.now + timedelta(days=365))
    root.signed.version = version
    return root


SIGNERS = [set(names) for size in range(5) for names in itertools.combinations(("alice", "bob", "carol", "dora"), size)]


def rotations(world: World) -> list[tuple[set[str], bool]]:
    """Carol leaves and Dora comes; the root is signed by each subset of the four, with each set of online keys replaced."""
    dora = strangers()
    signers = {name: world.owner(name) for name in ("alice", "bob", "carol")} | {"dora": dora}
    table = world.publish(1)
    found = []
    for number, (names, replaced) in enumerate(itertools.product(SIGNERS, [(), *((role,) for role in ROLES)])):
        online = {role: strangers() for role in replaced}
        root = successor(world, {"carol": ("dora", dora)}, online)
        for name in names:
            root.sign(signers[name], append=True)
        changed = table | {PERHAPS_ROOT: root.to_bytes()}
        state = world.home / f"rotated-{number}"
        answer = taken(world.subscriber(state, changed))
        followed = (state / "trusted" / "root_history" / "2.root.json").exists()
        assert answer == (truth(1) if followed and not replaced else "refused")
        found.append((names, followed))
    return found


def allowed(names: set[str]) -> bool:
    return len(names & {"alice", "bob", "carol"}) >= 2 and len(names & {"alice", "bob", "dora"}) >= 2


def test_key_rotation_is_followed_when_two_of_the_old_and_two_of_the_new_keys_signed_it_and_never_else(
    tmp_path: Path,
) -> None:
    found = rotations(World.make(tmp_path))
    assert len(found) == 64
    assert [names for names, followed in found if followed != allowed(names)] == []


def test_planted_fault_with_a_threshold_of_one_a_single_owner_changes_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "THRESHOLD", 1)
    found = rotations(World.make(tmp_path))
    assert ({"alice"}, True) in found


@pytest.mark.parametrize("version", [1, 3, 4, 2**31, 0])
def test_key_rotation_a_root_that_is_not_the_next_one_is_refused(tmp_path: Path, version: int) -> None:
    world = World.make(tmp_path)
    table = world.publish(1)
    root = successor(world, {}, {}, max(version, 1))
    for name in ("alice", "bob", "carol"):
        root.sign(world.owner(name), append=True)
    data = root.to_bytes().replace(b'"version": 1', b'"version": 0') if version == 0 else root.to_bytes()
    assert refusal(world.subscriber(tmp_path / "state", table | {PERHAPS_ROOT: data}))


def test_key_rotation_by_strangers_under_the_ids_of_owners_is_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    table = world.publish(1)
    root = successor(world, {}, {})
    for name in ("alice", "bob", "carol"):
        root.sign(as_key(strangers(), world.owner(name).public_key.keyid), append=True)
    assert "enough of the keys" in refusal(
        world.subscriber(tmp_path / "state", table | {PERHAPS_ROOT: root.to_bytes()})
    )


def test_key_rotation_one_signature_written_twice_is_one(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    table = world.publish(1)
    root = successor(world, {}, {})
    root.sign(world.owner("alice"), append=True)
    one = root.to_dict()["signatures"]
    data = root.to_bytes()
    listed = data[data.index(b'"signatures"') : data.index(b'"signed"')]
    twice = data.replace(
        listed, listed.replace(b"]", b"," + listed[listed.index(b"{") : listed.rindex(b"}") + 1] + b"]")
    )
    assert len(one) == 1
    assert twice != data
    assert refusal(world.subscriber(tmp_path / "state", table | {PERHAPS_ROOT: twice}))


def test_fast_forward_a_publisher_whose_keys_were_stolen_recovers_by_rotating_them(tmp_path: Path) -> None:
    """The thief signs the greatest numbers; what the publisher signs is older until its root names other keys."""
    for number in range(50):
        home = tmp_path / str(number)
        home.mkdir()
        world = World.make(home)
        table = world.publish(1)
        far = 10 + number * 43_000_000 + random.Random(number).randrange(1000)
        bundle = world.subscriber(home / "state", fast_forwarded(world, table, far))
        assert taken(bundle) == truth(1)
        bundle.files.table = world.publish(2)  # type: ignore[attr-defined]
        assert "older" in refusal(bundle)
        path = world.publisher.rotate({}, [Snapshot.type, Timestamp.type])
        for name in ("alice", "bob"):
            sign_root(path, world.publisher.directory / "root-keys" / f"{name}.pem")
        world.publisher.adopt([path])
        bundle.files.table = world.served()  # type: ignore[attr-defined]
        assert taken(bundle) == truth(2)
        bundle.files.table = fast_forwarded(world, table, far + 1)  # type: ignore[attr-defined]
        assert taken(bundle) == "refused", "the stolen keys are worth nothing any more"


def fast_forwarded(world: World, table: Table, far: int) -> Table:
    """The same list under the greatest numbers, signed with the first snapshot and timestamp keys."""
    changed = dict(table)
    changed[f"metadata/{far}.snapshot.json"] = resigned(
        table["metadata/2.snapshot.json"], lambda signed: setattr(signed, "version", far), world.online(Snapshot.type)
    )

    def vouch(timestamp: Timestamp) -> None:
        timestamp.version = far
        timestamp.snapshot_meta = MetaFile(far)

    changed[TIMESTAMP] = resigned(table[TIMESTAMP], vouch, world.online(Timestamp.type))
    return changed
