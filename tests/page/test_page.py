"""The page that `up` serves: what it shows of situations, to whom, and within which bounds."""

import html
import json
import re
import ssl
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from markupsafe import escape
from pointsman.cli.main import run
from pointsman.page.app import is_page
from pointsman.page.changes import MOST_LISTENERS
from pointsman.page.pages import static
from pointsman.serve.ask import ask

from tests.fleet.control_plane import POINTSMAN, Pointsman
from tests.fleet.process import Child, wait_until
from tests.page.mesh import HOSTILE, told
from tests.pipeline.meshes import instance


class Elements(HTMLParser):
    """What a browser makes of a page: its elements, the names of their attributes, and what they link to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= given.keys()
        self.links += [each for name in ("src", "href", "action") if (each := given.get(name))]
        if tag == "script":
            self.scripts.append(given)


def contrast(one: str, other: str) -> float:
    """The contrast of two colors as WCAG 2 defines it: 1 to 21."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def text_of(page: str) -> str:
    """What a person reads."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_the_page_says_what_is_wrong_first_and_who_serves_whom(up: Pointsman) -> None:
    answer = requests.get(up.url, timeout=60)
    shown = text_of(answer.text)
    assert answer.status_code == 200
    assert "1 of 2 services failed over; api has no healthy target in dc1, dc2." in shown
    matrix = answer.text[answer.text.index("<tbody") : answer.text.index("</tbody>")]
    rows = [text_of(row) for row in matrix.split("</tr>")[:-1]]
    assert [row.split()[0] for row in rows] == ["api", "web"], "the worst first"
    assert re.search(r"✖ dc1 0/1 nobody serves since \d\d:\d\d:\d\d ✖ dc2 0/1 nobody serves since", rows[0])
    assert re.search(r"➜ dc2 1/1 failed over since \d\d:\d\d:\d\d ✔ dc2 1/1 as it should be since", rows[1])
    assert "With a router or a splitter, which sends requests on to the services above: shop" in shown
    # Who did what in the last 24 hours, as a picture and as a list.
    assert "web as dc1 sees it: web.default.dc1 to web.default.dc2" in shown
    assert 'class="mark switches"' in answer.text
    assert 'class="mark config"' in answer.text


def test_a_service_has_its_chain_its_instances_and_its_history(up: Pointsman) -> None:
    page = requests.get(f"{up.url}/services/web?dc=dc1", timeout=60).text
    shown = text_of(page)
    picture = page[page.index("<svg class=") : page.index("</svg>")]
    for said in ("web.default.dc1", "0 of 1 healthy", "web.default.dc2", "1 of 1 healthy, active"):
        assert said in text_of(picture)
    assert "through 1 local gateway in dc1" in text_of(picture)
    assert "alive critical" in shown
    assert re.search(r"consul index \d+", shown)
    assert "web as dc1 sees it: web.default.dc1 to web.default.dc2" in shown
    assert "api as dc1" not in shown
    client = text_of(requests.get(f"{up.url}/services/client", timeout=60).text)
    assert re.search(r"Envoys of its sidecars .*dc1/sidecar/default/client", client), client
    # A router and a splitter are in the picture.
    chain = text_of(requests.get(f"{up.url}/services/shop?dc=dc2", timeout=60).text)
    assert all(part in chain for part in ("router", "splitter", "90 %", "10 %", "path prefix /<b>"))


def test_the_page_says_what_would_happen_if_something_was_down(up: Pointsman) -> None:
    shown = text_of(requests.get(f"{up.url}/whatif?down=dc2/web", timeout=60).text)
    assert "If dc2/web were down, somebody would have nowhere to go." in shown
    assert "web.default.dc1 as dc1 sees it: web.default.dc2 -> web.default.dc1" in shown
    assert "✖ web.default.dc2 as dc2 sees it: " in shown
    assert "What would happen?" in text_of(requests.get(f"{up.url}/whatif", timeout=60).text)
    refused = requests.get(f"{up.url}/whatif?down={HOSTILE}", timeout=60)
    assert (refused.status_code, "is no datacenter" in text_of(refused.text)) == (404, True)


def test_hostile_text_stays_text_and_the_page_runs_and_fetches_nothing_but_its_own(up: Pointsman) -> None:
    for path in ("/", "/services/web", f"/?search={HOSTILE}", f"/services/{HOSTILE}", f"/whatif?down={HOSTILE}"):
        answer = requests.get(up.url + path, timeout=60)
        found = Elements()
        found.feed(answer.text)
        assert found.scripts == [{"src": "/page/page.js", "defer": None}], path
        assert "img" not in found.tags
        assert not [name for name in found.attributes if name.startswith("on") or name == "style"], path
        assert not [each for each in found.links if not each.startswith(("/", "#")) or each.startswith("//")], path
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        # Whoever said it, it can be read: the output of a check, the message of a generation, what was searched for.
        assert str(escape(HOSTILE)) in answer.text, path


def test_all_colors_can_be_told_apart_from_what_is_behind_them() -> None:
    style = static("page.css").data.decode()
    for scheme in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(name, "paper") for name in colors if name not in ("paper", "rule") and not name.endswith("-paper")]
        pairs += [(name, f"{name}-paper") for name in ("well", "over", "nobody", "wrong")]
        contrasts = {pair: contrast(*(colors[each] for each in pair)) for pair in pairs}
        # What WCAG 2 wants of text, at its level AA.
        assert min(contrasts.values()) >= 4.5, contrasts


def test_the_page_is_only_read_by_pages_of_its_own_and_takes_no_path_of_others(up: Pointsman) -> None:
    assert requests.post(up.url, timeout=60).status_code == 405
    assert requests.get(up.url, headers={"host": "evil.example"}, timeout=60).status_code == 403
    assert requests.get(up.url, headers={"origin": "https://evil.example"}, timeout=60).status_code == 403
    assert requests.get(f"{up.url}/services/nobody", timeout=60).status_code == 404
    assert requests.get(f"{up.url}/page/../../config", timeout=60).status_code == 404
    assert requests.get(f"{up.url}/healthz", timeout=60).json()["alive"]
    assert not is_page("/metrics")
    answer = requests.get(up.url, timeout=60)
    again = requests.get(up.url, headers={"if-none-match": answer.headers["etag"]}, timeout=60)
    assert again.status_code == (304 if again.headers["etag"] == answer.headers["etag"] else 200)
    assert requests.head(up.url, timeout=60).content == b""


def test_other_machines_need_the_role_read(up: Pointsman, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = {}
    for role in ("read", "report"):
        assert run(["token", "make", role, "--role", role, "--store", str(up.store)]) == 0
        tokens[role] = capsys.readouterr().out.strip()
    place = urlsplit(up.said["remote"])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def status(path: str, role: str = "") -> int:
        headers = {"authorization": f"Bearer {tokens[role]}"} if role else {}
        where = place.hostname or "", place.port or 0
        return ask(where, "GET", path, timeout=60, headers=headers, tls=context)[0]

    wait_until(lambda: status("/", "read") == 200, "the tokens to be known")
    assert [status("/"), status("/", "report"), status("/services/web", "read"), status("/page/page.css")] == [
        401,
        403,
        200,
        401,
    ]


def test_a_stream_says_that_something_changed_to_so_many_and_ends_with_up(up: Pointsman) -> None:
    streams = [requests.get(f"{up.url}/page/changes", stream=True, timeout=60) for _ in range(MOST_LISTENERS + 1)]
    assert [each.status_code for each in streams] == [200] * MOST_LISTENERS + [503]
    lines = streams[0].iter_lines()
    first = next(line for line in lines if line.startswith(b"data: "))
    up.send(told("api", 3, "dc1", instance("api", status="critical", output="again")))
    assert next(line for line in lines if line.startswith(b"data: ")) != first
    for each in streams:
        each.close()

    def has_room() -> bool:
        with requests.get(f"{up.url}/page/changes", stream=True, timeout=60) as stream:
            return stream.status_code == 200

    wait_until(has_room, "room for another, because the others went")


def test_the_page_of_any_store_is_the_same(up: Pointsman, tmp_path: Path) -> None:
    child = Child("page", [POINTSMAN, "page", "--store", up.store, "--listen", "127.0.0.1:0"], tmp_path)
    with child:
        url = json.loads(wait_until(child.out.read_bytes, "the page to be ready", children=[child]))["url"]
        ours, theirs = (text_of(requests.get(each, timeout=60).text) for each in (url, up.url))
        clock = re.compile(r"\d\d:\d\d(:\d\d)?")
        assert clock.sub("", ours) == clock.sub("", theirs)
        assert requests.get(f"{url}/metrics", timeout=60).status_code == 404
        # Who listens does not keep it from ending.
        with requests.get(f"{url}/page/changes", stream=True, timeout=60) as stream:
            child.terminate()
            assert b"retry: 1000" in list(stream.iter_lines())
