"""The console script: the list of commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Final

import click

from custodes import __version__
from custodes.cli.lazy import lazy_group
from custodes.cli.options import printable
from custodes.errors import CustodesError, ExitCode, InputError, WorldError

__all__ = ["cli", "main"]

COMMANDS: Final = {
    "demo": ("demo:demo", "Scan the embedded example, on this machine alone."),
    "init": ("init:init", "Write a commented configuration and new keys."),
    "lists": ("lists:lists", "Import, sync, show and share hash lists."),
    "hash": ("hash:hash_files", "Digest files."),
    "check": ("check:check", "Compare files with the lists."),
    "scan": ("scan:scan", "Scan a table of links, or images."),
    "report": ("report:report", "Say what a run examined, and how much was out of reach."),
    "rematch": ("rematch:rematch", "Compare the digests that a run keeps with today's lists."),
    "verdicts": ("verdicts:verdicts", "Import what the authority says of findings."),
    "similar": ("similar:similar", "Find photos that lie near confirmed ones."),
    "clean": ("clean:clean", "Write a dataset again without rows that a run found, hidden among others."),
    "handover": ("handover:handover", "Hand findings over to the authorities, and keep the record of it."),
    "attest": ("attest:attest", "Sign a card: what a run examined, with what, and how it ended."),
    "card": ("card:card", "Render a card: a page, text, or a section for a README or croissant.json."),
    "verify": ("verify:verify", "Verify a card, offline."),
    "keys": ("keys:keys", "Show, rotate and revoke the key that this site signs with."),
    "prove": ("auditing:prove", "Prove that a row is under a card, without saying with which result."),
    "audit": ("auditing:audit", "Challenge a card: have rows opened, and examine them again."),
    "log": ("log:log", "Publish what this site states in a log that only grows."),
    "serve": ("serve:serve", "Answer others' questions, hold or ok, with lists that they may not hold."),
    "gateway": ("gateway:gateway", "Guard a generator: screen requests, look at every image before it leaves."),
    "policy": ("policy:policy", "Show and test the gateway's rules, and what a change of them would change."),
    "open": (
        "open:open_bundle_command",
        "Open sealed findings and packages, for the authority that they are sealed to.",
    ),
}
"""Each command, where it lies, and its line in the list of commands."""


def tell_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """``--version``: what this is, and whether it has its native kernels."""
    if wanted:
        native = import_module("custodes.native")
        click.echo(f"custodes {__version__}, native kernels: {native.level() or 'none'}")
        if native.missing():
            click.echo(f"  {native.missing()}")
        context.exit()


@click.group(
    cls=lazy_group(COMMANDS), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=tell_version,
    help="Say the version and the kernels in use.",
)
def cli() -> None:
    """Scan image datasets against the hash lists of authorities; hand findings over sealed; say what was examined.

    Answers go to standard output, everything else to standard error. Exit codes: 0 nothing found, 1 found, 2 your input,
    3 the machine or the network, 4 a bug of ours, 5 nothing found but much could not be examined.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    # NumPy's linear algebra starts a thread for each processor, in each process; nothing of ours is large enough for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        refuse_bytes(sys.argv[1:] if arguments is None else arguments)
        code = cli.main(arguments, prog_name="custodes", standalone_mode=False)
    except CustodesError as error:
        sys.exit(tell(error))
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.INPUT)
    except (KeyboardInterrupt, click.exceptions.Abort):  # click makes the second of the first
        click.echo("custodes: stopped; a scan that is started again goes on where it stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(ExitCode.WORLD)
    except OSError as error:
        sys.exit(tell(refused(error)))
    except Exception as error:
        sys.exit(tell_bug(error))
    sys.exit(code or 0)


def refuse_bytes(arguments: list[str]) -> None:
    """Names that are not UTF-8 cannot cross to other processes as text, nor stand in JSON."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= char <= "\udfff" for char in argument):
            raise InputError(
                f"{printable(argument)!r} is not valid UTF-8", hint="rename it, or name the folder that it lies in"
            )


def tell(error: CustodesError) -> int:
    """Say what happened and what to do."""
    click.echo(f"custodes: {error}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)
    return int(error.exit_code)


def refused(error: OSError) -> WorldError:
    """What the system refused, and for which file; an address is not told."""
    where = "" if not isinstance(error.filename, str) or "://" in error.filename else f": {printable(error.filename)}"
    return WorldError(f"{error.strerror or type(error).__name__}{where}")


def tell_bug(error: Exception) -> int:
    """Say where a bug is. The text of a foreign exception may hold a URL or a list entry, so only its type and place are told."""
    click.echo(f"custodes: a bug of ours: {type(error).__name__}", err=True)
    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        click.echo(f"  {frame.filename}:{frame.lineno} in {frame.name}", err=True)
    click.echo("  hint: please report these lines; they hold no data of yours", err=True)
    return int(ExitCode.BUG)


if __name__ == "__main__":
    main()
