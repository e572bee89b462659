"""A stack that stands, and one with a mesh in it."""

from collections.abc import Iterator

import pytest
from pointsman.store import s3
from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.probe import mark

from tests.aws.harness import Aws
from tests.aws.mesh import start


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Aws, dict[str, bytes]]]:
    """A stack, and what its bucket holds with a healthy mesh: making both takes a while."""
    with Aws() as aws:
        start(aws)
        # Somebody wrote with a command already: the probe of a bucket has 640 calls.
        key, data = mark(read_bucket_url(f"s3://{aws.stack.refs['Bucket']}"))
        aws.s3.put_object(Bucket=aws.stack.refs["Bucket"], Key=key, Body=data)
        yield aws, aws.objects()


@pytest.fixture
def aws(standing: tuple[Aws, dict[str, bytes]]) -> Aws:
    """The stack of the template, empty."""
    standing[0].restore({})
    return standing[0]


@pytest.fixture
def mesh(standing: tuple[Aws, dict[str, bytes]]) -> Aws:
    """The stack of the template with a healthy mesh in it."""
    aws, objects = standing
    aws.restore(objects)
    return aws


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower looks for what others wrote each time, as if a second had passed since."""
    monkeypatch.setattr(s3, "COMPARED_SECONDS", 0.0)
