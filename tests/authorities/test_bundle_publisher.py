"""A publisher's folder: keys that nobody else can read, files that anyone may serve, and no key changed by one person alone."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from custodes.bundles import repository as module
from custodes.bundles.repository import Lifetimes, Publisher, State, sign_root
from custodes.bundles.roots import ROLES, owner_names, read_root
from custodes.crypto.signers import create_signer, load_signer
from custodes.errors import ConfigError, CustodesError, InputError, StorageError

from .bundle_world import OWNERS, START, Clock, World, quick_folder, refusal, resigned, said_of, taken, truth


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with quick_folder() as home:
        yield home


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path)


def key_of(world: World, name: str) -> Path:
    return world.publisher.directory / "root-keys" / f"{name}.pem"


def test_what_is_served_holds_no_key_and_no_value_and_what_is_not_is_for_its_owner_alone(world: World) -> None:
    table = world.publish(3)
    served = b"".join(table.values())
    for entry in truth(3):
        assert entry.value.hex().encode() not in served
        assert entry.value not in served
    assert b"PRIVATE KEY" not in served
    assert b'"entries"' not in served, "how many there are stands inside the seal"
    for name in ("keys", "root-keys", "state"):
        folder = world.publisher.directory / name
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for path in world.publisher.public.rglob("*"):
        assert path.stat().st_mode & stat.S_IROTH, "a web server reads as another user"


def test_the_first_root_has_three_owners_of_whom_two_must_sign(world: World) -> None:
    root = world.publisher.root()
    assert sorted(owner_names(root)) == sorted(OWNERS)
    assert (root.roles[Root.type].threshold, len(root.roles[Root.type].keyids), root.consistent_snapshot) == (
        2,
        3,
        True,
    )
    keyids = [keyid for role in ROLES for keyid in root.roles[role].keyids]
    assert len(set(keyids)) == 3, "each role has a key of its own"


OWNERS_WRONG = {
    "none": (),
    "two": ("a", "b"),
    "four": ("a", "b", "c", "d"),
    "twice the same": ("a", "b", "b"),
    "a path": ("a", "b", "../c"),
    "capitals": ("a", "b", "C"),
    "empty": ("a", "b", ""),
    "too long": ("a", "b", "c" * 32),
}


@pytest.mark.parametrize("owners", OWNERS_WRONG.values(), ids=OWNERS_WRONG)
def test_a_root_without_three_owners_is_refused_and_nothing_is_made(tmp_path: Path, owners: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Publisher.create(tmp_path / "new", owners, Lifetimes())
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_alone(world: World) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.publisher.directory.rglob("*")}
    with pytest.raises(InputError, match="not empty"):
        Publisher.create(world.publisher.directory, OWNERS, Lifetimes())
    assert {path: path.stat().st_mtime_ns for path in world.publisher.directory.rglob("*")} == before


@pytest.mark.parametrize(
    "days",
    [{"timestamp_days": 0}, {"timestamp_days": 8}, {"snapshot_days": 31}, {"targets_days": 366}, {"root_days": 3651}],
)
def test_lifetimes_make_sense(days: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="lifetimes"):
        Lifetimes(**days)


def test_expiries_are_those_of_the_lifetimes(world: World) -> None:
    table = world.publish(1)
    names = ("1.root", "2.targets", "2.snapshot", "timestamp")
    found = [Metadata.from_bytes(table[f"metadata/{name}.json"]).signed.expires for name in names]
    assert found == [START + timedelta(days=days) for days in (365, 30, 7, 1)]


def versions(world: World) -> dict[str, int]:
    state = world.publisher.directory / "state"
    return {role: Metadata.from_file(str(state / f"{role}.json")).signed.version for role in ROLES}


def test_refresh_signs_the_timestamp_and_what_has_less_than_half_of_its_lifetime_left(world: World) -> None:
    world.publish(1)
    seen = versions(world)
    steps = {
        1: (0, 0, 1),
        83: (0, 0, 1),
        84: (0, 1, 1),
        85: (0, 0, 1),
        361: (1, 1, 1),
    }  # hours: targets, snapshot, timestamp
    for hours, added in steps.items():
        world.clock.now = START + timedelta(hours=hours)
        world.publisher.refresh()
        after = versions(world)
        assert tuple(after[role] - seen[role] for role in ROLES) == added, hours
        seen = after
    assert taken(world.subscriber(world.home / "state", world.served())) == truth(1)


def test_a_subscriber_follows_a_year_of_refreshes_and_renewals_of_the_root(world: World) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    for _ in range(5):
        world.clock.forward(days=200)
        path = world.publisher.rotate({}, [])
        for name in OWNERS[:2]:
            sign_root(path, key_of(world, name))
        world.publisher.adopt([path])
        bundle.files.table = world.served()  # type: ignore[attr-defined]
        assert taken(bundle) == truth(1)


def test_only_lists_of_this_state_and_the_one_before_stay(world: World) -> None:
    for count in range(1, 5):
        table = world.publish(count)
        assert len([name for name in table if name.startswith("targets/")]) == min(count, 2)
    other = said_of(1, list="other")
    world.publisher.publish(other, b"sealed")
    assert world.publisher.refresh().lists == {"demo": said_of(4).version, "other": other.version}
    assert len([name for name in world.served() if name.startswith("targets/")]) == 2, (
        "one of each: demo did not change"
    )


# Whatever happens


class Broken(Exception):  # noqa: N818
    pass


def test_a_publication_that_stops_at_any_write_serves_the_old_list_or_the_new_and_is_made_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(1)
    real, states = module.replace_file, set()
    for number in itertools.count():
        count = 2 * number + 2
        left = number

        def write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
            nonlocal left
            if left == 0:
                raise Broken
            left -= 1
            real(path, content, mode=mode)

        monkeypatch.setattr(module, "replace_file", write)
        try:
            world.publish(count)
            stopped = False
        except Broken:
            stopped = True
        monkeypatch.setattr(module, "replace_file", real)
        found = taken(world.subscriber(world.home / f"after-{number}", world.served()))
        assert found in ({truth(count)} if not stopped else {truth(count - 1), truth(count)}), number
        states.add(found == truth(count))
        assert taken(world.subscriber(world.home / f"again-{number}", world.publish(count + 1))) == truth(count + 1)
        if not stopped:
            break
    assert number > 6
    assert states == {True, False}


def test_what_a_web_server_changed_is_mended_and_never_signed(world: World) -> None:
    world.publish(1)
    table = world.publish(2)
    metadata = world.publisher.public / "metadata"
    for path in metadata.iterdir():
        path.write_bytes(b"{}")
    forged = resigned(table["metadata/3.targets.json"], lambda signed: signed.targets.clear())
    (metadata / "9.targets.json").write_bytes(forged)
    world.publisher.refresh()
    assert taken(world.subscriber(world.home / "state", world.served())) == truth(2)


@pytest.mark.parametrize("role", ROLES)
def test_without_the_key_of_a_role_nothing_is_published(world: World, role: str) -> None:
    world.publish(1)
    (world.publisher.directory / "keys" / f"{role}.pem").unlink()
    with pytest.raises(ConfigError, match=role):
        world.publish(2)
    assert taken(world.subscriber(world.home / "state", world.served())) == truth(1)


@pytest.mark.parametrize("broken", ["readable", "no key", "another kind", "of another publisher"])
def test_a_key_that_is_not_right_is_refused(world: World, tmp_path: Path, broken: str) -> None:
    path = world.publisher.directory / "keys" / "timestamp.pem"
    if broken == "readable":
        path.chmod(0o640)
    elif broken == "of another publisher":
        path.unlink()
        create_signer(path)
    else:
        path.write_bytes({"no key": b"key", "another kind": elliptic()}[broken])
    with pytest.raises(ConfigError):
        world.publisher.refresh()


def elliptic() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    create_signer(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="never overwritten"):
        create_signer(tmp_path / "key.pem")
    assert load_signer(tmp_path / "key.pem").public_key.keytype == "ed25519"


@pytest.mark.parametrize("name", ["state/targets.json", "lifetimes.json", "state/1.root.json"])
def test_a_damaged_state_is_said_so(world: World, name: str) -> None:
    (world.publisher.directory / name).write_bytes(b"{")
    with pytest.raises(InputError):
        world.publisher.refresh()


def test_a_folder_that_is_no_publishers_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(ConfigError, match="not a publisher's"):
        Publisher(tmp_path, Clock()).refresh()


# Rotation


def adopted(world: World, path: Path, names: tuple[str, ...]) -> State:
    """Signed by these, each on a copy of their own."""
    copies = []
    for name in names:
        copy = world.home / f"{name}-root.json"
        copy.write_bytes(path.read_bytes())
        sign_root(copy, key_of(world, name))
        copies.append(copy)
    return world.publisher.adopt(copies or [path])


@pytest.mark.parametrize("size", range(5))
def test_a_next_root_is_adopted_when_two_of_the_old_and_two_of_the_new_owners_signed_it(
    tmp_path: Path, size: int
) -> None:
    for number, names in enumerate(itertools.combinations(("alice", "bob", "carol", "dora"), size)):
        home = tmp_path / str(number)
        home.mkdir()
        world = World.make(home)
        bundle = world.subscriber(home / "state", world.publish(1))
        assert taken(bundle) == truth(1)
        path = world.publisher.rotate({"carol": "dora"}, list(ROLES))
        right = len({*names} & {"alice", "bob", "carol"}) >= 2 and len({*names} & {"alice", "bob", "dora"}) >= 2
        before = world.served()
        try:
            state = adopted(world, path, names)
        except InputError:
            assert not right, names
            assert world.served() == before
            continue
        assert right, names
        assert state.root == 2
        assert not path.exists()
        bundle.files.table = world.served()  # type: ignore[attr-defined]
        assert taken(bundle) == truth(1)
        bundle.files.table = world.publish(2)  # type: ignore[attr-defined]
        assert taken(bundle) == truth(2)


def test_an_adoption_that_stopped_is_made_good_by_a_refresh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    path = world.publisher.rotate({}, [Timestamp.type, Snapshot.type, Targets.type])
    for name in OWNERS[:2]:
        sign_root(path, key_of(world, name))

    def stop(self: Publisher, root: Root) -> State:
        raise Broken

    monkeypatch.setattr(Publisher, "_settle", stop)
    with pytest.raises(Broken):
        world.publisher.adopt([path])
    monkeypatch.undo()
    bundle.files.table = world.served()  # type: ignore[attr-defined]
    assert taken(bundle) == truth(1), "nothing of it is served yet"
    world.publisher.refresh()
    bundle.files.table = world.served()  # type: ignore[attr-defined]
    assert taken(bundle) == truth(1)
    assert world.publisher.root().version == 2


ROTATIONS_WRONG = {
    "nobody": {"dora": "erin"},
    "to an owner": {"alice": "bob"},
    "two to one": {"alice": "dora", "bob": "dora"},
    "a path": {"alice": "../x"},
}


@pytest.mark.parametrize("owners", ROTATIONS_WRONG.values(), ids=ROTATIONS_WRONG)
def test_a_rotation_that_leaves_not_three_owners_is_refused_and_makes_no_key(
    world: World, owners: dict[str, str]
) -> None:
    before = sorted(world.publisher.directory.rglob("*"))
    with pytest.raises(InputError):
        world.publisher.rotate(owners, [])
    assert sorted(world.publisher.directory.rglob("*")) == before


def test_one_next_root_at_a_time(world: World) -> None:
    path = world.publisher.rotate({"carol": "dora"}, ROLES)
    with pytest.raises(InputError, match="waits to be signed"):
        world.publisher.rotate({}, [])
    path.unlink()
    path = world.publisher.rotate({"carol": "dora"}, ROLES)
    assert adopted(world, path, ("alice", "bob")).root == 2
    assert taken(world.subscriber(world.home / "state", world.publish(1))) == truth(1)


def test_copies_of_different_roots_are_not_put_together(world: World) -> None:
    copies = []
    for name in OWNERS[:2]:
        path = world.publisher.rotate({}, [])
        sign_root(path, key_of(world, name))
        copies.append(path.rename(world.home / f"{name}.json"))
        world.clock.forward(days=1)
    with pytest.raises(InputError, match="not copies of one root"):
        world.publisher.adopt(copies)


def test_a_root_that_expired_while_it_was_signed_or_is_not_the_next_is_not_adopted(world: World) -> None:
    path = world.publisher.rotate({}, [])
    for name in OWNERS[:2]:
        sign_root(path, key_of(world, name))
    copy = world.home / "copy.json"
    copy.write_bytes(path.read_bytes())
    world.clock.forward(days=366)
    with pytest.raises(InputError, match="expired"):
        world.publisher.adopt([path])
    world.clock.forward(days=-366)
    world.publisher.adopt([path])
    with pytest.raises(InputError, match="would be next"):
        world.publisher.adopt([copy])


def test_signatures_of_others_are_left_out(world: World) -> None:
    path = world.publisher.rotate({}, [])
    create_signer(world.home / "stranger.pem")
    root, signed = sign_root(path, world.home / "stranger.pem")
    assert (root.version, signed) == (2, [])
    assert sign_root(path, key_of(world, "alice"))[1] == ["alice"]
    assert sign_root(path, key_of(world, "bob"))[1] == ["alice", "bob"]
    world.publisher.adopt([path])
    assert len(read_root(world.publisher.public / "metadata" / "2.root.json").signatures) == 2


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 9999, b"\xff"], ids=["empty", "an object", "nested", "not UTF-8"])
def test_what_is_no_root_is_not_signed(world: World, text: bytes) -> None:
    path = world.home / "root-to-sign.json"
    path.write_bytes(text)
    with pytest.raises(InputError):
        sign_root(path, key_of(world, "alice"))


def test_a_role_that_is_no_root_is_not_signed(world: World) -> None:
    with pytest.raises(InputError, match="not a root"):
        sign_root(world.publisher.public / "metadata" / "timestamp.json", key_of(world, "alice"))


def test_a_full_disk_is_said_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.publisher.public / "metadata").chmod(0o500)
    (world.publisher.public / "metadata" / "timestamp.json").unlink()
    (world.publisher.public / "metadata" / "timestamp.json").mkdir()
    with pytest.raises(StorageError):
        world.publisher.refresh()
    assert refusal(world.subscriber(world.home / "state", world.served()))


def test_errors_are_ours(world: World) -> None:
    with pytest.raises(CustodesError):
        world.publisher.adopt([world.home / "absent.json"])
