"""What S3's errors mean for a store, and the messages for them."""

from enum import Enum, auto

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ResponseStreamingError,
)

from pointsman.store.protocol import StoreError


class Refusal(Enum):
    """The meaning of one failed request to S3."""

    ABSENT = auto()
    """No object has the key (404)."""
    UNCHANGED = auto()
    """The object still has the given etag (304)."""
    LOST = auto()
    """A conditional write found another object there, or none (412; 404 is ABSENT)."""
    CONFLICT = auto()
    """Another request for the key was running (409): the write may be repeated after reading what is there."""
    UNKNOWN = auto()
    """The outcome is unknown: too many requests, an error of the service, a broken connection, a timeout. It may be
    repeated after a pause."""
    FATAL = auto()
    """It cannot work until a person changes something."""


_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_PASSING = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"})

NO_BUCKET = (
    "the bucket does not exist: make it (aws s3 mb s3://NAME; with --endpoint-url for another store than AWS's), or "
    "name another one; Pointsman never makes one"
)
"""What is wrong without a bucket, and the way out."""

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_WAYS_OUT = {
    "NoSuchBucket": NO_BUCKET,
    "AccessDenied": (
        "access denied: allow s3:GetObject and s3:PutObject on these keys, and s3:ListBucket on the bucket "
        "(without that one S3 also refuses to say that an object is absent)"
    ),
    "AllAccessDisabled": "access to the bucket is disabled: check the account",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION to that one",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION to that one",
    "ExpiredToken": "the credentials have expired: renew them",
    "InvalidAccessKeyId": "the store does not know the credentials: check the profile or the role in use",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: check the profile or the role in use",
    "KeyTooLongError": "the key is longer than the 1,024 bytes that S3 allows: use shorter names",
}


def refusal_of(error: ClientError | BotoCoreError) -> Refusal:
    """The meaning of `error` for its request."""
    if isinstance(error, ClientError):
        return _refusal_of_answer(code_of(error), _status(error))
    if isinstance(error, HTTPClientError | ConnectionError | ResponseStreamingError | IncompleteReadError):
        return Refusal.UNKNOWN
    return Refusal.UNKNOWN if isinstance(error, ChecksumError) else Refusal.FATAL


def _refusal_of_answer(code: str, status: int) -> Refusal:
    if code == "NoSuchBucket":
        return Refusal.FATAL
    if code in _CONFLICTS:
        return Refusal.CONFLICT
    if code in _PASSING or status >= 500 or status == 429:
        return Refusal.UNKNOWN
    return {304: Refusal.UNCHANGED, 404: Refusal.ABSENT, 412: Refusal.LOST}.get(status, Refusal.FATAL)


def was_retried(error: ClientError | BotoCoreError) -> bool:
    """Whether the client had sent the request before, so that an earlier one may have been carried out."""
    return isinstance(error, ClientError) and error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def code_of(error: ClientError | BotoCoreError) -> str:
    """S3's error code, or the kind of failure without an answer: `SlowDown`, `ReadTimeoutError`."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else type(error).__name__


def explained(where: str, error: ClientError | BotoCoreError) -> StoreError:
    """The StoreError with what is wrong at `where` (`s3://bucket/key`) and what to do about it."""
    reason = _WAYS_OUT.get(code_of(error))
    if isinstance(error, NoCredentialsError):
        reason = "no AWS credentials were found: set AWS_PROFILE, or run where a role gives them"
    return StoreError(f"store {where}: " + (reason or f"{code_of(error)}: {' '.join(str(error).split())}"))


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
