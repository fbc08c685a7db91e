"""``custodes lists publish``, ``publisher …`` and ``identity``: lists that sites share with each other."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import click

from custodes.bundles.repository import Lifetimes, Publisher, State, sign_root
from custodes.bundles.roots import ROLES, THRESHOLD, owner_names
from custodes.bundles.target import Said, seal_list
from custodes.cli.options import as_json, config_option, config_unused, json_option
from custodes.config import load_site
from custodes.crypto.keys import read_private, write_private
from custodes.crypto.seal import Recipient, create_identity, recipients_of
from custodes.errors import InputError
from custodes.lists.formats import OwnHeader, export_lines

__all__ = ["identity", "publish", "publisher"]

_ROOT_DAYS_LEFT = 30
_directory = click.argument("directory", type=click.Path(path_type=Path))


@click.command("publish")
@click.argument("list_id", metavar="ID")
@click.option("--repository", required=True, type=click.Path(path_type=Path), help="The publisher's folder.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    required=True,
    metavar="RECIPIENT",
    help="Public key (age1…) of a site that may have the list; give it once for each.",
)
@config_option
@json_option
def publish(list_id: str, repository: Path, recipients: tuple[str, ...], config: str | None, *, json_: bool) -> None:
    """Publish a list's current version, sealed to those who may have it. Who is not named cannot open it."""
    store = load_site(config).lists()
    (summary,) = store.show([list_id])
    said = Said(
        list=list_id,
        version=summary.version,
        sequence=int(summary.version.partition("-")[0]),
        created=summary.created,
        scheme=summary.provenance.scheme,
    )
    header = OwnHeader(list=list_id, version=summary.version, created=summary.created, provenance=summary.provenance)
    (loaded,) = store.load({list_id: summary.version}).lists
    export = b"".join(export_lines(header, loaded.contents))
    sealed = seal_list(export, [Recipient.parse(text) for text in recipients])
    tell(Publisher(repository).publish(said, sealed), repository, json_=json_)


@click.group()
def publisher() -> None:
    """Keep a publisher's folder: keys, signatures, the files that are served."""


@publisher.command()
@_directory
@click.option(
    "--root-key",
    "owners",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Who holds a root key; give three names. Two of the three must sign any change of keys.",
)
@click.option(
    "--timestamp-days",
    type=int,
    default=1,
    show_default=True,
    help="After so many days without refresh, subscribers refuse.",
)
@click.option("--snapshot-days", type=int, default=7, show_default=True, help="Lifetime of the snapshot.")
@click.option("--targets-days", type=int, default=30, show_default=True, help="Lifetime of the list of lists.")
@click.option("--root-days", type=int, default=365, show_default=True, help="Lifetime of the root.")
@config_unused
@json_option
def init(
    directory: Path,
    owners: tuple[str, ...],
    timestamp_days: int,
    snapshot_days: int,
    targets_days: int,
    root_days: int,
    *,
    json_: bool,
) -> None:
    """Make keys and the first files in DIRECTORY. Overwrites nothing."""
    try:
        lifetimes = Lifetimes(
            root_days=root_days, targets_days=targets_days, snapshot_days=snapshot_days, timestamp_days=timestamp_days
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    made = Publisher.create(directory, owners, lifetimes)
    root = made.public / "metadata" / "1.root.json"
    digest = sha256(root.read_bytes()).hexdigest()
    if json_:
        as_json({"public": str(made.public), "root": str(root), "root_sha256": digest})
        return
    click.echo(f"wrote {directory}; serve {made.public}, and nothing beside it")
    click.echo(f"next: hand each file in {directory / 'root-keys'} to its owner, and delete it here")
    click.echo(f"next: give {root} to subscribers by another way; its SHA-256 is {digest}")


@publisher.command()
@_directory
@config_unused
@json_option
def refresh(directory: Path, *, json_: bool) -> None:
    """Vouch for what is published, anew. Run it twice within each lifetime of the timestamp."""
    tell(Publisher(directory).refresh(), directory, json_=json_)


@publisher.command()
@_directory
@click.option(
    "--replace-root-key",
    "owners",
    type=(str, str),
    multiple=True,
    metavar="OLD NEW",
    help="The owner who leaves, and the name of who comes instead.",
)
@click.option(
    "--replace-key", "online", multiple=True, type=click.Choice(ROLES), help="A role that is to have a new key."
)
@config_unused
@json_option
def rotate(directory: Path, owners: tuple[tuple[str, str], ...], online: tuple[str, ...], *, json_: bool) -> None:
    """Write the next root, for its owners to sign: with other keys, or (without options) as it is, for another year."""
    path = Publisher(directory).rotate(dict(owners), online)
    if json_:
        as_json({"next_root": str(path)})
        return
    click.echo(f"wrote {path}")
    click.echo(f"next: {THRESHOLD} owners of the old keys and {THRESHOLD} of the new ones sign it:")
    click.echo("      custodes lists publisher sign FILE --key KEY")
    click.echo(f"      custodes lists publisher adopt {directory} FILE…")


@publisher.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The owner's key file.")
@config_unused
@json_option
def sign(file: Path, key: Path, *, json_: bool) -> None:
    """Sign the root in FILE with an owner's key. Needs nothing else: do it on a machine of your own."""
    root, signed = sign_root(file, key)
    owners = list(owner_names(root))
    keys = {role: [keyid[:16] for keyid in root.roles[role].keyids] for role in ROLES}
    if json_:
        as_json({"version": root.version, "owners": owners, "signed": signed, "keys": keys})
        return
    click.echo(f"signed root {root.version}, valid until {root.expires.isoformat()}, with the keys of")
    for name in owners:
        click.echo(f"  {name}{', who has signed it' if name in signed else ''}")
    for role, keyids in keys.items():
        click.echo(f"  {role}: {', '.join(keyids)}")


@publisher.command()
@_directory
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_unused
@json_option
def adopt(directory: Path, files: tuple[Path, ...], *, json_: bool) -> None:
    """Publish the next root from signed copies of it."""
    tell(Publisher(directory).adopt(files), directory, json_=json_)


@click.command()
@config_option
@json_option
def identity(config: str | None, *, json_: bool) -> None:
    """Show this site's public key for lists of others; the first time, make the key. It is no authority's key."""
    site = load_site(config)
    path = site.path.parent / site.config.places.keys / "subscriber.key"
    if not path.exists():
        secret, recipient = create_identity()
        write_private(
            path, f"# opens lists that are sealed to this site\n# public key: {recipient}\n{secret}\n".encode()
        )
    (recipient,) = recipients_of(read_private(path).decode("ascii", "replace"))
    if json_:
        as_json({"identity": str(path), "recipient": recipient})
        return
    click.echo(recipient)


def tell(state: State, directory: Path, *, json_: bool) -> None:
    """What is published now, and what needs doing soon."""
    left = datetime.fromisoformat(state.root_expires) - datetime.now(UTC)
    if left.days < _ROOT_DAYS_LEFT:
        click.echo(f"the root expires in {left.days} days; run: custodes lists publisher rotate {directory}", err=True)
    if json_:
        as_json(state)
        return
    for name, version in state.lists.items():
        click.echo(f"list {name}, version {version}")
    click.echo(f"root {state.root}, timestamp {state.timestamp}, to be refreshed before {state.timestamp_expires}")
