"""``custodes gateway key``: the keys of tenants."""

from __future__ import annotations

import hashlib
import secrets

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.errors import ExitCode, InputError
from custodes.gateway.people.settings import TenantSettings
from custodes.gateway.settings import GatewaySettings

__all__ = ["key"]


@click.command("key")
@click.argument("name")
@config_option
@json_option
def key(name: str, config: str | None, *, json_: bool) -> int:
    """Make a key for the tenant NAME: printed once, for the tenant; its digest goes into the configuration."""
    secret = secrets.token_hex(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        GatewaySettings(tenants={name: TenantSettings(key_sha256=digest)})
    except ValueError as error:
        raise InputError(str(error)) from None
    if config is not None and name in load_site(config).config.gateway.tenants:
        raise InputError(f"there is a tenant {name} already", hint="to change its key, remove its section first")
    if json_:
        as_json({"name": name, "key": secret, "key_sha256": digest})
        return ExitCode.NOTHING_FOUND
    click.echo("The key, for the tenant alone. It is stored nowhere and is not shown again:", err=True)
    click.echo(secret)
    click.echo(f'\n[gateway.tenants.{name}]\nkey_sha256 = "{digest}"')
    return ExitCode.NOTHING_FOUND
