"""People and programs with one of the stack's policies each, and what they send."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import orjson
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.aws.template import REGION
from tests.deploy.emulator import IP
from tests.deploy.progress import SOON_SECONDS
from tests.fleet.process import FleetError


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an access key."""

    name: str
    key: str
    secret: str

    @property
    def credentials(self) -> dict[str, str]:
        """The environment of a program that runs as this user."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    def client(self, service: str) -> Any:
        """A client of a service of AWS."""
        return boto3.client(service, aws_access_key_id=self.key, aws_secret_access_key=self.secret)  # type: ignore[call-overload]


def user(name: str, policy: str) -> User:
    """A new user who may do what the policy with this ARN says, and nothing else."""
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=policy)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return User(name, made["AccessKeyId"], made["SecretAccessKey"])


def dismiss(name: str, policy: str) -> None:
    """End what `user` began: no stack can be deleted while somebody has its policies."""
    iam = boto3.client("iam")
    iam.detach_user_policy(UserName=name, PolicyArn=policy)


class FunctionUrl:
    """The URL of a function, whose host is at `port` of this machine; `ca` vouches for it."""

    def __init__(self, url: str, port: int, ca: Path) -> None:
        self.host = str(urlsplit(url).hostname)
        self._url = url.rstrip("/")
        self._pool = urllib3.HTTPSConnectionPool(
            IP,
            port,
            server_hostname=self.host,
            assert_hostname=self.host,
            ca_certs=str(ca),
            timeout=SOON_SECONDS,
            retries=False,
        )

    def ask(self, who: User | None, method: str, path: str, body: bytes = b"", kind: str = "json") -> tuple[int, Any]:
        """The status of a request and its parsed answer; `who` signs it, None: nobody does."""
        headers = {"host": self.host, "content-type": f"application/{kind}"}
        request = AWSRequest(method, self._url + path, headers, data=body)
        if who is not None:
            SigV4Auth(Credentials(who.key, who.secret), "lambda", REGION).add_auth(request)
        try:
            answer = self._pool.request(method, path, body=body, headers=dict(request.headers.items()))
        except urllib3.exceptions.HTTPError as error:
            raise FleetError(
                f"{method} {self._url}{path}: an answer was expected, and there was none: {error}"
            ) from error
        try:
            return answer.status, orjson.loads(answer.data or b"null")
        except orjson.JSONDecodeError:
            return answer.status, answer.data.decode(errors="replace")
