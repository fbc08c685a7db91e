"""The pages name every profile, value and field as they are."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from custodes.handover.profiles import profiles
from custodes.handover.routes.addresses import ADDRESSES_TYPE, ENVELOPE_SUFFIX, SEALED_SUFFIX
from custodes.handover.routes.settings import CoopValue
from custodes.handover.routes.webhook import CONTENT_TYPE, PAYLOAD_TYPE, Post, Sealed

DOCS = Path(__file__).parents[3] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_page_of_routes_has_each_profile_with_its_days_and_every_value_for_coop() -> None:
    text = page("concepts/routes.md")
    for name, dated in profiles().items():
        assert f"`{name}`" in text
        for profile in dated:
            assert profile.country in text
            assert all(str(day) in text for day in (profile.valid_from, profile.valid_to) if day)
    assert [value for value in get_args(CoopValue) if f"`{value}`" not in text] == []
    assert "Nothing here is legal advice" in text


def test_every_field_that_a_receiver_gets_is_explained() -> None:
    text = page("formats/webhook.md")
    fields = {*Post.__struct_fields__, *Sealed.__struct_fields__}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []
    assert CONTENT_TYPE in text
    assert PAYLOAD_TYPE in text
    assert all(word in page("formats/addresses.md") for word in (ADDRESSES_TYPE, SEALED_SUFFIX, ENVELOPE_SUFFIX))
