"""``custodes keys``: show, rotate and revoke the key that this site signs with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

from custodes.attest.keyring import Grounds
from custodes.cli.inputs import keys_in
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode, InputError
from custodes.keylife import CURRENT, revoke, rotate, statement_files, succeed, told_keys

__all__ = ["keys"]

PATH = click.Path(path_type=Path)


@click.group()
def keys() -> None:
    """Show, rotate and revoke the key that this site signs with."""


@keys.command("show")
@config_option
@json_option
def show(config: str | None, *, json_: bool) -> int:
    """The key in use and the earlier ones, as verifiers want them, and what was stated of them."""
    site = load_site(config)
    current = site.signer().verifier
    told = told_keys(site.keys, current)
    statements = [str(path) for path in statement_files(site.keys)]
    if json_:
        lines = [
            {"key": str(each.key), "ends": each.ends, "revoked": each.revoked, "reason": each.reason} for each in told
        ]
        as_json({"current": str(current), "keys": lines, "statements": statements})
        return ExitCode.NOTHING_FOUND
    for each in told:
        ends = f"  counts until {each.ends.isoformat()}" if each.ends else ""
        revoked = f"  revoked {each.revoked.isoformat()}: {each.reason}" if each.revoked else ""
        click.echo(f"{each.key}{'  in use' if each.key == current else ''}{ends}{revoked}")
    for name in statements:
        click.echo(f"  stated in {printable(name)}")
    return ExitCode.NOTHING_FOUND


@keys.command("rotate")
@click.option(
    "--to",
    "successor",
    type=PATH,
    default=None,
    metavar="FILE",
    help="The public half (NAME+ID+KEY) of a new key that lies elsewhere, as in a token. Without it a new key is made here.",
)
@config_option
@json_option
def rotate_key(successor: Path | None, config: str | None, *, json_: bool) -> int:
    """Sign with a new key from now on. The one in use signs a statement that names it; give that to those who verify.

    The old key is kept, read-only, for what was signed with it. If it is cut short, run it again: it goes on.
    """
    site, now = load_site(config), datetime.now(UTC)
    if successor is not None:
        found = keys_in(successor)
        if len(found) != 1:
            raise InputError(f"{successor} holds {len(found)} keys, and one is wanted")
        path = succeed(site.keys, site.signing_key(), found[0], now)
        done = "now let [signing] name the new key"
    elif site.config.signing.pkcs11_module:
        raise InputError(
            "the key in use lies in a token, where this does not make keys",
            hint="make one with the token's tool, then: custodes keys rotate --to FILE",
        )
    else:
        path = rotate(site.keys, now)
        done = f"new key: {site.keys / f'{CURRENT}.vkey'}"
    _told(path, done, json_=json_)
    return ExitCode.NOTHING_FOUND


@keys.command("revoke")
@click.option(
    "--key", type=PATH, default=None, metavar="FILE", help="The public half of the key (default: the one in use)."
)
@click.option(
    "--reason",
    type=click.Choice(get_args(Grounds)),
    required=True,
    help="superseded: what was signed before still counts, where a log's witnesses saw it. compromised: nothing does.",
)
@config_option
@json_option
def revoke_key(key: Path | None, reason: Grounds, config: str | None, *, json_: bool) -> int:
    """State that a key is revoked, signed by the one in use. It is not taken back. After the key in use was revoked, nothing is signed until it is rotated."""
    site = load_site(config)
    signer = site.signer()
    found = keys_in(key) if key else [signer.verifier]
    if len(found) != 1:
        raise InputError(f"{key} holds {len(found)} keys, and one is wanted")
    path = revoke(site.keys, signer, found[0], reason, datetime.now(UTC))
    _told(path, f"{found[0].name} is revoked: {reason}", json_=json_)
    return ExitCode.NOTHING_FOUND


def _told(path: Path, done: str, *, json_: bool) -> None:
    if json_:
        as_json({"statement": str(path)})
        return
    click.echo(printable(done))
    click.echo(f"give this to those who verify: {printable(str(path))}")
