"""``custodes lists export``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.crypto.seal import Recipient, seal
from custodes.durable import replace_file
from custodes.lists.container import decode
from custodes.lists.formats import OwnHeader, export_lines

__all__ = ["export_list"]


@click.command("export")
@click.argument("list_id", metavar="ID")
@click.option("--to", "to", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@click.option(
    "--recipient", "recipients", multiple=True, metavar="AGE1…", help="Who can open it: an age public key. Repeatable."
)
@click.option("--unsafe-plaintext", is_flag=True, help="Write the values in the clear, sealed to nobody.")
@config_option
@json_option
def export_list(
    list_id: str, to: Path, recipients: tuple[str, ...], config: str | None, *, unsafe_plaintext: bool, json_: bool
) -> None:
    """Write a list to FILE, sealed to those who may open it. `custodes lists import FILE --identity KEYFILE` reads it."""
    if bool(recipients) == unsafe_plaintext:
        raise click.UsageError("give --recipient, or --unsafe-plaintext, and not both")
    parsed = [Recipient.parse(text) for text in recipients]
    store = load_site(config).lists()
    version = store.current([list_id])[list_id]
    header, contents, _ = decode(store.plaintext(list_id, version))
    own = OwnHeader(list=list_id, version=version, created=header.created, provenance=header.provenance)
    content = b"".join(export_lines(own, contents))
    replace_file(to, content if unsafe_plaintext else seal(content, parsed))
    if json_:
        as_json({"list": list_id, "version": version, "entries": len(contents), "sealed": not unsafe_plaintext})
    else:
        how = "in the clear" if unsafe_plaintext else f"sealed to {len(parsed)}"
        click.echo(f"list {list_id}, version {version}: {len(contents):,} entries written to {to}, {how}")
