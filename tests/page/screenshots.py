"""Pictures of the page for the README: `make screenshots` writes them into docs/images.

A real `up` with seven services in three datacenters, of which one has failed over and another has nobody left, and the
system's Chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import orjson
from pointsman.cli.main import run

from tests.fleet.control_plane import Pointsman
from tests.fleet.process import REPOSITORY
from tests.page.browser import CHROMIUM, chromium
from tests.page.mesh import told
from tests.pipeline.meshes import (
    Document,
    gateway,
    gateway_instance,
    instance,
    proxy_defaults,
    resolver,
    router,
    sidecar,
    splitter,
)

DATACENTERS = ("dc1", "dc2", "dc3")
SERVICES = ("api", "cart", "mail", "payments", "search", "users", "web")
ILL = "Get http://10.0.0.1:8080/health: dial tcp 10.0.0.1:8080: connect: connection refused"
WELL = "HTTP GET http://10.0.0.1:8080/health: 200 OK"
PICTURES = (
    ("page", "/", "light", 1100, 560),
    ("page-phone", "/", "dark", 390, 700),
    ("service", "/services/cart?dc=dc1", "light", 1100, 900),
)
"""Each with its path, colors, width and height."""


def mesh() -> list[Document]:
    """The config."""
    return [
        proxy_defaults("http", "local"),
        *(resolver(name, Failover={"*": {"Datacenters": ["dc2", "dc3"]}}) for name in SERVICES if name != "mail"),
        splitter("shop", {"Weight": 95, "Service": "web"}, {"Weight": 5, "Service": "search"}),
        router("shop", {"Match": {"HTTP": {"PathPrefix": "/cart"}}, "Destination": {"Service": "cart"}}),
        *(gateway(dc, f"gw-{dc}") for dc in DATACENTERS),
        *(sidecar("front", *SERVICES, "shop", dc=dc) for dc in DATACENTERS),
    ]


def live(pointsman: Pointsman) -> None:
    """What happens: cart of dc1 dies, mail dies where it is called."""
    for dc in DATACENTERS:
        pointsman.send(told("", 1, dc, gateway_instance(1), gateway_instance(2)))
        for name in SERVICES:
            pointsman.send(told(name, 1, dc, *(instance(name, number, output=WELL) for number in (1, 2, 3))))
    pointsman.send(told("cart", 2, "dc1", *(instance("cart", number, "critical", output=ILL) for number in (1, 2, 3))))
    pointsman.send(told("mail", 2, "dc3", instance("mail", 1, "critical", output=ILL)))


def main() -> None:
    """The command line: `python -m tests.page.screenshots [--out docs/images]`."""
    parser = argparse.ArgumentParser(description="Take pictures of the page.")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/images")
    out: Path = parser.parse_args().out
    if not CHROMIUM:
        sys.exit("no Chromium is here; Debian's package chromium-headless-shell has it")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, Pointsman(Path(directory), "mesh.example") as pointsman:
        config = Path(directory, "mesh.json")
        config.write_bytes(orjson.dumps(mesh()))
        if code := run(["apply", "--url", pointsman.url, "--message", "the shop", str(config)]):
            sys.exit(code)
        live(pointsman)
        with chromium() as browser:
            for name, path, scheme, width, height in PICTURES:
                page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
                page.goto(pointsman.url + path)
                page.wait_for_selector(".live.on")
                page.screenshot(path=out / f"{name}.png")
                page.close()
                print(out / f"{name}.png", (out / f"{name}.png").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
