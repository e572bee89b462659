"""An emulator of AWS that nobody here wrote, as a process: TLS only, signatures checked, IAM in force."""

import importlib.metadata
from pathlib import Path

from tests.aws.function_url import certificate
from tests.aws.template import ACCOUNT, REGION
from tests.fleet.process import REPOSITORY, Child, Ports, wait_listening

IP = "127.0.0.1"
ENVIRONMENT = REPOSITORY / ".venv/ministack"
"""Where the emulator is installed (the Makefile puts it there). The functions run on its Python."""

_ROOT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Emulator(Child):
    """All of AWS on one port of this machine. It forgets everything when it ends.

    `access` is the environment with which a program takes it for AWS, `root` that of the account's owner.
    """

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.port = ports.take(IP)
        chain = certificate(directory, IP)
        self.ca = directory / "public-ca.pem"
        self.url = f"https://{IP}:{self.port}"
        scratch = directory / "scratch"
        scratch.mkdir()
        settings = {
            "AUTH": "true",
            # Functions inherit it.
            "AWS_CA_BUNDLE": str(directory / "public-ca.pem"),
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_HOST": IP,
            "MINISTACK_REGION": REGION,
            "MINISTACK_SSL_CERT": str(chain),
            "MINISTACK_SSL_KEY": str(chain),
            # Every process of a function has a copy of the layer, and imports it once.
            "PYTHONDONTWRITEBYTECODE": "1",
            "S3_DATA_DIR": str(scratch / "s3"),
            "STATE_DIR": str(scratch / "state"),
            "TMPDIR": str(scratch),
            "USE_SSL": "1",
        }
        # Its own command line would take port 443 as well, if that is free.
        command = [ENVIRONMENT / "bin/python", "-m", "hypercorn", "ministack.app:app", "--bind", f"{IP}:{self.port}"]
        command += ["--certfile", chain, "--keyfile", chain]
        super().__init__("emulator", command, directory, {**_ROOT, **settings})
        self.access = {
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.url,
            "NO_PROXY": IP,
        }
        self.root = {**self.access, **_ROOT}

    def start(self) -> None:
        """Start it, and return when it answers."""
        super().start()
        wait_listening(self, IP, self.port)


def version(environment: Path, distribution: str) -> str:
    """The version of a distribution in another environment."""
    packages = [str(path) for path in environment.glob("lib/*/site-packages")]
    (found,) = importlib.metadata.distributions(name=distribution, path=packages)
    return found.version
