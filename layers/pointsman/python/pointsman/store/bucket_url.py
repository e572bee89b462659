"""The URL of a store in a bucket: which bucket, under which prefix, of which object store."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from pointsman.store.protocol import StoreError

_FORM = "s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=NAME"
_FIRST_REGION = "us-east-1"
"""The region of an object store that has none, or has this one unless it is told otherwise: all but Garage."""

_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A bucket by its name, and the `prefix` of all keys in it: "", or a text that ends in a slash.

    `endpoint` is the URL of the object store, "" for AWS. `region` is "" for that of the AWS settings.
    """

    name: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""


def read_bucket_url(url: str, variables: Mapping[str, str] = os.environ) -> BucketUrl:
    """The bucket that `url` names: `s3://bucket`, with `/prefix`, `?endpoint=` and `&region=` or without.

    Without an endpoint in the URL, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL of `variables` is the endpoint, as for other
    AWS clients. Raises StoreError.
    """
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=2)
    except ValueError as error:
        raise StoreError(f"store {url}: not {_FORM} ({error})") from None
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.fragment:
        raise StoreError(f"store {url}: not {_FORM}")
    options = dict(given)
    if len(options) < len(given) or options.keys() - {"endpoint", "region"}:
        raise StoreError(f"store {url}: not {_FORM}: each of endpoint and region may be given once, and nothing else")
    endpoint = _endpoint(url, options["endpoint"]) if "endpoint" in options else ""
    endpoint = endpoint or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or ""
    region = options.get("region", "")
    if "region" in options and not _REGION.match(region):
        raise StoreError(f'store {url}: region: "{region}" is not the name of a region')
    prefix = parts.path.strip("/")
    return BucketUrl(parts.netloc, f"{prefix}/" if prefix else "", endpoint, region)


def region_of(place: BucketUrl, configured: str | None) -> str:
    """The region to sign for, where the AWS settings say `configured`; "" if nothing says one and AWS needs it."""
    return place.region or configured or (_FIRST_REGION if place.endpoint else "")


def _endpoint(url: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise StoreError(
            f'store {url}: endpoint: "{text}" is not http://HOST:PORT or https://HOST:PORT; credentials come from '
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from a profile"
        )
    return text.rstrip("/")
