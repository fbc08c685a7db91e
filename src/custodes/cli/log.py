"""``custodes log``: a transparency log as static files, its witnesses, and the check of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from custodes.attest.page import PAGE_NAME, page_bytes
from custodes.attest.verification import Check
from custodes.cli.inputs import bounded
from custodes.cli.options import as_json, config_option, config_unused, json_option, printable
from custodes.config import load_site
from custodes.crypto.keys import VerifierKey
from custodes.durable import replace_file
from custodes.errors import ConfigError, ExitCode, InputError
from custodes.logged import Evidence, audited, default_memory
from custodes.logs import Published, Renamed, SiteLog, list_entries, proof_path, read_policy, witness_of
from custodes.office import Office
from custodes.tls import server_context
from custodes.transparency.entries import CustodyEntry, Entry, KeyEntry, card_entry
from custodes.transparency.memory import Memory
from custodes.transparency.notes import Cosigner
from custodes.transparency.witness_web import Listen, serve
from custodes.verifying import verify_either

__all__ = ["log"]

PATH = click.Path(path_type=Path)
MARKS = {"passed": "ok    ", "failed": "FAILED", "note": "note  "}


@click.group()
def log() -> None:
    """Publish what this site states, so that nobody can take it back or tell it differently to others."""


@log.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--origin", required=True, metavar="NAME", help="The log's name for good, like example.org/cards.")
@config_option
@json_option
def create(folder: Path, origin: str, config: str | None, *, json_: bool) -> int:
    """Begin an empty log in DIR, which any web server can serve. The site's signing key signs it.

    A page beside it, verify.html, verifies cards in a browser.
    """
    made = SiteLog(load_site(config), folder, origin)
    made.create()
    replace_file(folder / PAGE_NAME, page_bytes(), mode=0o644)
    tell_published(made.publish(), json_=json_)
    if not json_:
        click.echo(f"its line for a policy: log {made.trust.keys[0]}")
    return ExitCode.NOTHING_FOUND


@log.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--card", "cards", multiple=True, type=PATH, metavar="FILE", help="A card of this site; may be repeated.")
@click.option("--statement", "statements", multiple=True, type=PATH, metavar="FILE", help="A statement about a key.")
@click.option("--custody", is_flag=True, help="How far the record of custody has come, by number and hash.")
@click.option("--lists", "with_lists", is_flag=True, help="The lists in force: id, holder and version of each.")
@config_option
@json_option
def append(
    folder: Path,
    cards: tuple[Path, ...],
    statements: tuple[Path, ...],
    config: str | None,
    *,
    custody: bool,
    with_lists: bool,
    json_: bool,
) -> int:
    """Put digests into the log in DIR, ask its witnesses, and publish it. The proof of a card is written beside it.

    What is in the log already is not put in again: after a crash, do the same again.
    """
    site = load_site(config)
    made = SiteLog(site, folder)
    own = site.signing_key().verifier
    entries: list[Entry] = [card_entry(checked(path, own)) for path in cards]
    entries += [KeyEntry(sha256=card_entry(bounded(path)).sha256) for path in statements]
    if custody:
        head = Office(site).custody.verify()
        if not head.seq:
            raise InputError(
                "the record of custody has no line yet", hint="say --custody once something was handed over"
            )
        entries.append(CustodyEntry(seq=head.seq, hash=head.hash))
    entries += list_entries(site) if with_lists else []
    if not entries:
        raise InputError("there is nothing to append", hint="say --card FILE, --custody, --lists or --statement FILE")
    numbers = made.add(entries)
    published = made.publish()
    proofs = [proof_path(path) for path in cards]
    for path, number, entry in zip(proofs, numbers, entries, strict=False):
        replace_file(path, bytes(made.proof(number, entry, published.seen)), mode=0o644)
    tell_published(published, numbers, proofs, json_=json_)
    return ExitCode.NOTHING_FOUND


@log.command()
@click.argument("folder", metavar="DIR", type=PATH)
@config_option
@json_option
def publish(folder: Path, config: str | None, *, json_: bool) -> int:
    """Ask the witnesses of the log in DIR once more, and publish it: after a crash, or when they answer again."""
    tell_published(SiteLog(load_site(config), folder).publish(), json_=json_)
    return ExitCode.NOTHING_FOUND


@log.command()
@click.argument("source", metavar="DIR|URL")
@click.option("--policy", required=True, type=PATH, metavar="FILE", help="Which log and witnesses are trusted.")
@click.option("--memory", type=PATH, default=None, metavar="DIR", help="What was seen of logs (default: in your home).")
@click.option("--unsafe-allow-loopback", is_flag=True, help="Allow a log on this machine without TLS: for tests.")
@config_unused
@json_option
def check(source: str, policy: Path, memory: Path | None, *, unsafe_allow_loopback: bool, json_: bool) -> int:
    """Read all of a log: that it is signed and witnessed as the policy asks, goes on from what was seen before, and every file leads to its root.

    Exits with 0 if all is well, 2 if a check fails.
    """
    evidence = Evidence(source, unsafe_allow_loopback=unsafe_allow_loopback)
    found = audited(evidence, read_policy(policy), Memory(memory or default_memory()))
    if json_:
        as_json({"passed": found.passed, "checks": [told(each) for each in found.checks]})
    else:
        for each in found.checks:
            click.echo(f"{MARKS[each.state]}  {each.name:<10}  {printable(each.means)}")
    return ExitCode.NOTHING_FOUND if found.passed else ExitCode.INPUT


@log.command()
@click.option("--origin", default="", metavar="NAME", help="Name of a log that this site is to sign.")
@config_option
@json_option
def key(origin: str, config: str | None, *, json_: bool) -> int:
    """Say the lines for a policy: of a log of this site, and of this site as a witness, as far as each has a name."""
    site = load_site(config)
    signer, name = site.signing_key(), site.config.log.witness.name
    lines = {"log": str(Renamed(signer, origin).verifier)} if origin else {}
    lines |= {"witness": str(Cosigner(Renamed(signer, name).verifier))} if name else {}
    if not lines:
        raise InputError("nothing has a name", hint="say --origin NAME, or put name under [log.witness]")
    if json_:
        as_json(lines)
        return ExitCode.NOTHING_FOUND
    for word, text in lines.items():
        click.echo(f"{word} {text}" if word == "log" else f"{word} {name} {text}")
    return ExitCode.NOTHING_FOUND


@log.command()
@click.option("--listen", default="127.0.0.1:8744", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option("--unsafe-plain-http", is_flag=True, help="Listen beyond loopback without TLS: a proxy must encrypt.")
@config_option
@json_option
def witness(listen: str, config: str | None, *, unsafe_plain_http: bool, json_: bool) -> int:
    """Sign others' logs, if each goes on from what was signed last, until stopped. Says on standard output where it listens."""
    site = load_site(config)
    certified = site.config.log.witness
    tls = server_context(certified.tls_certificate, certified.tls_key, site.home)
    where = Listen.parse(listen, tls)
    if where.tls is None and not where.loopback and not unsafe_plain_http:
        raise ConfigError(
            f"{where.host} can be reached from outside, and there is no TLS",
            hint="set tls_certificate and tls_key, or --unsafe-plain-http behind a proxy that encrypts",
        )

    def ready(address: str) -> None:
        if json_:
            as_json({"listening": address})
        else:
            click.echo(f"listening: {address}")

    asyncio.run(serve(witness_of(site, lambda: int(time.time())), where, ready))
    return ExitCode.NOTHING_FOUND


