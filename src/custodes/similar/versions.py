"""Probes in a folder: every one that was taught, and which of them is in service.

    OUT/in-service                    JSON: which version
    OUT/VERSION/probe.safetensors     weights, bias, slope, offset
    OUT/VERSION/curve.svg             precision and recall by threshold
    OUT/VERSION/card.json             the card, with the digest of the weights; written last
Promises that a version is whole or not there, never changes, and that loading one runs no code and takes no number on trust: names, types, shapes, finiteness
and digest are checked. A probe says what confirmed photos look like to a model: its files are for their owner alone. Which version ought
to be in service is for the caller.
"""

from __future__ import annotations

import hashlib
import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from custodes.durable import replace_file
from custodes.errors import ConfigError, InputError
from custodes.ledger.disk import Disk
from custodes.similar.arithmetic import DIMENSION_MAX
from custodes.similar.curve import curve
from custodes.similar.probe import FORMAT, Comparison, Judged, ProbeCard, Taught, compare

__all__ = ["Adopted", "Versions", "load_probe"]

FILE_BYTES_MAX: Final = 4 * DIMENSION_MAX + 4096
CARD_BYTES_MAX: Final = 1 << 20
_WEIGHTS: Final = "probe.safetensors"
_CARD: Final = "card.json"
_IN_SERVICE: Final = "in-service"
_NUMBERS: Final = ("bias", "offset", "slope")


class Adopted(NamedTuple):
    """A new version, the one that was in service before, how they compare on held-out photos, and whether the new one is in service now."""

    version: str
    before: str | None
    compared: Comparison | None
    in_service: bool


class Versions:
    """The probes of one folder."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()

    def add(self, taught: Taught) -> str:
        """Keep a probe and say its version: the digest of its numbers, so that what is taught the same again is the same version."""
        data = _encoded(taught)
        digest = hashlib.sha256(data).hexdigest()
        version = digest[:16]
        place = self.folder / version
        self._disk.make_directory(place)
        card = msgspec.structs.replace(taught.card, weights_sha256=digest)
        self._disk.publish(place / _WEIGHTS, data)
        self._disk.publish(place / "curve.svg", curve(card).encode())
        self._disk.publish(place / _CARD, msgspec.json.format(msgspec.json.encode(card), indent=1))
        load_probe(place)  # what stands there, also from before, is whole
        return version

    def in_service(self) -> str | None:
        """The version in service, or None."""
        path = self.folder / _IN_SERVICE
        try:
            version = json.loads(path.read_bytes())["version"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} cannot be read", hint="delete it, then teach again") from error
        if not isinstance(version, str) or not version.isalnum():
            raise InputError(f"{path} names no version", hint="delete it, then teach again")
        return version

    def put_into_service(self, version: str) -> None:
        """From now on this version is used."""
        load_probe(self.folder / version)
        replace_file(self.folder / _IN_SERVICE, json.dumps({"version": version}).encode())

    def adopt(self, taught: Taught, held: Judged, *, anyway: bool = False) -> Adopted:
        """Keep a probe, and put it into service if it is the first, or ranks held-out photos at least as well as the one that is there."""
        version, before = self.add(taught), self.in_service()
        compared = None
        if before is not None and before != version:
            compared = compare(self.load(before), taught, held)
        if compared is None or not compared.worse or anyway:
            self.put_into_service(version)
        return Adopted(version, before, compared, in_service=self.in_service() == version)

    def load(self, version: str) -> Taught:
        """A version. Raises InputError where it is not there or not whole."""
        return load_probe(self.folder / version)


def load_probe(folder: Path) -> Taught:
    """The probe in a folder. Raises InputError for anything that is not wholly one."""
    data, card_bytes = _read(folder / _WEIGHTS, FILE_BYTES_MAX), _read(folder / _CARD, CARD_BYTES_MAX)
    try:
        card = msgspec.json.decode(card_bytes, type=ProbeCard)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(f"{folder / _CARD} is not the card of a probe") from error
    if card.format != FORMAT:
        raise InputError(f"{folder / _CARD} is not of the format {FORMAT}")
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise InputError(f"{folder / _WEIGHTS} is not the file that its card names", hint="teach it again")
    numpy_form = _safetensors()
    try:
        tensors = numpy_form.load(data)
    except (import_module("safetensors").SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _WEIGHTS} is no safetensors file of numbers") from error
    return _checked(tensors, card, folder / _WEIGHTS)


def _checked(tensors: dict[str, Any], card: ProbeCard, path: Path) -> Taught:
    shapes = {name: (each.dtype.str, each.shape) for name, each in tensors.items()}
    expected: dict[str, Any] = dict.fromkeys(_NUMBERS, ("<f8", (1,))) | {"weights": ("<f4", (card.dimension,))}
    if shapes != expected or not all(np.isfinite(each).all() for each in tensors.values()):
        raise InputError(f"{path} does not hold the numbers of a probe of dimension {card.dimension:,}")
    bias, offset, slope = (float(tensors[name][0]) for name in _NUMBERS)
    if slope <= 0 or not all(map(math.isfinite, (bias, offset, slope))):
        raise InputError(f"{path} holds a probe that scores backwards")
    return Taught(tensors["weights"], bias, slope, offset, card)


def _encoded(taught: Taught) -> bytes:
    numbers = {name: np.array([getattr(taught, name)], dtype="<f8") for name in _NUMBERS}
    data: bytes = _safetensors().save({**numbers, "weights": taught.weights.astype("<f4")})
    return data


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint="is it the folder of a probe?") from error
    if len(data) > bytes_max:
        raise InputError(f"{path} is larger than {bytes_max:,} bytes")
    return data


def _safetensors() -> Any:
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise ConfigError(
            "probes are stored with safetensors, which is not installed", hint="pip install 'custodes[similar]'"
        ) from error
