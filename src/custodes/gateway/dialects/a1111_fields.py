"""What a request to AUTOMATIC1111 or Forge may hold: each field by name and type, and what it is to the generator. Everything else is denied.

Promises that the body which goes to the generator is built anew from fields that are known here; that each of its strings was a ``Text`` that was screened,
each of its pictures one that was inspected; and that nothing the server would expand by itself is in it: styles are put into the prompt here, infotext,
wildcards and settings that are not listed are refused, links in a picture's place too. Source: Forge modules/api, modules/processing; webuiapi 0.9.17.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from custodes.gateway.dialects.texts import changed, strings
from custodes.gateway.door import Denial, DeniedError
from custodes.gateway.guard import Passage, UnableError
from custodes.gateway.vocabulary import Asked, Name, NameKind, Picture, PictureRole, Text, TextRole
from custodes.sniff import format_of, strip_png

__all__ = ["COUNT_MAX", "SCRIPT_KEYS", "Offer", "Style", "Wanted", "from_json"]

PROMPT_CHARS_MAX: Final = 32_000
COUNT_MAX: Final = 16
PICTURES_MAX: Final = 16
_MODEL: Final = "sd_model_checkpoint"
_SAME: Final = frozenset({"", "None", "Use same checkpoint"})
_NETWORK: Final = re.compile(r"<\w+:([^>:]*)[^>]*>")
_DATA: Final = re.compile(r"data:image/[a-z0-9.+-]{1,20};base64,(.*)", re.DOTALL)
_LINK: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]{1,9}://")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{256}")
_FACES: Final = re.compile(r"face|ip.?adapter|instant.?id|photo.?maker|pulid|roop|reactor|clip_vision")
_PLACE: Final = re.compile(r"`\$\.([A-Za-z0-9_.\[\]]{1,60})`")

_CONTROLNET: Final = (
    *("enabled", "image", "mask", "module", "model", "weight", "resize_mode", "low_vram", "processor_res"),
    *("threshold_a", "threshold_b", "guidance_start", "guidance_end", "control_mode", "pixel_perfect", "hr_option"),
)
_ADETAILER: Final = (
    *("ad_model", "ad_model_classes", "ad_tab_enable", "ad_prompt", "ad_negative_prompt", "ad_confidence"),
    *("ad_mask_k_largest", "ad_mask_min_ratio", "ad_mask_max_ratio", "ad_dilate_erode", "ad_x_offset", "ad_y_offset"),
    *("ad_mask_merge_invert", "ad_mask_blur", "ad_denoising_strength", "ad_inpaint_only_masked"),
    "ad_inpaint_only_masked_padding",
)
SCRIPT_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "controlnet": frozenset(_CONTROLNET),
    "adetailer": frozenset(_ADETAILER),
}
"""Scripts that take objects, and the keys in them that are known. Of others only plain values are taken, in lists."""


@dataclass(frozen=True, slots=True)
class Style:
    """A style, as the operator's server has it."""

    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What an operator offers beyond prompt and numbers. ``model``: for requests that name none.

    ``scripts``: always-on ones and ones to select, by the server's names; ``settings``: what ``override_settings`` may hold beside the model.
    """

    model: str = ""
    styles: Mapping[str, Style] = field(default_factory=dict)
    scripts: frozenset[str] = frozenset()
    adapters: frozenset[str] = frozenset()
    embeddings: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset({"CLIP_stop_at_last_layers"})

    def drawn_by(self, models: frozenset[str]) -> str:
        """The model of a request that names none and may name these; empty: it has to name one."""
        return self.model if self.model in models else next(iter(models)) if len(models) == 1 else ""


# -- fields, by type

_Prompt = Annotated[str, Meta(max_length=PROMPT_CHARS_MAX)]
_Word = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9 +_.()\-]*$")]
_Title = Annotated[str, Meta(max_length=200)]
_Seed = Annotated[int, Meta(ge=-1, le=(1 << 63) - 1)]
_Side = Annotated[int, Meta(ge=-1, le=4096)]
_Steps = Annotated[int, Meta(ge=0, le=200)]
_Part = Annotated[float, Meta(ge=0, le=1)]
_Strength = Annotated[float, Meta(ge=-1000, le=1000)]
_Choice = Annotated[int, Meta(ge=0, le=3)]
_Count = Annotated[int, Meta(ge=1, le=COUNT_MAX)]


class _Both(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: _Prompt = ""
    negative_prompt: _Prompt = ""
    styles: Annotated[list[_Title], Meta(max_length=16)] = []
    seed: _Seed = -1
    subseed: _Seed = -1
    subseed_strength: _Part = 0
    seed_resize_from_h: _Side = 0
    seed_resize_from_w: _Side = 0
    sampler_name: _Word = ""
    sampler_index: _Word = ""
    scheduler: _Word = ""
    batch_size: _Count = 1
    n_iter: _Count = 1
    steps: _Steps = 20
    cfg_scale: _Strength = 7
    distilled_cfg_scale: _Strength = 3.5
    width: Annotated[int, Meta(ge=8, le=4096)] = 512
    height: Annotated[int, Meta(ge=8, le=4096)] = 512
    restore_faces: bool = False
    tiling: bool = False
    eta: _Strength = 0
    denoising_strength: _Part = 0.75
    s_churn: _Strength = 0
    s_tmax: _Strength = 0
    s_tmin: _Strength = 0
    s_noise: _Strength = 1
    s_min_uncond: _Strength = 0
    refiner_checkpoint: _Title = ""
    refiner_switch_at: _Part = 1
    disable_extra_networks: bool = False
    override_settings: dict[str, Any] = {}
    override_settings_restore_afterwards: bool = True
    script_name: _Title = ""
    script_args: list[Any] = []
    alwayson_scripts: dict[str, Any] = {}
    send_images: bool = True
    save_images: bool = False
    do_not_save_samples: bool = True
    do_not_save_grid: bool = True
    force_task_id: _Title = ""
    infotext: Annotated[str, Meta(max_length=0)] = ""


class _FromText(_Both, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enable_hr: bool = False
    firstphase_width: _Side = 0
    firstphase_height: _Side = 0
    hr_scale: Annotated[float, Meta(ge=1, le=8)] = 2
    hr_upscaler: _Word = ""
    hr_second_pass_steps: _Steps = 0
    hr_resize_x: _Side = 0
    hr_resize_y: _Side = 0
    hr_checkpoint_name: _Title = ""
    hr_sampler_name: _Word = ""
    hr_scheduler: _Word = ""
    hr_prompt: _Prompt = ""
    hr_negative_prompt: _Prompt = ""
    hr_cfg: _Strength = 1
    hr_distilled_cfg: _Strength = 3.5


class _FromImage(_Both, frozen=True, kw_only=True, forbid_unknown_fields=True):
    init_images: Annotated[list[str], Meta(min_length=1, max_length=PICTURES_MAX)]
    mask: str = ""
    mask_blur: Annotated[int, Meta(ge=0, le=256)] = 4
    mask_blur_x: Annotated[int, Meta(ge=0, le=256)] = 4
    mask_blur_y: Annotated[int, Meta(ge=0, le=256)] = 4
    mask_round: bool = True
    inpainting_fill: _Choice = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Annotated[int, Meta(ge=0, le=256)] = 0
    inpainting_mask_invert: _Choice = 0
    include_init_images: bool = False
    resize_mode: _Choice = 0
    image_cfg_scale: _Strength = 1.5
    initial_noise_multiplier: _Strength = 1


_FORCED: Final[Mapping[str, Any]] = {
    "send_images": True,
    "save_images": False,
    "do_not_save_samples": True,
    "do_not_save_grid": True,
    "override_settings_restore_afterwards": True,
}
"""No copy on the server's disk, no setting that outlives the request, and every picture comes back to be looked at."""
_BUILT: Final = ("styles", "script_name", "script_args", "alwayson_scripts", "override_settings", "init_images", "mask")
_KEPT: Final = frozenset({*_FORCED, *_BUILT, "force_task_id", "infotext", "include_init_images"})
"""Fields that are not forwarded as they came."""
_ROLES: Final[Mapping[str, TextRole]] = {
    "prompt": TextRole.POSITIVE,
    "negative_prompt": TextRole.NEGATIVE,
    "hr_prompt": TextRole.SECONDARY,
    "hr_negative_prompt": TextRole.NEGATIVE,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that can be judged. ``fields``: what is forwarded; ``given``: those that the client named, which is what it hears again."""

    path: str
    asked: Asked
    fields: Mapping[str, Any] = field(repr=False)
    given: frozenset[str]
    send_images: bool = True
    embeddings: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def model(self) -> str:
        """The model that makes it."""
        return str(self.fields["override_settings"][_MODEL])

    def naming(self, embeddings: frozenset[str]) -> Wanted:
        """The same, with those of the server's embeddings that its texts name: a prompt names one by its mere name."""
        found = [name for text in self.asked.texts for name in _embedded(text.value, embeddings)]
        names = tuple(dict.fromkeys((*self.asked.names, *found)))
        return replace(self, asked=replace(self.asked, names=names), embeddings=embeddings)

    def body(self, passage: Passage) -> dict[str, Any]:
        """What the generator is sent. Raises UnableError where a rewriting brought in what nobody asked for."""
        for value in passage.texts.values():
            if _expands(value) or {*_adapters(value), *_embedded(value, self.embeddings)} - set(self.asked.names):
                raise UnableError("the rewriting")
        given = {where: base64.b64encode(content).decode() for where, content in passage.pictures.items()}
        body: dict[str, Any] = changed(self.fields, {**passage.texts, **given})
        return body

    def told(self, passage: Passage) -> dict[str, Any]:
        """What the client hears of its request: its own fields, with prompts as they were rewritten, and no picture."""
        body = self.body(passage)
        return {name: body[name] for name in self.given if name in body and name not in _KEPT}


def from_json(path: str, given: Mapping[str, Any], offer: Offer, models: frozenset[str]) -> Wanted:
    """What a body asks for. Raises DeniedError."""
    kind = _FromImage if path.endswith("img2img") else _FromText
    named = {name: value for name, value in given.items() if value is not None}
    values = _read(kind, named)
    fields = {name: value for name, value in values.items() if name in named and name not in _KEPT}
    fields |= _styled(values, offer.styles)
    _models_known(fields, models)
    fields["override_settings"] = _settings(values["override_settings"], offer, models)
    fields |= _scripts(values, offer)
    pictures: list[Picture] = []
    if kind is _FromImage:
        fields |= _drawn(values, pictures)
    _seen_in_scripts(fields, pictures)
    if values["batch_size"] * values["n_iter"] > COUNT_MAX or len(pictures) > PICTURES_MAX:
        raise DeniedError(Denial.MALFORMED, f"more than {COUNT_MAX} pictures are asked for or given")
    return Wanted(
        path, _asked(fields, pictures, values), {**fields, **_FORCED}, frozenset(named), values["send_images"]
    )


def _read(kind: type[_Both], named: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a body, by type. Raises DeniedError."""
    if named.get("infotext"):
        raise DeniedError(Denial.ROUTE, "infotext sets any field and any setting: send fields", field="infotext")
    known = {each.name for each in msgspec.structs.fields(kind)}
    if unknown := [name for name in named if name not in known]:
        shown = unknown[0] if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", unknown[0]) else "?"
        raise DeniedError(Denial.ROUTE, "a field of the request is not known here", field=shown)
    try:
        return msgspec.structs.asdict(msgspec.convert(named, kind))
    except (msgspec.MsgspecError, RecursionError) as error:
        place = _PLACE.search(str(error))
        shown = place[1] if place else "init_images"
        raise DeniedError(Denial.MALFORMED, "a field has a value that it cannot have", field=shown) from None


# -- what the server would expand


def _styled(values: Mapping[str, Any], styles: Mapping[str, Style]) -> dict[str, str]:
    """The prompts with their styles in them: the server is not asked to add what nobody here saw. Raises DeniedError."""
    prompts = {"prompt": values["prompt"], "negative_prompt": values["negative_prompt"]}
    for name in values["styles"]:
        if name not in styles:
            raise DeniedError(
                Denial.MODEL, "this style is not offered here: see /sdapi/v1/prompt-styles", field="styles"
            )
        style = {"prompt": styles[name].prompt, "negative_prompt": styles[name].negative_prompt}
        prompts = {which: _merged(prompt, style[which]) for which, prompt in prompts.items()}
    if any(len(each) > PROMPT_CHARS_MAX for each in prompts.values()):
        raise DeniedError(Denial.TOO_LARGE, "the prompt with its styles is too long", field="styles")
    return prompts


def _merged(prompt: str, style: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", prompt)
    return ", ".join(filter(None, [prompt.strip(), style.strip()])) if style.strip() else prompt


def _expands(text: str) -> bool:
    """Whether extensions of the server would put in what is not there: wildcards from its files, variables."""
    return text.count("__") >= 2 or "${" in text


def _adapters(text: str) -> Iterator[Name]:
    """``<lora:name:weight>`` and its kin, whatever their kind."""
    for found in _NETWORK.finditer(text):
        yield Name(NameKind.ADAPTER, found[1])


def _embedded(text: str, embeddings: frozenset[str]) -> Iterator[Name]:
    said = text.lower()
    return (Name(NameKind.EMBEDDING, name) for name in embeddings if name.lower() in said)


# -- models, settings, scripts


def _models_known(fields: dict[str, Any], models: frozenset[str]) -> None:
    for name in ("refiner_checkpoint", "hr_checkpoint_name"):
        if fields.get(name, "") in _SAME:
            fields.pop(name, None)
        elif fields[name] not in models:
            raise DeniedError(Denial.MODEL, "this model is not offered here: see /sdapi/v1/sd-models", field=name)


def _settings(given: Mapping[str, Any], offer: Offer, models: frozenset[str]) -> dict[str, Any]:
    """The settings of this request, the model always: what another client chose last is not left to chance. Raises DeniedError."""
    model = given.get(_MODEL) or offer.drawn_by(models)
    if model not in models:
        raise DeniedError(Denial.MODEL, "this model is not offered here: see /sdapi/v1/sd-models", field=_MODEL)
    found: dict[str, Any] = {_MODEL: model}
    for name, value in given.items():
        if name == _MODEL:
            continue
        if name not in offer.settings:
            raise DeniedError(Denial.ROUTE, "a setting is not offered here", field="override_settings")
        if not isinstance(value, bool | int | float | str) or (isinstance(value, str) and len(value) > 200):
            raise DeniedError(Denial.MALFORMED, "a setting has a value that it cannot have", field="override_settings")
        found[name] = value
    return found


def _scripts(values: Mapping[str, Any], offer: Offer) -> dict[str, Any]:
    """The scripts that are asked for. Raises DeniedError."""
    found: dict[str, Any] = {}
    offered = {name.lower(): name for name in offer.scripts}
    for name, value in values["alwayson_scripts"].items():
        if name.lower() not in offered or not isinstance(value, Mapping) or not set(value) <= {"args"}:
            raise DeniedError(Denial.ROUTE, "this script is not offered here", field="alwayson_scripts")
        args = _plain(value.get("args", []), SCRIPT_KEYS.get(name.lower(), frozenset()), "alwayson_scripts")
        found.setdefault("alwayson_scripts", {})[offered[name.lower()]] = {"args": args}
    if name := values["script_name"]:
        if name.lower() not in offered:
            raise DeniedError(Denial.ROUTE, "this script is not offered here", field="script_name")
        args = _plain(values["script_args"], frozenset(), "script_args")
        found |= {"script_name": offered[name.lower()], "script_args": args}
    elif values["script_args"]:
        raise DeniedError(Denial.MALFORMED, "arguments of no script", field="script_args")
    return found


def _plain(args: object, keys: frozenset[str], where: str) -> list[Any]:
    """Arguments of a script: plain values, lists of them, and objects of known keys. Raises DeniedError."""

    def fits(value: object, depth: int) -> bool:
        if isinstance(value, list):
            return depth > 0 and all(fits(each, depth - 1) for each in value)
        if isinstance(value, Mapping):
            return depth > 0 and set(value) <= keys and all(fits(each, depth - 1) for each in value.values())
        return value is None or isinstance(value, bool | int | float | str)

    if not isinstance(args, list) or not fits(args, 4):
        raise DeniedError(Denial.ROUTE, "arguments of a script are not known here", field=where)
    return args


# -- pictures and texts


def _drawn(values: Mapping[str, Any], pictures: list[Picture]) -> dict[str, Any]:
    """The pictures of an img2img, as they are forwarded: written again in base64, so that the server reads what was inspected."""
    found: dict[str, Any] = {"init_images": []}
    for number, value in enumerate(values["init_images"]):
        pictures.append(Picture(PictureRole.INIT, _content(value, "init_images"), f"init_images[{number}]"))
        found["init_images"].append(_encoded(pictures[-1]))
    if values["mask"]:
        pictures.append(Picture(PictureRole.MASK, _content(values["mask"], "mask"), "mask"))
        found["mask"] = _encoded(pictures[-1])
    return found


def _seen_in_scripts(fields: dict[str, Any], pictures: list[Picture]) -> None:
    """The pictures in arguments of scripts, found and written again. Raises DeniedError."""
    if "script_args" in fields:
        fields["script_args"] = _seen(fields["script_args"], "script_args", PictureRole.FACE, pictures)
    for name, script in fields.get("alwayson_scripts", {}).items():
        for number, unit in enumerate(script["args"]):
            where = f"alwayson_scripts.{name}.args[{number}]"
            script["args"][number] = _seen(unit, where, _use(name, unit), pictures)


def _use(script: str, unit: object) -> PictureRole:
    """What a script does with a picture. One that is not known to take only shapes from it may take a face."""
    said = " ".join(each.lower() for _, each in strings(unit) if len(each) <= 200)
    return PictureRole.CONTROL if script.lower() == "controlnet" and not _FACES.search(said) else PictureRole.FACE


def _seen(value: Any, where: str, role: PictureRole, pictures: list[Picture]) -> Any:
    """The value with the pictures in it found. Raises DeniedError for a link, and for what may be a picture that nobody here can read."""
    written: dict[str, str] = {}
    name = where.partition(".")[0]
    for place, each in strings(value, where):
        if _LINK.match(each):
            raise DeniedError(Denial.MALFORMED, "links are not fetched: send the image in base64", field=name)
        if (content := _picture(each)) is not None:
            pictures.append(Picture(role, content, place))
            written[place] = _encoded(pictures[-1])
        elif each.startswith("data:") or _BASE64.search(each):
            raise DeniedError(Denial.MALFORMED, "an image in the arguments of a script cannot be read", field=name)
    return changed(value, written, where)


def _picture(value: str) -> bytes | None:
    """The picture that the server would read in a string: it, too, passes over what is no base64. Without texts: some extensions read prompts in them."""
    found = _DATA.fullmatch(value)
    try:
        content = base64.b64decode(found[1] if found else value)
    except (ValueError, binascii.Error):
        return None
    kind = format_of(content)
    return strip_png(content) if kind == "png" else content if kind else None


def _content(value: str, where: str) -> bytes:
    if _LINK.match(value):
        raise DeniedError(Denial.MALFORMED, "links are not fetched: send the image in base64", field=where)
    if (content := _picture(value)) is None:
        raise DeniedError(Denial.MALFORMED, "an image cannot be read: send it in base64", field=where)
    return content


def _encoded(picture: Picture) -> str:
    return base64.b64encode(picture.content).decode()


def _asked(fields: Mapping[str, Any], pictures: Sequence[Picture], values: Mapping[str, Any]) -> Asked:
    drawn = {picture.where for picture in pictures}
    model = fields["override_settings"][_MODEL]
    texts = [Text(_role(where), value, where) for where, value in strings(fields) if value and where not in drawn]
    if any(_expands(text.value) for text in texts):
        raise DeniedError(Denial.MALFORMED, "wildcards and variables are expanded where nobody sees it: write them out")
    names = [Name(NameKind.MODEL, model)]
    names += [Name(NameKind.MODEL, fields[n]) for n in ("refiner_checkpoint", "hr_checkpoint_name") if n in fields]
    names += [name for text in texts for name in _adapters(text.value)]
    known = {
        f"override_settings.{_MODEL}",
        "refiner_checkpoint",
        "hr_checkpoint_name",
    }  # held against the models on offer
    return Asked(
        tuple(text for text in texts if text.where not in known),
        tuple(pictures),
        tuple(dict.fromkeys(names)),
        values["batch_size"] * values["n_iter"],
    )


def _role(where: str) -> TextRole:
    if where.startswith(("alwayson_scripts", "script_args")):
        return TextRole.NEGATIVE if "negative" in where else TextRole.SECONDARY
    return _ROLES.get(where, TextRole.OTHER)
