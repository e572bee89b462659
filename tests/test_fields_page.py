"""The pages of all of Consul's fields say what the decoder does, and the decoder does what they say."""

import re

import pytest
from pointsman.model.entries import parse_entry
from pointsman.model.errors import InvalidInput
from pointsman.model.registration import parse_registration

from tests.fields_page import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_tables_say(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")

    assert text == PAGES[name](), "python -m tests.fields_page writes it"


LEAST = {
    "proxy-defaults": {"Name": "global"},
    "service-defaults": {"Name": "web"},
    "service-resolver": {"Name": "web"},
    "service-splitter": {"Name": "web", "Splits": [{"Weight": 100}]},
    "service-router": {"Name": "web"},
    "service-intentions": {"Name": "web", "Sources": [{"Name": "*", "Action": "deny"}]},
}


def told(section: str) -> list[tuple[str, str, str]]:
    """(field, what becomes of it, why) of each row of a table."""
    found = re.findall(r"^\| `([^`]+)` \| (\w[\w ]*) \| [^|]+ \| (.*) \|$", section, re.MULTILINE)
    return [(field, here, why) for field, here, why in found if not re.search(r"[.\[]", field)]


def test_the_decoder_refuses_what_the_page_says_and_nothing_else_for_being_unknown() -> None:
    sections = dict(re.findall(r"^## `([\w-]+)`\n(.*?)(?=^## |\Z)", PAGES["consul-fields.md"](), re.M | re.S))
    for kind, least in LEAST.items():
        rows = told(sections[kind])
        assert {here for _, here, _ in rows} == {"supported", "no effect", "refused"}
        for field, here, why in rows:
            if here == "refused":
                with pytest.raises(InvalidInput) as refused:
                    parse_entry({"Kind": kind, **least, field: "x"})
                assert str(refused.value).endswith(f"{field}: is not supported by Pointsman: {why.partition(' (`')[0]}")
            elif here == "no effect":
                assert parse_entry({"Kind": kind, **least, field: "x"}) == parse_entry({"Kind": kind, **least})


def test_the_decoder_refuses_of_a_registration_what_the_page_says() -> None:
    least = {"Datacenter": "dc1", "Service": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "web"}}}
    for field, here, _ in told(PAGES["registration-fields.md"]()):
        if here == "refused":
            with pytest.raises(InvalidInput, match=f"{field}: is not supported by Pointsman: "):
                parse_registration({**least, field: "x"})
        elif here == "no effect":
            assert parse_registration({**least, field: "x"}) == parse_registration(least)
