"""The gateway's card: what its ledger counted in a period, as a statement that is signed; and its decisions, for those who weigh another policy.

Promises that nothing is told of a period that is not over, and nothing of one person. What a card may hold is for ``attest.gateway``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import msgspec

from custodes import __version__
from custodes.attest.gateway import (
    GatewayCheck,
    GatewayMeasure,
    GatewayPeriod,
    GatewaySealed,
    GatewayStatement,
    Sort,
    policy_subject,
    told,
)
from custodes.attest.statement import PAYLOAD_TYPE, ListCommitment, Tool
from custodes.attest.verification import card_bytes
from custodes.crypto.dsse import pae
from custodes.crypto.keys import Signer
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.gateway.people.ledger import Decision, Ledger, Tally
from custodes.gateway.rules.policy import Policy
from custodes.gateway.rules.records import Noted, Recorded

__all__ = ["LIMITS", "Setting", "period_of", "read_measures", "recorded", "statement_of", "write_gateway_card"]

PAGE: Final = 1_000
MEASURES_BYTES_MAX: Final = 1 << 20
LIMITS: Final = (
    "What was allowed was stopped by none of these checks in these versions. That is no judgement of it: checks miss things, lists hold known material.",
    "A retry is decided anew and counted anew; strikes are counted once for each request.",
    "Whether every request went through the gateway, and whether it ran what is named here, rests on the signer: a signature says who says it.",
    "A sealed image is counted once for each request that it came of. What an authority has received is told as of signing, by the signer's own record.",
    "Shares that were measured are of the cases that they name. Other languages, other words and other generators were not measured.",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the gateway ran with in the period. ``policies``: all that decided; ``confinement``: of the decoders."""

    gateway: str
    policies: Sequence[Policy]
    checks: Sequence[GatewayCheck]
    lists: Sequence[ListCommitment] = ()
    measured: Sequence[GatewayMeasure] = ()
    confinement: str = "none"
    unsafe: Sequence[str] = ()
    demonstration: bool = False
    withheld: GatewaySealed | None = None


def statement_of(tally: Tally, setting: Setting, now: datetime) -> GatewayStatement:
    """What can be stated of a period. Raises InputError for one that is not over."""
    if tally.last >= now.astimezone(UTC).date():
        raise InputError(f"{tally.last} is not over", hint="end the period at the latest yesterday (UTC)")
    policies = {policy.version: policy for policy in setting.policies}
    return GatewayStatement(
        subject=tuple(
            policy_subject(f"policy {each.name} as of {each.as_of}", version) for version, each in policies.items()
        ),
        predicate=GatewayPeriod(
            gateway=setting.gateway,
            first=tally.first,
            last=tally.last,
            signed=now.isoformat(timespec="seconds"),
            tool=Tool(
                name="custodes", version=__version__, confinement=setting.confinement, unsafe=tuple(setting.unsafe)
            ),
            decisions=tuple(_sorts(tally)),
            strikes=told(tally.totals.strikes),
            warnings=told(tally.totals.warnings),
            suspensions=told(tally.totals.suspensions),
            appeals=told(tally.totals.appeals),
            overturned=told(tally.totals.overturned),
            withheld=setting.withheld or msgspec.UNSET,
            lists=tuple(setting.lists),
            checks=tuple(setting.checks),
            measured=tuple(setting.measured),
            demonstration=setting.demonstration,
            limits=LIMITS,
        ),
    )


def _sorts(tally: Tally) -> list[Sort]:
    return [
        Sort(
            stage=each.stage.value,
            action=each.action.value,
            grade=each.grade.value,
            category=each.category.value if each.category else "",
            decisions=told(each.decisions),
        )
        for each in tally.counts
    ]


async def period_of(ledger: Ledger, first: date, last: date) -> Tally:
    """What the ledger counted. Raises InputError for no period, StorageError."""
    if first > last:
        raise InputError(f"{first} is after {last}")
    return await ledger.tally(first, last)


def read_measures(path: Path) -> tuple[GatewayMeasure, ...]:
    """A file of measurements: JSON, a list. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(MEASURES_BYTES_MAX + 1)
        if len(data) > MEASURES_BYTES_MAX:
            raise InputError(f"{path} is longer than {MEASURES_BYTES_MAX:,} bytes")
        return msgspec.json.decode(data, type=tuple[GatewayMeasure, ...])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is no list of measurements: {error}") from error


def write_gateway_card(statement: GatewayStatement, key: Signer, path: Path) -> Path:
    """Sign a statement and write the card and, beside it, the key that it is verified with. Returns the key's place."""
    payload = statement.encode()
    replace_file(path, card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier))
    beside = path.with_name(path.name.removesuffix(".dsse.json") + ".vkey")
    replace_file(beside, f"{key.verifier}\n".encode())
    return beside


# -- for those who weigh another policy


async def recorded(ledger: Ledger, after: int = 0) -> AsyncIterator[Recorded]:
    """Decisions that are kept, with greater numbers, as `custodes policy diff` reads them. Raises StorageError."""
    while page := await ledger.decisions(after, PAGE):
        for decision in page:
            yield _recorded(decision)
        after = page[-1].number


def _recorded(decision: Decision) -> Recorded:
    return Recorded(
        stage=decision.stage,
        facts=tuple(Noted(name=name, score=score) for name, score in decision.facts),
        action=decision.action,
        grade=decision.grade,
        acknowledged=decision.acknowledged,
        rule=decision.rule,
        policy=decision.policy,
        id=f"{decision.request}/{decision.number}",
        at=datetime.fromtimestamp(decision.at / 1000, UTC).isoformat(timespec="seconds"),
    )
