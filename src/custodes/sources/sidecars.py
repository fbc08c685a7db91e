"""What lies beside the images of an archive: img2dataset's ``NNNNN.parquet`` and WebDataset's ``key.json``, as links of
the same rows.

img2dataset re-encodes images, so the digests that it noted of the originals say more than those of the bytes in the
archive. They are joined by key. Of a remote or compressed archive the whole is read to get at them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from custodes.model import Kind
from custodes.sources.base import Format, LinkBatch, Plan, RowDetails, ShardSpec, SourceOptions
from custodes.sources.columns import batch_of_rows, details_of, fields_of, json_record
from custodes.sources.files import exists
from custodes.sources.members import key_of, name_text
from custodes.sources.parquet import records
from custodes.sources.tar import shard_members

__all__ = ["details", "links", "sidecar_path"]

_JSON_BYTES_MAX: Final = 1 << 20

Fields = Mapping[str, Any]


def sidecar_path(tar_path: str) -> str:
    """Where img2dataset puts the metadata of an archive."""
    return tar_path.removesuffix(".tar") + ".parquet"


def _rows(plan: Plan, shard: ShardSpec) -> Iterator[tuple[bytes, Fields]]:
    """Name and noted fields of each item of a shard."""
    names: list[bytes] = []
    noted: dict[bytes, Fields] = {}
    file = plan.files[shard.file]
    for member, reader in shard_members(file, shard, plan.options):
        if member.is_item:
            names.append(member.name)
        elif member.has_data and member.name.endswith(b".json") and member.size_bytes <= _JSON_BYTES_MAX:
            noted[key_of(member.name)] = fields_of(json_record(reader.rest(member)) or {}, plan.options)
    if plan.format is Format.IMG2DATASET:
        noted |= _sidecar(sidecar_path(file.path), plan.options)
    for name in names:
        yield name, noted.get(key_of(name), {})


def _sidecar(path: str, options: SourceOptions) -> dict[bytes, Fields]:
    """img2dataset's table by key; empty where a shard has none (a run of img2dataset that was cut short)."""
    if not exists(path):
        return {}
    return {str(record.get("key")).encode(): fields_of(record, options) for record in records(path, options)}


def links(plan: Plan, shard: ShardSpec, want: Collection[Kind], *, with_urls: bool) -> LinkBatch:
    """The digests and URLs noted for the items of a shard; rows without a side file have none."""
    return batch_of_rows([fields for _, fields in _rows(plan, shard)], want, with_urls=with_urls)


def details(plan: Plan, shard: ShardSpec, rows: Sequence[int]) -> list[RowDetails]:
    """The member names of some rows, and what was noted of them."""
    asked = set(rows)
    found = {
        row: details_of(row, fields, name_text(name))
        for row, (name, fields) in enumerate(_rows(plan, shard))
        if row in asked
    }
    return [found[row] for row in rows]
