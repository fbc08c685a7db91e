"""One image: lists first and alone, unknown is never released, what leaves was judged and holds nothing but pixels."""

from __future__ import annotations

import asyncio
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from custodes.decoder import views as views_module
from custodes.decoder import written as written_module
from custodes.errors import ConfigError, CustodesError, WorldError
from custodes.gateway.guard import Looked
from custodes.gateway.inspection import inspector as inspector_module
from custodes.gateway.inspection.inspector import Equipment, Inspector, decoders_for
from custodes.gateway.inspection.register import Register
from custodes.gateway.vocabulary import Stage
from custodes.model import Entry, Kind, Pdq
from custodes.sniff import jpeg_coding
from custodes.viewing import Task, Viewing
from tests.decoder.pictures import picture, saved

from .making import RED, SMALL, VIEWING, Here, Red, World, examiner, moving, names, pdq_entry, photo, pixels, world

PHOTO = photo()


# -- lists first and alone


def on_clear(image: Image.Image, alpha: int) -> Image.Image:
    shown = image.convert("RGBA")
    shown.putalpha(alpha)
    return shown


def beside(*images: Image.Image, columns: int) -> Image.Image:
    width, height = images[0].size
    page = Image.new("RGB", (width * columns, height * (len(images) // columns)))
    for number, image in enumerate(images):
        page.paste(image, (number % columns * width, number // columns * height))
    return page


OTHERS = [photo(seed) for seed in range(2, 10)]
HIDDEN_IN = {
    "as it is, PNG": saved(PHOTO, "PNG"),
    "as it is, JPEG": saved(PHOTO, "JPEG", quality=85),
    "as it is, WebP": saved(PHOTO, "WEBP", quality=85),
    "turned": saved(PHOTO.rotate(90, expand=True), "PNG"),
    "mirrored": saved(PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"),
    "under an alpha of nothing": saved(on_clear(PHOTO, 0), "PNG"),
    "last of an animation": moving("GIF", OTHERS[0], OTHERS[1], PHOTO),
    "in the middle of an APNG": moving("PNG", OTHERS[0], PHOTO, OTHERS[1]),
    "left of two": saved(beside(PHOTO, OTHERS[0], columns=2), "PNG"),
    "below of two": saved(beside(OTHERS[0], PHOTO, columns=1), "JPEG"),
    "one of four": saved(beside(*OTHERS[:3], PHOTO, columns=2), "PNG"),
    "the middle of nine": saved(beside(*OTHERS[:4], PHOTO, *OTHERS[4:], columns=3), "PNG"),
}


@pytest.mark.parametrize("how", HIDDEN_IN)
def test_a_known_picture_is_known_however_it_is_hidden_and_shown_to_no_detector(how: str) -> None:
    it = world(pdq_entry(PHOTO))
    looked = it.look(HIDDEN_IN[how])
    assert names(looked) == {"known:report"}
    assert looked.facts[0].by == "demo@1-demo"
    assert looked.facts[0].where == "0"
    assert (looked.released, it.red.shown, it.decoders.tasks) == (b"", 0, [Task.WRITE, Task.SHOW])
    assert [match.entry for match in looked.matches] == ["planted"]
    assert looked.sha256 == hashlib.sha256(HIDDEN_IN[how]).digest()


@pytest.mark.parametrize("codes_at_once", [0, 10_000])
@pytest.mark.parametrize("how", ["one of four", "last of an animation"])
def test_lists_are_asked_alike_in_the_loop_and_beside_it(
    how: str, codes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector_module, "_AT_ONCE_CODES", codes_at_once)
    assert names(world(pdq_entry(PHOTO)).look(HIDDEN_IN[how])) == {"known:report"}


def test_an_unknown_picture_is_known_to_no_list() -> None:
    for how, content in HIDDEN_IN.items():
        assert "known:report" not in names(world(pdq_entry(photo(99))).look(content)), how


def test_what_a_list_does_not_explain_is_held() -> None:
    looked = world(pdq_entry(PHOTO, category="never heard of"), scheme="iwf").look(saved(PHOTO, "PNG"))
    assert names(looked) == {"known:hold"}
    assert not looked.released


def test_known_bytes_are_known_even_where_nothing_can_be_decoded() -> None:
    broken = saved(PHOTO, "PNG")[:2000]
    looked = world(Entry(Kind.SHA256, hashlib.sha256(broken).digest(), "x")).look(broken)
    assert names(looked) == {"known:report"}


def test_fault_without_tiles_a_collage_hides_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "GRIDS", ())
    assert names(world(pdq_entry(PHOTO)).look(HIDDEN_IN["one of four"])) == {"explicit"}


def test_fault_with_the_first_frame_alone_an_animation_hides_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    take = views_module._take
    monkeypatch.setattr(views_module, "_take", lambda frame, *rest: None if frame.index else take(frame, *rest))
    assert "known:report" not in names(world(pdq_entry(PHOTO)).look(HIDDEN_IN["last of an animation"]))


def test_fault_on_white_alone_alpha_hides_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    take = views_module._take
    monkeypatch.setattr(
        views_module, "_take", lambda frame, *rest: take(frame, *rest) if frame.background == "white" else None
    )
    assert "known:report" not in names(world(pdq_entry(PHOTO)).look(HIDDEN_IN["under an alpha of nothing"]))


def test_fault_when_lists_are_not_asked_first_a_detector_is_shown_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> None:
        return None

    it = world(pdq_entry(PHOTO))
    monkeypatch.setattr(inspector_module._Look, "_known", never)
    assert it.look(saved(PHOTO, "PNG")).released
    assert it.red.shown == 1


# -- unknown is never released


def many_frames(count: int) -> bytes:
    return moving("GIF", *(photo(seed, (32, 32)) for seed in range(1, count + 1)))


UNREADABLE = {
    "nothing": b"",
    "text": b"umbrella",
    "a truncated PNG": saved(PHOTO, "PNG")[:-2000],
    "a truncated JPEG": saved(PHOTO, "JPEG")[:-500],
    "half a GIF": moving("GIF", *OTHERS[:3])[:-30_000],
    "a header alone": saved(PHOTO, "PNG")[:33],
    "more pixels than are taken": saved(Image.new("1", (6000, 6000)), "PNG"),
    "more frames than are taken": many_frames(101),
    "more views than models are shown": many_frames(65),
    "an SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>1</script></svg>',
    "an archive": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_could_not_be_seen_whole_is_unreadable_and_not_released(what: str) -> None:
    it = world()
    looked = it.look(UNREADABLE[what])
    assert names(looked) == {"unreadable"}
    assert not looked.released
    assert not it.red.shown


def test_an_animation_at_the_limit_of_views_is_released() -> None:
    looked = world().look(many_frames(64))
    assert looked.format == "gif"
    assert Image.open(BytesIO(looked.released)).n_frames == 64


GROUPS = ("img-own-bombs", "img-pillow-bad", "img-jpeg-crash", "img-image-rs", "img-pngsuite", "polyglot-mitra")


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_files_release_nothing_that_was_not_seen_whole(vectors: Path, group: str) -> None:
    files = [path for path in sorted((vectors / group).rglob("*")) if path.is_file() and path.stat().st_size < 4 << 20]
    slow = {path for path in files if "20000_frames" in path.name or "7000x7000" in path.name}
    for path in [path for path in files if path not in slow][:120]:
        it = world()
        looked = it.look(path.read_bytes())
        if looked.released:
            assert "unreadable" not in names(looked)
            assert it.red.shown
            with Image.open(BytesIO(looked.released)) as again:
                again.load()
                assert not again.info.keys() & {"exif", "icc_profile", "xmp", "comment"}, path.name
        else:
            assert names(looked) == {"unreadable"}, path.name


# -- what leaves

MARK = b"planted-umbrella-mark"


def exif() -> bytes:
    found = Image.Exif()
    found[0x010E] = MARK.decode()
    return found.tobytes()


def png_text() -> PngImagePlugin.PngInfo:
    found = PngImagePlugin.PngInfo()
    found.add_text("parameters", MARK.decode())
    found.add_itxt("XML:com.adobe.xmp", MARK.decode())
    return found


MARKED = {
    "png": saved(PHOTO, "PNG", pnginfo=png_text(), exif=exif(), icc_profile=MARK * 10),
    "jpeg": saved(PHOTO, "JPEG", exif=exif(), comment=MARK, icc_profile=MARK * 10, xmp=MARK),
    "webp": saved(PHOTO, "WEBP", exif=exif(), xmp=MARK, icc_profile=MARK * 10),
    "gif": saved(PHOTO.convert("P"), "GIF", comment=MARK),
    "avif": saved(PHOTO, "AVIF", exif=exif(), xmp=MARK, icc_profile=MARK * 10, max_threads=1),
    "tiff": saved(PHOTO, "TIFF", description=MARK.decode()),
    "a moving gif": moving("GIF", *OTHERS[:3], comment=MARK),
    "a moving webp": moving("WEBP", *OTHERS[:3], exif=exif(), xmp=MARK),
    "a moving png": moving("PNG", *OTHERS[:3], pnginfo=png_text()),
    "an archive behind a jpeg": saved(PHOTO, "JPEG") + b"PK\x03\x04" + MARK,
    "a page behind a png": saved(PHOTO, "PNG") + MARK,
}
LEAVES_AS = {"gif": "png", "avif": "png", "tiff": "png"} | {
    "a moving gif": "gif",
    "a moving webp": "webp",
    "a moving png": "png",
    "an archive behind a jpeg": "jpeg",
    "a page behind a png": "png",
}


@pytest.mark.parametrize("kind", MARKED)
def test_nothing_but_pixels_leaves(kind: str) -> None:
    assert MARK in MARKED[kind]
    looked = world().look(MARKED[kind])
    assert names(looked) == {"explicit"}
    assert looked.format == LEAVES_AS.get(kind, kind)
    assert MARK not in looked.released
    assert MARK[2:] not in looked.released
    assert not Image.open(BytesIO(looked.released)).info.keys() & {
        "exif",
        "icc_profile",
        "comment",
        "xmp",
        "parameters",
    }


def test_fault_the_image_that_was_opened_written_again_takes_its_comment_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(frame: np.ndarray[Any, Any]) -> Image.Image:
        image = Image.fromarray(frame)
        image.info["comment"] = MARK
        return image

    monkeypatch.setattr(written_module, "_image", opened)
    assert MARK in world().look(MARKED["a moving gif"]).released


@pytest.mark.parametrize("kind", ["png", "gif", "tiff"])
def test_what_holds_pixels_exactly_keeps_them(kind: str) -> None:
    looked = world().look(MARKED[kind])
    assert (pixels(looked.released) == pixels(MARKED[kind])).all()


def test_alpha_is_kept_and_what_it_hides_is_shown_to_detectors() -> None:
    hidden = saved(on_clear(RED, 0), "PNG")
    it = world()
    looked = it.look(hidden)
    assert (pixels(looked.released) == pixels(hidden)).all()
    assert it.red.shown == 3
    assert looked.facts[0].score == 1.0


def test_frames_and_durations_of_an_animation_are_kept_and_each_is_shown() -> None:
    for kind in ("GIF", "PNG", "WEBP"):
        it = world()
        looked = it.look(moving(kind, *OTHERS[:2], RED, duration=[50, 60, 70], loop=0))
        with Image.open(BytesIO(looked.released)) as again:
            assert again.n_frames == 3, kind  # type: ignore[attr-defined]
            found = []
            for number in range(3):
                again.seek(number)
                again.load()
                found.append(int(again.info["duration"]))
        assert found == [50, 60, 70]
        assert it.red.shown == 3
        assert looked.facts[0].score > 0.9


def test_large_pictures_are_shown_in_quarters_too() -> None:
    page = Image.new("RGB", (1600, 1600), "green")
    page.paste((250, 10, 10), (800, 800, 1600, 1600))
    whole, quarters = world(viewing=Viewing(recipes=(SMALL,), quarter_side_min=801)), world()
    assert whole.look(saved(page, "PNG")).facts[0].score == pytest.approx(0.25, abs=0.05)
    assert quarters.look(saved(page, "PNG")).facts[0].score == pytest.approx(1.0, abs=0.05)


def test_what_was_written_is_judged_by_lists_and_by_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that went wrong would let out another picture than was judged."""
    content = saved(photo(3), "PNG")
    wrong_writer(monkeypatch, saved(PHOTO, "PNG"))
    assert names(world(pdq_entry(PHOTO)).look(content)) == {"known:report"}
    wrong_writer(monkeypatch, saved(photo(3), "PNG")[:-40])
    assert names(world().look(content)) == {"unreadable"}


def wrong_writer(monkeypatch: pytest.MonkeyPatch, file: bytes) -> None:
    monkeypatch.setattr(views_module, "written", lambda *_: ("png", file))


def test_detectors_are_shown_what_was_written_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, came in (
        (saved(RED, "PNG"), saved(photo(3), "PNG")),
        (moving("PNG", OTHERS[0], RED), moving("PNG", *OTHERS[:2])),
    ):
        wrong_writer(monkeypatch, wrong)
        assert world().look(came).facts[0].score == 1.0


def test_what_cannot_be_written_or_not_in_time_is_still_looked_for_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def hopeless(*_: object) -> None:
        raise written_module.UnwritableError

    def lacking(*_: object) -> None:
        raise MemoryError

    for broken in (hopeless, lacking):
        monkeypatch.setattr(views_module, "written", broken)
        assert names(world(pdq_entry(PHOTO)).look(saved(PHOTO, "PNG"))) == {"known:report"}
        assert names(world().look(saved(PHOTO, "PNG"))) == {"unreadable"}


@pytest.mark.parametrize(("quality", "chroma"), [(30, 2), (75, 2), (90, 2), (90, 1), (95, 0), (100, 0)])
def test_a_jpeg_file_is_written_about_as_finely_as_it_was(quality: int, chroma: int) -> None:
    content = saved(PHOTO, "JPEG", quality=quality, subsampling=chroma)
    released = world().look(content).released
    assert jpeg_coding(released) == (min(max(quality, 50), 95), jpeg_coding(content)[1])
    assert np.abs(pixels(released) - pixels(content)).mean() < 2.5


# -- detectors


def test_the_score_is_a_fact_of_its_stage() -> None:
    for stage in Stage:
        (fact,) = world().look(saved(RED, "PNG"), stage).facts
        assert (fact.name, fact.stage, fact.by, fact.score) == ("explicit", stage, "red@1", 1.0)


@pytest.mark.parametrize("said", [float("nan"), -0.1, 1.1])
def test_what_is_no_score_raises(said: float) -> None:
    with pytest.raises(WorldError):
        world(red=Red(said=said)).look(saved(PHOTO, "PNG"))


def test_a_detector_that_breaks_raises() -> None:
    with pytest.raises(CustodesError):
        world(red=Red(broken=True)).look(saved(PHOTO, "PNG"))


def test_without_a_detector_or_a_list_nothing_starts() -> None:
    with pytest.raises(ConfigError):
        Equipment(examiner(), ())


def test_lists_are_exchanged_and_other_detectors_are_not() -> None:
    it = world()
    inspector = Inspector(it.decoders, it.equipment)  # type: ignore[arg-type]
    inspector.use(it.with_(examiner=examiner(pdq_entry(PHOTO))).equipment)
    looked = asyncio.run(inspector.look(saved(PHOTO, "PNG"), Stage.OUTPUT, ""))
    assert names(looked) == {"known:report"}
    with pytest.raises(ConfigError):
        inspector.use(it.with_(detectors=(Red(), Red())).equipment)


# -- protected persons


def protected() -> Register:
    entry = pdq_entry(PHOTO)
    return Register().with_person("umbrella", [Pdq(entry.value, 100)])


def scored(score: float, floor: float = 0.2) -> World:
    return world(red=Red(said=score)).with_(register=protected(), floor=floor)


@pytest.mark.parametrize(("score", "found"), [(0.19, False), (0.2, True), (0.9, True)])
def test_persons_are_looked_for_in_explicit_pictures_only(score: float, found: bool) -> None:
    looked = scored(score).look(saved(PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG"))
    assert ("person:protected" in names(looked)) is found


def test_fault_without_the_floor_everybody_would_be_looked_for() -> None:
    assert "person:protected" in names(scored(0.0, floor=0.0).look(saved(PHOTO, "PNG")))


def test_others_are_not_protected_persons() -> None:
    assert names(scored(0.9).look(saved(photo(7), "PNG"))) == {"explicit"}


class Faces:
    name, recipe = "faces", SMALL

    def __init__(self) -> None:
        self.asked = 0

    async def shows_one(self, squares: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> bool:
        self.asked += len(squares)
        return True


@pytest.mark.parametrize(("score", "asked"), [(0.1, 0), (0.3, 1)])
def test_faces_are_compared_above_the_floor_only(score: float, asked: int) -> None:
    faces = Faces()
    it = World(Here(Viewing(recipes=(SMALL, SMALL))), world(red=Red(said=score)).equipment, Red()).with_(faces=faces)
    assert ("person:protected" in names(it.look(saved(PHOTO, "PNG")))) is bool(asked)
    assert faces.asked == asked


# -- the stamp


class Stamped:
    def __init__(self, *, spoils: bool = False) -> None:
        self.spoils = spoils

    async def stamped(self, content: bytes, form: str) -> bytes:
        if self.spoils:
            return saved(photo(5), form.upper())
        return content + b"stamp"


def test_the_stamp_is_put_on_what_leaves_and_on_nothing_that_came_in() -> None:
    it = world().with_(stamp=Stamped())
    assert it.look(saved(PHOTO, "PNG")).released.endswith(b"stamp")
    assert not it.look(saved(PHOTO, "PNG"), Stage.INPUT).released.endswith(b"stamp")


def test_a_stamp_that_changes_the_picture_raises() -> None:
    with pytest.raises(WorldError):
        world().with_(stamp=Stamped(spoils=True)).look(saved(PHOTO, "PNG"))


# -- with real decoders


def test_the_jail_answers_as_this_process_does() -> None:
    """Every format, in confined processes: encoders, animations and drawings too."""
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><rect width="40" height="30" fill="red"/></svg>'
    contents = [*MARKED.values(), drawing, UNREADABLE["text"], UNREADABLE["a truncated PNG"]]
    equipment = world().equipment

    async def play() -> list[object]:
        decoders = decoders_for(equipment, 2, VIEWING)
        decoders.start()
        try:
            inspector = Inspector(decoders, equipment)
            return list(await asyncio.gather(*(inspector.look(each, Stage.OUTPUT, "0") for each in contents)))
        finally:
            decoders.close()

    assert asyncio.run(play()) == [world().look(each) for each in contents]


def test_pictures_of_the_corpus_of_tests_are_not_alike() -> None:
    """What the tests above rest on."""
    assert names(world(pdq_entry(PHOTO)).look(saved(picture(320, 256, seed=50), "PNG"))) == {"explicit"}


@pytest.mark.soak
def test_every_hostile_file_in_confined_decoders_releases_nothing_that_was_not_seen_whole(vectors: Path) -> None:
    equipment = world().equipment
    files = [path for group in GROUPS for path in sorted((vectors / group).rglob("*")) if path.is_file()]

    async def play() -> list[Looked]:
        decoders = decoders_for(equipment, 2, VIEWING)
        decoders.start()
        try:
            inspector = Inspector(decoders, equipment)
            return [await inspector.look(path.read_bytes(), Stage.OUTPUT, "0") for path in files]
        finally:
            decoders.close()

    for path, looked in zip(files, asyncio.run(play()), strict=True):
        assert (names(looked) == {"unreadable"}) is (not looked.released), path.name
