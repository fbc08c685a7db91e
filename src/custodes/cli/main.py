"""The console script: the list of commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
import traceback

import click

from custodes import __version__
from custodes.cli.check import check
from custodes.cli.demo import demo
from custodes.cli.hash import hash_files
from custodes.cli.init import init
from custodes.cli.lists import lists
from custodes.cli.open import open_bundle_command
from custodes.cli.rematch import rematch
from custodes.cli.report import report
from custodes.cli.scan import scan
from custodes.errors import CustodesError, ExitCode

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="custodes")
def cli() -> None:
    """Scan image datasets against the hash lists of authorities; hand findings over sealed; say what was examined.

    Answers go to standard output, everything else to standard error. Exit codes: 0 nothing found, 1 found, 2 your input,
    3 the machine or the network, 4 a bug of ours, 5 nothing found but much could not be examined.
    """


for command in (demo, init, lists, hash_files, check, scan, report, rematch, open_bundle_command):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(arguments, prog_name="custodes", standalone_mode=False)
    except CustodesError as error:
        sys.exit(tell(error))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.INPUT)
    except KeyboardInterrupt:
        click.echo("custodes: stopped; start the same command again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(ExitCode.WORLD)
    except Exception as error:
        sys.exit(tell_bug(error))
    sys.exit(code or 0)


def tell(error: CustodesError) -> int:
    """Say what happened and what to do."""
    click.echo(f"custodes: {error}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)
    return int(error.exit_code)


def tell_bug(error: Exception) -> int:
    """Say where a bug is. The text of a foreign exception may hold a URL or a list entry, so only its type and place are told."""
    click.echo(f"custodes: a bug of ours: {type(error).__name__}", err=True)
    for frame in traceback.extract_tb(error.__traceback__)[-6:]:
        click.echo(f"  {frame.filename}:{frame.lineno} in {frame.name}", err=True)
    click.echo("  hint: please report these lines; they hold no data of yours", err=True)
    return int(ExitCode.BUG)


if __name__ == "__main__":
    main()
