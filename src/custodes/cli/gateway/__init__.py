"""``custodes gateway``: the guarded door in front of a generator; one file for each few of the commands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from custodes.cli.lazy import lazy_group
from custodes.cli.options import config_option, json_option

__all__ = ["gateway"]

PATH = click.Path(path_type=Path)
COMMANDS: Final = {
    "key": ("gateway.tenants:key", "Make a key for a tenant."),
    "appeals": ("gateway.appeals:appeals", "Hear appeals against refusals, and take back what was wrong."),
    "decisions": (
        "gateway.books:decisions",
        "Tell what was decided, line by line, for those who weigh another policy.",
    ),
    "card": ("gateway.books:card", "Sign a card of a period: what was decided, in counts, and with what."),
    "register": ("gateway.register:register", "Keep the register of protected persons."),
}
"""Each command, where it lies, and its line in the list of commands."""


@click.group(cls=lazy_group(COMMANDS), invoke_without_command=True)
@click.option("--demo", is_flag=True, help="A demonstration: a harmless generator behind it, key `demo`, model `demo`.")
@click.option("--listen", default=None, metavar="HOST:PORT", help="Listen here, in place of what is configured.")
@click.option(
    "--dir",
    "directory",
    type=PATH,
    default=None,
    help="Of --demo: where its site is made (default: a temporary folder).",
)
@click.option("--check", is_flag=True, help="Check configuration, lists, policy and jail, and exit.")
@click.option("--unsafe-plain-http", is_flag=True, help="Listen beyond loopback without TLS: a proxy must encrypt.")
@config_option
@json_option
@click.pass_context
def gateway(
    context: click.Context,
    listen: str | None,
    directory: Path | None,
    config: str | None,
    *,
    demo: bool,
    check: bool,
    unsafe_plain_http: bool,
    json_: bool,
) -> int:
    """Guard a generator: screen requests, look at every image before it leaves. Any fault withholds.

    SIGHUP takes new lists and the policy as it is now; SIGTERM ends requests in hand first. Says on standard output where it listens.
    """
    if context.invoked_subcommand is not None:
        if any((listen, directory, config, demo, check, unsafe_plain_http, json_)):  # else another site would be meant
            raise click.UsageError(f"options of `{context.invoked_subcommand}` stand after it")
        return 0
    # What serves is a second of imports, which the commands beside it do without.
    from custodes.cli.gateway import serving  # noqa: PLC0415

    if demo:
        return serving.show(directory, listen, json_=json_)
    site = serving.heard_site(config, listen, unsafe_plain_http)
    return serving.check_only(site, json_=json_) if check else serving.guard(site, json_=json_)
