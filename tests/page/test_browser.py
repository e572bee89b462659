"""The page in a real browser: live, with the keyboard alone, without scripts, on a phone."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from pointsman.cli.main import run

from tests.fleet.ca import CertificateAuthority
from tests.fleet.control_plane import Pointsman
from tests.page.browser import Watched, chromium, needs_chromium
from tests.page.mesh import HOSTILE, told
from tests.pipeline.meshes import instance

pytestmark = needs_chromium

PATIENCE_MS = 60_000
FOCUSABLE = "a[href], button, input, summary, [tabindex='0']"
SHAPE = """({
    language: document.documentElement.lang,
    h1: document.querySelectorAll("h1").length,
    main: document.querySelectorAll("main").length,
    tables: [...document.querySelectorAll("table")].every(
        (each) => each.caption && each.querySelector("th[scope=col]") && each.querySelector("th[scope=row]")),
    pictures: [...document.querySelectorAll("svg")].every((each) => each.getAttribute("aria-label")),
    sections: [...document.querySelectorAll("section")].every(
        (each) => document.getElementById(each.getAttribute("aria-labelledby"))),
    named: [...document.querySelectorAll("a, button, input")].every(
        (each) => each.getAttribute("aria-label") || each.textContent.trim() || (each.labels && each.labels.length)),
})"""
"""What a screen reader needs to find its way."""

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_a_switch_is_seen_within_a_second_and_what_was_opened_and_focused_stays(
    browser: Browser, up: Pointsman
) -> None:
    tab = Watched(browser, up.url)
    page = tab.page
    page.goto(up.url)
    page.wait_for_selector(".live.on", timeout=PATIENCE_MS)
    page.focus("#cell-dc2-default-web")
    page.fill("#search", "half of a na")
    page.focus("#cell-dc2-default-web")
    took = []
    for index in range(3, 9):
        state, status = ("well", "passing") if index % 2 else ("over", "critical")
        began = time.monotonic()
        up.send(told("web", index, "dc1", instance("web", status=status)))
        page.wait_for_selector(f"#cell-dc1-default-web.{state}", timeout=PATIENCE_MS)
        took.append(time.monotonic() - began)
    # On a busy machine one may take longer, and not each of them.
    assert min(took) < 1.0, took
    assert page.evaluate("document.activeElement.id") == "cell-dc2-default-web"
    assert page.input_value("#search") == "half of a na"
    assert page.text_content("#line")
    # What is said of everything is said to a screen reader, too.
    assert page.get_attribute("#line", "aria-live") == "polite"
    assert tab.amiss == []
    tab.context.close()


def test_nothing_is_amiss_on_any_page_for_the_keyboard_alone(browser: Browser, up: Pointsman) -> None:
    tab = Watched(browser, up.url)
    page = tab.page
    for path in ("/", "/services/web?dc=dc1", "/services/shop?dc=dc1"):
        page.goto(up.url + path)
        page.wait_for_selector(".live.on", timeout=PATIENCE_MS)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        order = page.evaluate_handle(
            f'[...document.querySelectorAll("{FOCUSABLE}")].filter((each) => each.checkVisibility())'
        )
        for number in range(1, order.evaluate("(order) => order.length")):
            page.keyboard.press("Tab")
            assert order.evaluate("(order, i) => order[i] === document.activeElement", number), (path, number)
        assert page.evaluate(SHAPE) == {
            "language": "en",
            "h1": 1,
            "main": 1,
            "tables": True,
            "pictures": True,
            "sections": True,
            "named": True,
        }
    page.goto(up.url)
    mark = page.locator("a.mark").first
    mark.focus()
    assert page.text_content("#said") == mark.get_attribute("aria-label")
    mark.press("Enter")
    assert page.evaluate("document.activeElement.id").startswith("happening-")
    assert tab.amiss == []
    tab.context.close()


def test_without_scripts_on_a_phone_all_can_be_read(browser: Browser, up: Pointsman) -> None:
    for scheme in ("light", "dark"):
        tab = Watched(browser, up.url, java_script_enabled=False, viewport=PHONE, color_scheme=scheme)
        for path, said in (("/", "has no healthy target in dc1"), ("/services/web?dc=dc1", HOSTILE)):
            tab.page.goto(up.url + path)
            assert said in tab.page.inner_text("main")
            # Nothing is wider than the phone, but what scrolls by itself.
            box = tab.page.locator("main").bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= PHONE["width"]
            assert tab.page.locator("h2").last.is_visible()
        assert tab.amiss == []
        tab.context.close()


@pytest.mark.soak
def test_a_browser_with_a_client_certificate_sees_the_page_of_another_machine(browser: Browser, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca", "td")
    door = authority.issue_as("door", [(7, bytes([127, 0, 0, 1]))])
    alice, bob = (authority.issue_as(name, [(6, f"spiffe://td/people/{name}".encode())]) for name in ("alice", "bob"))
    more = ["--remote", "127.0.0.1:0", "--tls-cert", door.certificate, "--tls-key", door.private_key]
    with Pointsman(tmp_path, "td", more=[*more, "--client-ca", authority.file]) as pointsman:
        token = ["token", "make", "alice", "--role", "read", "--certificate", "spiffe://td/people/alice"]
        assert run([*token, "--store", str(pointsman.store)]) == 0
        url = pointsman.said["remote"]
        for who, status in ((alice, 200), (bob, 403), (None, 401)):
            shown = {"origin": url, "certPath": str(who.certificate), "keyPath": str(who.private_key)} if who else None
            tab = Watched(browser, url, ignore_https_errors=True, client_certificates=[shown] if shown else None)
            answer = tab.page.goto(url)
            assert answer is not None
            assert answer.status == status
            if who is alice:
                tab.page.wait_for_selector(".live.on", timeout=PATIENCE_MS)
                assert tab.amiss == []
            tab.context.close()


@pytest.mark.soak
def test_a_page_says_that_it_is_not_live_and_is_again_when_up_is_back(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("away")
    with Pointsman(directory, "td") as pointsman:
        url = pointsman.url
        tab = Watched(browser, url)
        tab.page.goto(url)
        tab.page.wait_for_selector(".live.on", timeout=PATIENCE_MS)
        pointsman.stop()
        tab.page.wait_for_selector(".live.away", timeout=PATIENCE_MS)
    with Pointsman(directory, "td", listen=url.removeprefix("http://")):
        tab.page.wait_for_selector(".live.on", timeout=PATIENCE_MS)
    tab.context.close()
