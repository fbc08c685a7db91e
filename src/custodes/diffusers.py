"""The gateway's checks inside a program that runs diffusers itself: in the place of a pipeline's safety checker, or around a whole pipeline.

Promises that a picture which the guard does not release is black when it comes out, that where a check breaks nothing comes out, and that a pipeline which is
``Guarded`` takes no argument that is not known here. It guards what goes through it: whoever runs the program can also take it away. diffusers is not imported.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

import numpy as np
from PIL import Image

from custodes.errors import ConfigError, InputError
from custodes.gateway.guard import Caller, Guard, Passage, Released
from custodes.gateway.vocabulary import Asked, Picture, PictureRole, Text, TextRole

__all__ = ["Extracted", "FeatureExtractor", "Generated", "Guarded", "SafetyComponent"]

T = TypeVar("T")
COUNT_MAX: Final = 64
HERE: Final = Caller("diffusers")
"""Who asks, where nobody else is named: the program itself."""


class _Loop:
    """The guard is asynchronous and a pipeline is not: one event loop in a thread, for as long as there is something to judge."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="custodes-guard", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives, or what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Judge:
    """What component and pipeline share. Use as a context, or ``close`` it."""

    def __init__(self, guard: Guard, caller: Caller) -> None:
        self._guard, self._caller, self._loop = guard, caller, _Loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more is judged."""
        self._loop.close()

    def _admitted(self, asked: Asked) -> Passage:
        caller = replace(self._caller, request=self._caller.request or secrets.token_hex(16))
        return self._loop.run(self._guard.admit(caller, asked))

    def _withheld(self, passage: Passage, pictures: Sequence[Image.Image]) -> list[bool]:
        """Which may not leave. Raises UnableError."""
        found = self._loop.run(self._guard.release(passage, [_png(picture) for picture in pictures]))
        return [not isinstance(each, Released) for each in found]


# -- in the place of a safety checker


class Extracted:
    """What the component's extractor makes: pictures, in the place of a tensor of their features."""

    def __init__(self, pictures: Sequence[Image.Image]) -> None:
        self.pictures = tuple(pictures)

    @property
    def pixel_values(self) -> Extracted:
        """As a pipeline asks for them."""
        return self

    def to(self, *_: object, **__: object) -> Extracted:
        """Stays where it is."""
        return self


class FeatureExtractor:
    """In the place of CLIP's: pipelines give it the very pictures that they would give the user."""

    def __call__(self, images: Any, **_: object) -> Extracted:
        """The pictures of a batch."""
        return Extracted(_pictures(images))


class SafetyComponent(_Judge):
    """``pipe.safety_checker = component; pipe.feature_extractor = component.feature_extractor``.

    Judges what comes out. Prompts it does not see: for those, ``Guarded``.
    """

    def __init__(self, guard: Guard, caller: Caller = HERE) -> None:
        super().__init__(guard, caller)
        self.feature_extractor = FeatureExtractor()

    def __call__(self, images: Any, clip_input: object = None) -> tuple[Any, list[bool]]:
        """The batch, with what was withheld black, and which that is. Raises InputError for pictures that it cannot read; UnableError."""
        read = clip_input.pictures if isinstance(clip_input, Extracted) else tuple(_pictures(images))
        if len(read) != len(images):
            raise InputError(f"{len(images)} images, and {len(read)} to look at", hint=_EXTRACTOR)
        withheld = self._withheld(self._admitted(Asked(count=len(read))), read)
        return _blackened(images, withheld), withheld


_EXTRACTOR: Final = "set pipe.feature_extractor = component.feature_extractor as well"


# -- around a pipeline


@dataclass(frozen=True)
class Generated:
    """What comes out of a guarded pipeline; named as diffusers names it. ``revised_prompt``: what was made, where that is not what was asked."""

    images: Any
    nsfw_content_detected: list[bool]
    revised_prompt: str | None = None


_TEXTS: Final[Mapping[str, TextRole]] = {
    "prompt": TextRole.POSITIVE,
    "prompt_2": TextRole.SECONDARY,
    "prompt_3": TextRole.SECONDARY,
    "negative_prompt": TextRole.NEGATIVE,
    "negative_prompt_2": TextRole.NEGATIVE,
    "negative_prompt_3": TextRole.NEGATIVE,
}
_PICTURES: Final[Mapping[str, PictureRole]] = {
    "image": PictureRole.INIT,
    "mask_image": PictureRole.MASK,
    "control_image": PictureRole.CONTROL,
    "ip_adapter_image": PictureRole.REFERENCE,
}
_NUMBERS: Final = frozenset(
    {
        *("height", "width", "num_inference_steps", "guidance_scale", "num_images_per_prompt", "strength", "eta"),
        *("guidance_rescale", "true_cfg_scale", "clip_skip", "max_sequence_length", "padding_mask_crop"),
        "controlnet_conditioning_scale",
    }
)
_OUTPUTS: Final = ("pil", "np")


