"""Requests to the URL of a function, signed for IAM as whoever has this process's AWS credentials."""

from collections.abc import Mapping
from hashlib import sha256

from pointsman.model.errors import PointsmanError


def signed(method: str, url: str, headers: Mapping[str, str], body: bytes, region: str) -> dict[str, str]:
    """`headers` with the signature of the request (SigV4) to a function in `region`. Raises PointsmanError without
    credentials.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
    """
    # Imported here: who asks no function needs no client of AWS.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        credentials = Session().get_credentials()
        if credentials is None:
            reason = "the URL of a function needs AWS credentials, and there are none; say which with AWS_PROFILE"
            raise PointsmanError(f"{url}: {reason}")
        request = AWSRequest(method, url, {**headers, "x-amz-content-sha256": sha256(body).hexdigest()}, data=body)
        SigV4Auth(credentials, "lambda", region).add_auth(request)
    except BotoCoreError as error:
        raise PointsmanError(f"{url}: the request cannot be signed: {error}") from None
    return {name.lower(): value for name, value in request.headers.items()}
