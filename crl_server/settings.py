"""``server/settings.toml``: how this server runs, as its operator wants it (docs/spec/settings.md).

Everything has a default; without the file the server runs on what it finds in its deployment's directory.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from crl_server.toml_file import parse_toml, read_toml
from verifier.addresses import split
from verifier.errors import UsageError
from verifier.formats.strict_json import Document
from verifier.formats.text import Duration, Name

MAX_EXPORTS = 10
MAX_WEBHOOKS = 50
MAX_CACHED = 300
"""How long, in seconds, a cache may hold what changes under one name: so much later hosts hear of a revocation."""
MAX_AT_ONCE = 100_000
MIN_EACH_SECOND, MAX_EACH_SECOND = 0.01, 10_000.0
"""Bounds of what a server may be told to let everybody write; there is no way to lift the limit altogether."""

_WHAT = "settings.toml"
_Line = Annotated[str, Meta(min_length=1, max_length=500)]

Topic = Literal["revocation", "rule", "reinstatement", "expiry", "coverage"]
"""What a webhook can be told of."""


class Bucket(Document, frozen=True, kw_only=True):
    """A place in storage of S3's kind. Credentials are not settings: they are found where boto3 finds them."""

    bucket: Annotated[str, Meta(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
    prefix: Annotated[str, Meta(max_length=200, pattern=r"^([A-Za-z0-9._-]+/)*$")] = ""
    endpoint: Annotated[str, Meta(max_length=500)] = ""
    region: Annotated[str, Meta(max_length=50)] = ""
    profile: Annotated[str, Meta(max_length=100)] = ""
    conditional: bool = True


class Export(Document, frozen=True, kw_only=True):
    """Where the public tree is copied to: ``directory`` or ``s3``, one of the two."""

    name: Name
    directory: Annotated[str, Meta(max_length=1000)] = ""
    s3: Bucket | None = None
    max_age: Annotated[int, Meta(ge=0, le=MAX_CACHED)] = 5
    keep: Duration = Duration("P1D")


class Webhook(Document, frozen=True, kw_only=True):
    """Who is told, of what, and with which secret (a file beside this one, of mode 0600)."""

    name: Name
    url: _Line
    secret: Annotated[str, Meta(min_length=1, max_length=1000)]
    topics: Annotated[tuple[Topic, ...], Meta(min_length=1, max_length=10)] = (
        "revocation",
        "rule",
        "reinstatement",
        "expiry",
        "coverage",
    )
    internal: bool = False


class Metrics(Document, frozen=True, kw_only=True):
    """Who may read ``/metrics``: whoever connects from this machine, holders of a token, or anybody."""

    access: Literal["loopback", "token", "open"] = "loopback"


class Limits(Document, frozen=True, kw_only=True):
    """How many writes each identity may send: so many at once, and so many a second in the long run."""

    writes_at_once: Annotated[int, Meta(ge=1, le=MAX_AT_ONCE)] = 300
    writes_each_second: Annotated[float, Meta(ge=MIN_EACH_SECOND, le=MAX_EACH_SECOND)] = 10.0


class Settings(Document, frozen=True, kw_only=True):
    """The whole file."""

    export: Annotated[tuple[Export, ...], Meta(max_length=MAX_EXPORTS)] = ()
    webhook: Annotated[tuple[Webhook, ...], Meta(max_length=MAX_WEBHOOKS)] = ()
    metrics: Metrics = Metrics()
    limits: Limits = Limits()


def read_settings(path: Path) -> Settings:
    """The settings of a server; the defaults where there is no such file.

    Raises:
        FormatError: any ``format.*`` code.
        UsageError: ``usage.configuration`` for settings that contradict themselves; ``io.failed``.
    """
    return _checked(read_toml(path, Settings))


def parse_settings(data: bytes) -> Settings:
    """Settings that are still to be written; raises as :func:`read_settings`."""
    return _checked(parse_toml(data, Settings, _WHAT))


def _checked(settings: Settings) -> Settings:
    for export in settings.export:
        _check_export(export)
    for webhook in settings.webhook:
        check_address(webhook.url, f"the webhook {webhook.name!r}", secret=True)
    for kind, names in (
        ("exports", [found.name for found in settings.export]),
        ("webhooks", [found.name for found in settings.webhook]),
    ):
        if len(set(names)) < len(names):
            raise _contradiction(f"two {kind} of one name", "each name once")
    return settings


def check_address(url: str, whose: str, *, secret: bool = False) -> None:
    """Demand https, or http to this machine itself.

    Args:
        url: the address.
        whose: what it is the address of, for the error.
        secret: whether it may carry a path and a query, which are then not repeated.

    Raises:
        UsageError: ``usage.configuration``.
    """
    parts = split(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    more = parts.fragment or (not secret and (parts.query or parts.path.strip("/")))
    if not secure or not host or more or "@" in parts.netloc or not url.isprintable() or " " in url:
        shown = f"{parts.scheme}://{host}"
        raise _contradiction(f"{whose} at {shown!a}", "https://…, without user and fragment")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_export(export: Export) -> None:
    if bool(export.directory) == (export.s3 is not None):
        raise _contradiction(f"the export {export.name!r}", "either 'directory' or 's3'")
    if export.directory and not Path(export.directory).is_absolute():
        raise _contradiction(f"the export {export.name!r} to {export.directory!a}", "an absolute path")
    if export.s3 is not None and export.s3.endpoint:
        check_address(export.s3.endpoint, f"the export {export.name!r}")


def _contradiction(found: str, expected: str) -> UsageError:
    return UsageError(
        "usage.configuration", f"{_WHAT} contradicts itself", found=found, expected=expected,
        todo=f"Correct server/{_WHAT}.",
    )  # fmt: skip
