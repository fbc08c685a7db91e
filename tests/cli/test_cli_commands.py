"""The list of commands: each is where it is said to be, and asking for help imports none of them."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from custodes.cli.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listed_command_is_there_under_its_name(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_no_command_is_found_under_another_name() -> None:
    assert cli.get_command(click.Context(cli), "scam") is None


def test_help_imports_nothing_large() -> None:
    program = (
        "import sys; sys.argv = ['custodes', '--help']\n"
        "from custodes.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "large = {'numpy', 'pyarrow', 'PIL', 'pycurl', 'jinja2', 'rich', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(f'imported: {large}' if large else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_a_worker_imports_no_client_for_what_it_does_not_read() -> None:
    program = "import sys, custodes.cli.worker; sys.exit('aiohttp' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
