"""OpenCLIP's image encoders (``custodes[clip]``), from the hub or from a file.

Promises that weights are safetensors and nothing is ever unpickled, that they are all there and no others, and what ``embedders`` promises. Text encoders
are loaded with them, since a file holds both, and not used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy.typing as npt

from custodes.errors import InputError, WorldError
from custodes.pictures import Float32s, Pixels, prepared
from custodes.similar.embedders import BATCH, EmbedderOptions, vectors_of
from custodes.similar.models import Card, read_weights, refuse_tainted
from custodes.sources.files import shown

__all__ = ["OpenClipEmbedder", "from_hub"]

_HINT: Final = "pip install 'custodes[clip]'"


class OpenClipEmbedder:
    """An image encoder of OpenCLIP, run by PyTorch."""

    def __init__(self, card: Card, options: EmbedderOptions = EmbedderOptions()) -> None:  # noqa: B008 - it is frozen
        refuse_tainted(card, accept_tainted=options.accept_tainted)
        self._torch, open_clip = _modules()
        if options.device == "cuda" and not self._torch.cuda.is_available():
            raise WorldError("PyTorch has no CUDA device", hint="look for its driver, or leave the device out")
        weights = read_weights(options.file or from_hub(card), card)
        refuse_tainted(card, weights, accept_tainted=options.accept_tainted)
        self._torch.set_num_threads(options.threads)
        self.card, self.sha256, self._device = card, weights.sha256, options.device
        self._model = _loaded(open_clip, card, weights.data).eval().to(options.device)

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
        return vectors_of(squares, self.card, BATCH[self._device], self._run)

    def _run(self, numbers: Float32s) -> npt.NDArray[Any]:
        with self._torch.inference_mode():
            found = self._model.encode_image(self._torch.from_numpy(numbers).to(self._device))
        vectors: npt.NDArray[Any] = found.float().cpu().numpy()
        return vectors


def _modules() -> tuple[ModuleType, ModuleType]:
    try:
        import open_clip  # noqa: PLC0415 - an extra
        import torch  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError("OpenCLIP is not installed", hint=_HINT) from None
    return torch, open_clip


def from_hub(card: Card) -> Path:
    """The weights, fetched unless they were before."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - OpenCLIP brings it

    try:
        return Path(hf_hub_download(card.hub, card.file, revision=card.revision))
    except (OSError, ValueError):
        raise WorldError(f"the hub did not give {card.hub}", hint="get the file by other ways, and name it") from None


def _loaded(open_clip: ModuleType, card: Card, data: bytes) -> Any:
    from safetensors import SafetensorError  # noqa: PLC0415 - an extra
    from safetensors.torch import load  # noqa: PLC0415 - an extra

    try:
        weights = load(data)
    except (SafetensorError, ValueError):
        raise InputError("the weights are no safetensors", hint="nothing else is read: others may hold code") from None
    quiet = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns that the numbers are random, which they are for a moment
    try:
        model = open_clip.create_model(
            card.architecture, load_weights=False, pretrained_image=False, pretrained_text=False
        )
        model.load_state_dict(weights)
    except RuntimeError as error:
        said = shown(str(error).partition("\n")[0])
        raise InputError(f"the weights do not fit {card.architecture}: {said}") from None
    finally:
        logging.disable(quiet)
    return model
