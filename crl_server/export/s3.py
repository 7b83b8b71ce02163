"""A bucket in storage of S3's kind, through boto3 (the extra ``s3``).

Objects are written whole or not at all by the protocol itself. What changes under one name is written on the condition
that the object is still the one that was read (``If-Match``, ``If-None-Match``), so that of two servers neither sets
the other back.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crl_server.export.places import Held
from crl_server.export.tree import MAX_POINTER
from crl_server.lists.public_files import IMMUTABLE, PublicKind, kind_of
from crl_server.settings import Bucket
from verifier.errors import FormatError, LoadlockError, Refused, Unreachable, UsageError

CONNECT_TIMEOUT = 5
"""Seconds to wait for a connection."""
READ_TIMEOUT = 20
"""Seconds to wait for the next bytes."""
ATTEMPTS = 2
"""How often a request is made before the pass is given up; the next pass comes soon."""
DENIED = frozenset({401, 403})
CONFLICT = frozenset({409, 412})


class S3:
    """A bucket, or a part of one.

    Args:
        settings: which one.
        max_age: for how many seconds caches may hold what changes under one name.

    Raises:
        UsageError: ``usage.extra``; ``usage.configuration`` for a profile or region that boto3 does not take.
    """

    def __init__(self, settings: Bucket, max_age: int) -> None:
        self._settings = settings
        self._changing = f"public, max-age={max_age}, must-revalidate"
        self._client = _client(settings)

    def mark(self, data: bytes) -> str:
        """The entity tag that the storage gives to an object that was put in one piece."""
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def marks(self) -> Mapping[str, str]:
        """As :class:`crl_server.export.places.Place` says."""
        found = {}
        with self._failing():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._settings.bucket, Prefix=self._settings.prefix
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    name = entry["Key"].removeprefix(self._settings.prefix)
                    if kind_of(name):
                        found[name] = entry["ETag"].strip('"')
        return found

    def read(self, name: str) -> Held | None:
        """As :class:`crl_server.export.places.Place` says."""
        try:
            with self._failing():
                answer = self._client.get_object(**self._address(name))
                with answer["Body"] as body:
                    data = body.read(MAX_POINTER + 1)
        except _MissingError:
            return None
        if len(data) > MAX_POINTER:
            raise FormatError("format.too-large", "an exported file is too large", expected=f"{MAX_POINTER} bytes")
        return Held(data, answer["ETag"])

    def put(self, name: str, data: bytes, kind: PublicKind) -> None:
        """As :class:`crl_server.export.places.Place` says."""
        self._put(name, data, kind, {})

    def replace(self, name: str, data: bytes, kind: PublicKind, held: Held | None) -> None:
        """As :class:`crl_server.export.places.Place` says; unconditionally where the storage knows no conditions."""
        condition = {"IfMatch": held.tag} if held else {"IfNoneMatch": "*"}
        self._put(name, data, kind, condition if self._settings.conditional else {})

    def delete(self, name: str) -> None:
        """As :class:`crl_server.export.places.Place` says."""
        with self._failing():
            self._client.delete_object(**self._address(name))

    def _put(self, name: str, data: bytes, kind: PublicKind, condition: dict[str, str]) -> None:
        with self._failing():
            self._client.put_object(
                **self._address(name),
                **condition,
                Body=data,
                ContentType=kind.media_type,
                ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                CacheControl=IMMUTABLE if kind.caching == IMMUTABLE else self._changing,
            )

    def _address(self, name: str) -> dict[str, str]:
        return {"Bucket": self._settings.bucket, "Key": self._settings.prefix + name}

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of the storage, and of the way there, as ours."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except ClientError as error:
            raise _judged(error.response, self._settings.bucket) from error
        except NoCredentialsError as error:
            raise Refused("export.denied", "there are no credentials for the storage", found=str(error)) from error
        except (BotoCoreError, OSError) as error:
            raise Unreachable(
                "unreachable.storage", "the storage did not answer as it should", found=ascii(str(error))[:300]
            ) from error


class _MissingError(Exception):
    """There is no such object."""


def _judged(response: Mapping[str, Any], bucket: str) -> LoadlockError | _MissingError:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(response.get("Error", {}).get("Code", ""))
    found = ascii(f"status {status} {code}: {response.get('Error', {}).get('Message', '')}")[:300]
    if code == "NoSuchKey":
        return _MissingError()
    if code == "NoSuchBucket":
        return Refused("export.denied", f"there is no bucket {bucket!r}", found=found)
    if status in DENIED:
        return Refused("export.denied", "the storage does not let us", found=found)
    if status in CONFLICT:
        return Refused("export.conflict", "somebody else wrote to the storage at the same time", found=found)
    return Unreachable("unreachable.storage", "the storage did not do what it was asked", found=found)


def _client(settings: Bucket) -> Any:
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError as error:
        raise UsageError(
            "usage.extra", "what exports to storage of S3's kind is not installed", found=f"no {error.name}",
            expected="loadlock[s3]",
        ) from error  # fmt: skip
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # Other storage than Amazon's does not know the checksums that the library sends unasked; MD5 goes along anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
    )
    try:
        session = Session(profile_name=settings.profile or None)
        return session.client(
            "s3", endpoint_url=settings.endpoint or None, region_name=settings.region or None, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            "usage.configuration", "the export to a bucket cannot be set up", found=ascii(str(error))[:300],
            expected="a region, and a profile that exists",
        ) from error  # fmt: skip
