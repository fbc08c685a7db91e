"""``custodes policy lexicon``: the words that contexts are found by. Terms are never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.crypto.keys import load_lists_key
from custodes.durable import replace_file
from custodes.errors import ExitCode, InputError
from custodes.gateway.screening.lexicon import Context, Lexicon, lock_lexicon, open_lexicon, read_lexicon

__all__ = ["lexicon"]

PATH = click.Path(path_type=Path)
LEXICON_BYTES_MAX: Final = 64 << 20
SUFFIX: Final = ".lexicon"


@click.group()
def lexicon() -> None:
    """Encrypt and check lexicons: the terms by which contexts are found. Terms are never shown."""


@lexicon.command("import")
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="FILE.lexicon", help="The encrypted file.")
@config_option
@json_option
def import_lexicon(file: Path, out: Path, config: str | None, *, json_: bool) -> int:
    """Check the lexicon FILE (TOML) and encrypt it under the site's `lists.key`."""
    if out.suffix != SUFFIX:
        raise InputError(f"{out.name!r} does not end in {SUFFIX}", hint="a gateway knows encrypted lexicons by that")
    site, content = load_site(config), _bytes(file)
    read = read_lexicon(content)
    replace_file(out, lock_lexicon(load_lists_key(site.keys / "lists.key"), content))
    if json_:
        as_json({"lexicon": str(out)} | _told(read))
        return ExitCode.NOTHING_FOUND
    click.echo(f"wrote {printable(str(out))}")
    _tell(read)
    click.echo(f"  {printable(str(file))} is still there in the clear: keep it off this machine", err=True)
    return ExitCode.NOTHING_FOUND


@lexicon.command()
@click.argument("file", type=PATH)
@config_option
@json_option
def check(file: Path, config: str | None, *, json_: bool) -> int:
    """Check the lexicon FILE, as TOML or encrypted (.lexicon; needs the site), and say how many entries its contexts have."""
    read = _encrypted(file, config) if file.suffix == SUFFIX else read_lexicon(_bytes(file))
    if json_:
        as_json(_told(read))
    else:
        _tell(read)
    return ExitCode.NOTHING_FOUND


def _encrypted(file: Path, config: str | None) -> Lexicon:
    return open_lexicon(load_lists_key(load_site(config).keys / "lists.key"), _bytes(file))


def _told(read: Lexicon) -> dict[str, object]:
    contexts = {name: _entries(context) for name, context in sorted(read.contexts.items())}
    return {
        "title": read.title,
        "as_of": read.as_of,
        "source": read.source,
        "digest": read.digest,
        "contexts": contexts,
    }


def _tell(read: Lexicon) -> None:
    for name in ("title", "as_of", "source", "digest"):
        click.echo(f"{name:<8} {printable(str(getattr(read, name)))}")
    for name, context in sorted(read.contexts.items()):
        click.echo(f"  {_entries(context):>8,}  {name}")


def _entries(context: Context) -> int:
    tables = (context.terms, context.unless, context.ages, context.things)
    return sum(len(words) for table in tables for words in table.values())


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LEXICON_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LEXICON_BYTES_MAX:
        raise InputError(f"{path} is longer than {LEXICON_BYTES_MAX:,} bytes")
    return data
