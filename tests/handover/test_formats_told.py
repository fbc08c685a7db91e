"""The pages of formats name all that is written, and a reader made from them alone verifies a record."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from custodes.handover import custody as custody_module
from custodes.handover.approvals import Statement
from custodes.handover.custody import Act, Recorded
from custodes.handover.outbox import Head, Item
from custodes.handover.receipts import Receipt
from tests.handover.keeping import custody_in, deed

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
STRUCTS: dict[str, list[type[msgspec.Struct]]] = {
    "custody": [Recorded, custody_module._Checkpoint, Statement],
    "outbox": [Head, Item, Receipt],
}


@pytest.mark.parametrize("page", STRUCTS)
def test_every_field_is_explained(page: str) -> None:
    text = (FORMATS / f"{page}.md").read_text(encoding="utf-8")
    fields = {field for struct in STRUCTS[page] for field in struct.__struct_fields__}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []


def test_every_act_is_explained() -> None:
    text = (FORMATS / "custody.md").read_text(encoding="utf-8")
    assert [act.value for act in Act if f"`{act.value}`" not in text] == []


def test_a_reader_made_from_the_page_verifies_a_record(tmp_path: Path) -> None:
    custody_in(tmp_path).append(*(deed(number) for number in range(3)))
    memory = json.loads((tmp_path / "custody.memory").read_bytes())
    head = json.loads(base64.b64decode(memory["payload"]))
    before, seq = head["origin"], 0
    for line in (tmp_path / "custody" / "record.jsonl").read_text().splitlines():
        told = json.loads(line)
        digest = told.pop("hash")
        seq += 1
        assert (told["prev"], told["seq"]) == (before, seq)
        assert hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest() == digest
        before = digest
    assert (head["seq"], head["hash"]) == (seq, before)
