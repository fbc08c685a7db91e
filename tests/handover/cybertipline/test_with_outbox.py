"""Filing from the real outbox: what it saves fits there, survives the process, and holds nothing that a disk may not have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from custodes.crypto.keys import TransportKey
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.filing import Ended, Filed, Filing, Later
from custodes.handover.cybertipline.gateway import submission_of
from custodes.handover.incident import Incident
from custodes.handover.outbox import Item, Letter, Outbox, Seams
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipt, Receipts
from tests.handover.cybertipline.making import SETTINGS, incident
from tests.handover.cybertipline.server import CyberTiplineServer, Fault
from tests.handover.cybertipline.test_client import run

KEYS = [TransportKey(bytes([7] * 32))]


@dataclass
class Desk:
    """An item under a lease, as a filing sees it."""

    outbox: Outbox
    receipts: Receipts
    item: Item

    def load(self) -> dict[str, str]:
        return dict(self.item.head.progress)

    def save(self, progress: dict[str, str]) -> None:
        self.item = self.outbox.save(self.item, progress)

    def keep(self, receipt: Receipt) -> None:
        self.receipts.keep(self.item.head.key, "cybertipline", "test", receipt)


async def worked(folder: Path, server: CyberTiplineServer, client: CyberTipline) -> tuple[Ended, Outbox]:
    """What a process that begins now does with what is due."""
    outbox = Outbox(Folder(folder / "outbox"), KEYS, seams=Seams(clock=lambda: server.now, chance=lambda: 0.5))
    item = outbox.take("cybertipline", "test")
    assert item is not None
    desk = Desk(outbox, Receipts(Folder(folder / "receipts"), KEYS), item)
    of = msgspec.json.decode(item.payload, type=Incident)
    ended = await Filing(client, desk, lambda now: submission_of(of, SETTINGS, now)).run()
    if isinstance(ended, Filed):
        outbox.delete(desk.item)
    elif isinstance(ended, Later):
        outbox.retry(desk.item, ended.why, ended.after_s)
    return ended, outbox


def test_a_filing_that_is_interrupted_goes_on_from_the_outbox_and_leaves_receipts_alone(tmp_path: Path) -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        of = incident()
        outbox = Outbox(Folder(tmp_path / "outbox"), KEYS, seams=Seams(clock=lambda: server.now))
        outbox.put(Letter(key=of.id, route="cybertipline", environment="test", payload=msgspec.json.encode(of)))
        server.faults = {3: Fault(acted=True)}  # finished, and the answer lost
        ended, outbox = await worked(tmp_path, server, client)
        (head,) = outbox.survey().items
        assert (ended, head.error) == (Later("test", "no-answer", ("submit 0 r-2",)), "no-answer")
        server.now = head.next_try
        ended, outbox = await worked(tmp_path, server, client)
        assert isinstance(ended, Filed)
        assert [report.id for report in server.finished(of.id)] == [ended.report_id]
        assert outbox.survey().items == ()
        kept = Receipts(Folder(tmp_path / "receipts"), KEYS).of(of.id, "cybertipline", "test")
        assert [receipt.step for receipt in kept] == ["submit", "retract"]
        assert ended.report_id.encode() in kept[0].body
        on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert not any(
            word in on_disk
            for word in (b"images.example", ended.report_id.encode(), *map(str.encode, of.digests.values()))
        )

    run(check)
