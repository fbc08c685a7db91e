"""Drawings: what a browser would do beyond painting is refused; what leaves is the raster, or a drawing written from an allow-list."""

from __future__ import annotations

import time
from base64 import b64encode
from io import BytesIO

import pytest
from PIL import Image

from custodes.decoder import svg as svg_module
from custodes.decoder.svg import ELEMENTS_MAX, USES_MAX, RefusedSvg, read_svg
from custodes.viewing import Viewing
from tests.decoder.pictures import saved

from .making import SMALL, Red, World, names, pdq_entry, photo, pixels, world

RED_HALF = '<rect width="40" height="60" fill="#fa0a0a"/><circle cx="60" cy="30" r="15" fill="url(#paint)"/>'
PAINT = (
    '<defs><linearGradient id="paint"><stop offset="0" stop-color="blue"/><stop offset="1"/></linearGradient></defs>'
)


pytest.importorskip("resvg_py")


def drawing(inside: str = RED_HALF + PAINT, more: str = "", size: str = 'width="80" height="60"') -> bytes:
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {space} {size} {more}>{inside}</svg>".encode()


def png_link(kind: str = "png") -> str:
    return f"data:image/{kind};base64,{b64encode(saved(photo(3, (64, 64)), 'PNG')).decode()}"


def as_svg() -> World:
    return world(viewing=Viewing(recipes=(SMALL,), svg=True))


REFUSED = {
    "a script": drawing("<script>1</script>"),
    "a handler": drawing(more='onload="x()"'),
    "a handler of an element": drawing('<rect width="9" height="9" onclick="x()"/>'),
    "a link to the network": drawing('<use xlink:href="http://umbrella.example/a.svg#b"/>'),
    "a picture on the network": drawing('<image width="9" height="9" href="https://umbrella.example/a.png"/>'),
    "a picture in a file": drawing('<image width="9" height="9" href="file:///etc/passwd"/>'),
    "data that are no picture": drawing('<image width="9" height="9" href="data:text/html;base64,aGk="/>'),
    "a drawing as a picture": drawing('<image width="9" height="9" href="data:image/svg+xml;base64,aGk="/>'),
    "data of another format than they say": drawing(f'<image width="9" height="9" href="{png_link("jpeg")}"/>'),
    "a foreign object": drawing("<foreignObject><b/></foreignObject>"),
    "an element of another language": drawing('<b xmlns="http://www.w3.org/1999/xhtml"/>'),
    "a style sheet": drawing("<style>rect{fill:red}</style>"),
    "a style": drawing('<rect style="fill:url(http://umbrella.example)" width="9" height="9"/>'),
    "paint from the network": drawing('<rect fill="url(http://umbrella.example/a)" width="9" height="9"/>'),
    "paint from the network, in other letters": drawing(
        '<rect fill="URL( //umbrella.example/a)" width="9" height="9"/>'
    ),
    "text": drawing("<text>umbrella</text>"),
    "text outside of elements": drawing("umbrella"),
    "an animation": drawing('<animate attributeName="x"/>'),
    "a filter": drawing('<filter id="a"/>'),
    "a doctype": b"<!DOCTYPE svg>" + drawing(),
    "an entity": b'<!DOCTYPE svg [<!ENTITY a "b">]>' + drawing("&a;"),
    "an instruction": b'<?xml-stylesheet href="a.css"?>' + drawing(),
    "CDATA": drawing("<![CDATA[x]]>"),
    "a drawing in a drawing": drawing('<svg width="9" height="9"/>'),
    "no end": drawing()[:-6],
    "another encoding": drawing().decode().encode("utf-16"),
    "no size": drawing(size=""),
    "a size in percent": drawing(size='width="100%" height="100%"'),
    "a size that is too large": drawing(size='width="4097" height="9"'),
    "no side": drawing(size='width="0" height="9"'),
    "too deep": drawing("<g>" * 64 + "</g>" * 64),
    "too many elements": drawing("<g/>" * ELEMENTS_MAX),
    "too many uses": drawing('<rect id="a"/>' + '<use href="#a"/>' * (USES_MAX + 1)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_more_than_paint_is_refused_whole(what: str) -> None:
    with pytest.raises(RefusedSvg):
        read_svg(REFUSED[what], 25_000_000)
    looked = world().look(REFUSED[what])
    assert names(looked) == {"unreadable"}
    assert not looked.released


def test_limits_are_reached_before_they_are_passed() -> None:
    for inside in ("<g>" * 63 + "</g>" * 63, '<rect id="a"/>' + '<use href="#a"/>' * USES_MAX):
        assert read_svg(drawing(inside), 25_000_000).width == 80


def test_a_drawing_leaves_as_its_raster() -> None:
    looked = world().look(drawing())
    assert (looked.format, Image.open(BytesIO(looked.released)).size) == ("png", (80, 60))
    assert (pixels(looked.released)[30, 10] == (250, 10, 10, 255)).all()
    assert looked.facts[0].score == pytest.approx(0.5, abs=0.1)


def test_a_drawing_leaves_as_one_where_that_is_wanted_with_nothing_that_paints_nothing() -> None:
    said = "<title>umbrella</title><desc>garden</desc><!-- pond -->"
    looked = as_svg().look(drawing(said + RED_HALF + PAINT))
    assert looked.format == "svg"
    assert not any(word in looked.released for word in (b"umbrella", b"garden", b"pond", b"title"))
    assert as_svg().look(looked.released).released == looked.released
    assert world().look(looked.released).released == world().look(drawing()).released


def test_a_drawing_with_a_picture_leaves_as_its_raster_even_then() -> None:
    content = drawing(f'<image width="64" height="60" href="{png_link()}"/>')
    looked = as_svg().look(content)
    assert looked.format == "png"


def test_a_known_picture_in_a_drawing_is_known() -> None:
    big = f"data:image/jpeg;base64,{b64encode(saved(photo(), 'JPEG')).decode()}"
    content = drawing(f'<image width="320" height="256" xlink:href="{big}"/>', size='width="320" height="256"')
    assert names(world(pdq_entry(photo())).look(content)) == {"known:report"}


def test_fault_without_the_check_of_links_a_drawing_points_out_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_module._Reader, "_link", lambda _self, _element, value: value)
    looked = as_svg().look(REFUSED["a link to the network"].replace(b"<use", b'<rect width="9" height="9"/><use'))
    assert b"umbrella.example" in looked.released


def test_fault_without_the_list_of_elements_a_script_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_module, "_ELEMENTS", svg_module._ELEMENTS | {"script"})
    content = drawing(RED_HALF + '<script href="#a"/>')
    assert b"<script" in as_svg().look(content).released


def test_without_a_library_that_draws_nothing_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_module, "_resvg", None)
    it = world(red=Red())
    assert names(it.look(drawing())) == {"unreadable"}
    assert not it.red.shown


def test_telling_a_drawing_takes_no_longer_the_more_comments_there_are() -> None:
    begun = time.process_time()
    for data in (b"<!--a-->" * 511 + b"<sv", b"<!--" * 1023, b" " * 4096, b"<?xml" * 800):
        assert not svg_module.is_svg(data)
    assert time.process_time() - begun < 1
    assert svg_module.is_svg(b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg>')