class Guarded(_Judge):
    """A pipeline whose prompts are screened before it runs, and whose pictures are judged after. The pipeline itself is no longer to be called.

    Raises RefusedError where a prompt is refused, UnableError where a check broke, InputError for an argument that is not known: embeddings, latents and
    callbacks go past every check.
    """

    def __init__(self, pipe: Callable[..., Any], guard: Guard, caller: Caller = HERE) -> None:
        if not callable(pipe):
            raise ConfigError("there is no pipeline to guard")
        super().__init__(guard, caller)
        self._pipe = pipe

    def __call__(self, prompt: str | Sequence[str], **arguments: Any) -> Generated:
        """As the pipeline itself, with fewer arguments."""
        arguments = {name: value for name, value in {"prompt": prompt, **arguments}.items() if value is not None}
        passage = self._admitted(_asked(arguments))
        made = self._pipe(**_rewritten(arguments, passage.texts))
        images = getattr(made, "images", None)
        if images is None or isinstance(images, str | bytes) or not 0 < len(images) <= COUNT_MAX:
            raise InputError("the pipeline gave no images that can be looked at", hint="use a pipeline of images")
        withheld = self._withheld(passage, _pictures(images))
        return Generated(_blackened(images, withheld), withheld, passage.texts.get("prompt"))


def _asked(arguments: Mapping[str, Any]) -> Asked:
    """What of a call decides what is made. Raises InputError."""
    texts: list[Text] = []
    pictures: list[Picture] = []
    for name, value in arguments.items():
        if name in _TEXTS:
            texts += [Text(_TEXTS[name], each, where) for where, each in _named(name, value, str)]
        elif name in _PICTURES:
            pictures += [
                Picture(_PICTURES[name], _png(each), where) for where, each in _named(name, value, Image.Image)
            ]
        elif not _harmless(name, value):
            raise InputError(f"argument {name!r} is not known to the guard, or has a value that it cannot have")
    prompts = sum(text.role is TextRole.POSITIVE for text in texts)
    return Asked(tuple(texts), tuple(pictures), count=max(1, prompts) * int(arguments.get("num_images_per_prompt", 1)))


def _harmless(name: str, value: object) -> bool:
    if name == "output_type":
        return value in _OUTPUTS
    if name == "generator":
        return type(value).__module__.partition(".")[0] == "torch"
    return name in _NUMBERS and isinstance(value, int | float)


def _named(name: str, value: object, kind: type[T]) -> Iterator[tuple[str, T]]:
    """One or several values of an argument, and where each stands. Raises InputError."""
    several = value if isinstance(value, list | tuple) else [value]
    for number, each in enumerate(several):
        if not isinstance(each, kind):
            raise InputError(f"argument {name!r} holds what cannot be looked at", hint="give texts, and PIL images")
        yield (f"{name}[{number}]" if several is value else name), each


def _rewritten(arguments: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    def new(name: str, value: Any) -> Any:
        if name in _TEXTS and not isinstance(value, str):
            return [texts.get(f"{name}[{number}]", each) for number, each in enumerate(value)]
        return texts.get(name, value) if name in _TEXTS else value

    return {name: new(name, value) for name, value in arguments.items()}


# -- pictures of a batch


def _pictures(images: Any) -> list[Image.Image]:
    """The pictures of a batch: of PIL, or an array of 0 to 1 or of bytes. Raises InputError: a tensor says nothing of its range."""
    if isinstance(images, np.ndarray):
        return [_of_array(each) for each in images]
    if isinstance(images, list | tuple) and images:
        if all(isinstance(each, Image.Image) for each in images):
            return list(images)
        if all(isinstance(each, np.ndarray) for each in images):
            return [_of_array(each) for each in images]
    raise InputError("images of a kind that cannot be looked at", hint=_EXTRACTOR)


def _of_array(image: np.ndarray[Any, Any]) -> Image.Image:
    """Height, width, colours. Raises InputError for what is not as diffusers makes it: what is out of range would be seen otherwise than it is judged."""
    wrong = InputError("an array that is not height, width and 1, 3 or 4 colours from 0 to 1", hint=_EXTRACTOR)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise wrong
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating) or not np.all((image >= 0) & (image <= 1)):
            raise wrong
        image = (image * 255).round().astype(np.uint8)
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _png(picture: Image.Image) -> bytes:
    """The picture's bytes, for the guard; its pixels and nothing that stood beside them."""
    whole = picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGBA")
    out = io.BytesIO()
    bare = Image.frombytes(whole.mode, whole.size, whole.tobytes())
    bare.save(out, "PNG")
    return out.getvalue()


def _blackened(images: Any, withheld: Sequence[bool]) -> Any:
    """The batch, with these black. In its own memory where it is an array or a tensor, so that no copy keeps them."""
    if isinstance(images, tuple):
        images = list(images)
    for number, gone in enumerate(withheld):
        if gone and isinstance(images[number], Image.Image):
            images[number] = Image.new("RGB", images[number].size)
        elif gone:
            images[number][...] = 0
    return images
