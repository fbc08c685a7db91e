"""``custodes hash``."""

from __future__ import annotations

import click

from custodes.carrier.client import Carrier
from custodes.carrier.protocol import Carried
from custodes.cli.options import as_json, json_option
from custodes.config import load_site
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.errors import ExitCode
from custodes.model import Outcome, OutcomeName, Reason
from custodes.scan.settings import ScanSettings

__all__ = ["hash_files"]


@click.command("hash")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--fast", is_flag=True, help="Digest as scans do (reduced luma) instead of exactly as the PDQ reference.")
@click.option("--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none.")
@click.option(
    "--config",
    "config",
    metavar="FILE",
    default=None,
    help="Take image limits from this configuration (default: none is read).",
)
@json_option
def hash_files(files: tuple[str, ...], config: str | None, *, fast: bool, unsafe_no_jail: bool, json_: bool) -> int:
    """Digest FILES: one JSON line each with md5, sha1, sha256, pdq and pdq_quality, or why not.

    Exits with 2 if none of them could be read.
    """
    del json_  # the answer is always JSON
    policy = DecodePolicy.FAST if fast else DecodePolicy.EXACT
    image = load_site(config).config.image if config else ImageLimits()
    settings = ScanSettings(decode_policy=policy, image=image, unsafe_no_jail=unsafe_no_jail)
    lines: dict[int, Carried] = {}
    said = unread = 0
    with Carrier(settings.carrier_start(readable=files)) as carrier:
        for carried in carrier.read_files(list(enumerate(files))):
            lines[carried.key] = carried
            unread += carried.reason is Reason.READ_ERROR
            while said in lines:  # answers come in any order, lines in the order asked
                as_json({"file": files[said]} | hash_line(lines.pop(said), settings.decode_policy))
                said += 1
    return ExitCode.INPUT if unread == len(files) else ExitCode.NOTHING_FOUND


def hash_line(carried: Carried, policy: DecodePolicy) -> dict[str, object]:
    """What is known of one file."""
    outcome = Outcome(carried.reason).name
    line: dict[str, object] = {"outcome": outcome, "reason": carried.reason}
    for kind in ("md5", "sha1", "sha256"):
        if getattr(carried, kind):
            line[kind] = getattr(carried, kind).hex()
    if outcome is not OutcomeName.EXAMINED:
        return line | {"error": f"{outcome.value}: {carried.reason.value}"}
    first = carried.pdq[0]
    line |= {"pdq": first.code.hex(), "pdq_quality": first.quality, "decode_policy": policy.value}
    line |= {"format": carried.format, "width": carried.width, "height": carried.height}
    if len(carried.pdq) > 1:
        line["more_pdq"] = [{"frame": p.frame, "pdq": p.code.hex(), "pdq_quality": p.quality} for p in carried.pdq[1:]]
    return line