def checked(path: Path, own: VerifierKey) -> bytes:
    """A card that this site signed: what is in a log stays there. Raises InputError for anything else."""
    data = bounded(path)
    if failed := [each for each in verify_either(data, [own]).checks if each.state == "failed"]:
        raise InputError(f"{path} is no card of this site: {failed[0].means}", hint="nothing was put into the log")
    return data


def told(each: Check) -> dict[str, str]:
    """A check in JSON."""
    return {"name": each.name, "state": each.state, "means": each.means}


def tell_published(
    published: Published, numbers: list[int] | None = None, proofs: list[Path] | None = None, *, json_: bool
) -> None:
    """What is there for all to read now."""
    seen = published.seen
    size, names = seen.checkpoint.tree.size, sorted(seen.witnesses)
    if json_:
        as_json(
            {
                "origin": seen.checkpoint.origin,
                "entries": size,
                "witnesses": names,
                "silent": published.silent,
                "numbers": numbers or [],
                "proofs": [str(path) for path in proofs or []],
            }
        )
        return
    if numbers:
        click.echo(f"entries: {', '.join(f'{number:,}' for number in numbers)}")
    for path in proofs or []:
        click.echo(f"wrote {printable(str(path))}")
    witnessed = f", witnessed by {', '.join(names)}" if names else ""
    click.echo(f"published: {seen.checkpoint.origin}, {size:,} entries{witnessed}")
    for name, why in published.silent.items():
        click.echo(f"  {name} did not sign: {printable(why)}", err=True)
