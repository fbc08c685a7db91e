"""``custodes gateway key``: the keys of tenants."""

from __future__ import annotations

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.cli.tenants import new_key
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.gateway.people.settings import TenantSettings
from custodes.gateway.settings import GatewaySettings

__all__ = ["key"]


@click.command("key")
@click.argument("name")
@config_option
@json_option
def key(name: str, config: str | None, *, json_: bool) -> int:
    """Make a key for the tenant NAME: printed once, for the tenant; its digest goes into the configuration."""
    there = load_site(config).config.gateway.tenants if config is not None else ()
    secret, digest = new_key(
        name, lambda digest: GatewaySettings(tenants={name: TenantSettings(key_sha256=digest)}), there
    )
    if json_:
        as_json({"name": name, "key": secret, "key_sha256": digest})
        return ExitCode.NOTHING_FOUND
    click.echo("The key, for the tenant alone. It is stored nowhere and is not shown again:", err=True)
    click.echo(secret)
    click.echo(f'\n[gateway.tenants.{name}]\nkey_sha256 = "{digest}"')
    return ExitCode.NOTHING_FOUND
