"""``custodes gateway register``: protected persons, who are compared with explicit pictures alone."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import Site, load_site
from custodes.crypto.keys import load_lists_key
from custodes.errors import ExitCode
from custodes.gatebooks import changed_register, pdqs_of, register_of
from custodes.gateway.inspection.register import Register

__all__ = ["register"]

PATH = click.Path(path_type=Path)


@click.group()
def register() -> None:
    """Keep the register of protected persons. Of their pictures it holds hashes alone. A gateway reads it when it starts."""


@register.command()
@click.argument("name")
@click.argument("pictures", nargs=-1, required=True, type=PATH, metavar="PICTURE...")
@config_option
@json_option
def add(name: str, pictures: tuple[Path, ...], config: str | None, *, json_: bool) -> int:
    """Put hashes of PICTUREs under NAME, which is the operator's word for a person and should be no person's name. Pictures are decoded in the jail."""
    site = load_site(config)
    register_of(site)
    codes = pdqs_of(site, pictures)
    changed = changed_register(site, lambda held: held.with_person(name, codes))
    _told(changed, f"{len(pictures):,} pictures are under {name}, as hashes", json_=json_)
    return ExitCode.NOTHING_FOUND


@register.command()
@click.argument("name")
@config_option
@json_option
def remove(name: str, config: str | None, *, json_: bool) -> int:
    """Remove all that is under NAME."""
    changed = changed_register(load_site(config), lambda held: held.without_person(name))
    _told(changed, f"{name} is removed", json_=json_)
    return ExitCode.NOTHING_FOUND


@register.command("list")
@config_option
@json_option
def list_people(config: str | None, *, json_: bool) -> int:
    """List the names in the register."""
    people = _loaded(load_site(config)).people
    if json_:
        as_json({"people": people})
    for name in () if json_ else people:
        click.echo(name)
    return ExitCode.NOTHING_FOUND


def _loaded(site: Site) -> Register:
    return Register.load(register_of(site), load_lists_key(site.keys / "lists.key"))


def _told(changed: Register, done: str, *, json_: bool) -> None:
    if json_:
        as_json({"people": len(changed)})
        return
    click.echo(f"{done}; {len(changed):,} people in the register")
    click.echo("  a running gateway takes it at SIGHUP, or when it is started again", err=True)
