"""Which members of an archive, or files of a folder, are items: decided by name and first bytes together.

Whatever could be an image is an item. Only a name that says text, data, sound or film *and* a beginning that is no
image's makes a member a side file; what has an unknown name is an item and will be counted as undecodable rather than
be left out unseen.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HEAD_BYTES", "is_item", "is_sidecar_name", "key_of", "name_text"]

HEAD_BYTES: Final = 32
"""How many of the first bytes ``is_item`` wants to see."""

_SIDECAR_SUFFIXES: Final = frozenset(
    (
        *("json", "jsonl", "ndjson", "txt", "text", "caption", "cap", "md", "csv", "tsv", "xml", "yaml", "yml", "toml"),
        *("html", "htm", "log", "lock", "cls", "cls2", "id", "index", "idx", "pdf", "py", "sh", "sha256", "md5"),
        *("parquet", "arrow", "feather", "npy", "npz", "pt", "pth", "pkl", "pickle", "pyd", "ten", "tb", "msg", "mp"),
        *("msgpack", "cbor", "safetensors", "h5", "hdf5", "sqlite", "db", "mp4", "m4v", "webm", "mkv", "mov", "avi"),
        *("mpg", "mpeg", "mp3", "m4a", "wav", "flac", "ogg", "opus", "aac", "srt", "vtt"),
    )
)
# ISO/IEC 14496-12 brands of still images: AVIF, HEIF
_STILL_BRANDS: Final = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_MAGICS: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",
    b"8BPS",
)


def _has_magic(head: bytes) -> bool:
    if head.startswith(_MAGICS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return True
    return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"  # the two reserved words of a BMP are zero


def is_sidecar_name(name: bytes) -> bool:
    """Whether the name alone says that this is no image."""
    _, dot, suffix = name.rpartition(b"/")[2].rpartition(b".")
    return bool(dot) and suffix.lower().decode("latin-1") in _SIDECAR_SUFFIXES


def is_item(name: bytes, head: bytes) -> bool:
    """Whether a member is an item, by its name and its first bytes."""
    return not is_sidecar_name(name) or _has_magic(head)


def key_of(name: bytes) -> bytes:
    """What ties an image to its side files: the name up to the first dot of its last part (the WebDataset
    convention).
    """
    folder, slash, base = name.rpartition(b"/")
    return folder + slash + base.partition(b".")[0]


def name_text(name: bytes) -> str:
    """A name as text; what is no UTF-8 is spelt out."""
    return name.decode("utf-8", "backslashreplace")
