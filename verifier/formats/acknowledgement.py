"""Acknowledgements: what a host claims of itself, and the identity it speaks with (docs/spec/acknowledgement.md)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta

from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import PLAIN, Digest, Name, PluginId, Text, Time, Version

MAX_ACKNOWLEDGEMENT = 256 * 1024
"""Size cap of an acknowledgement in bytes."""
MAX_PLUGINS = 500
"""How many plugins a claim may name."""
MAX_IDENTITY = 4_096
"""Size cap of ``identity.json`` in bytes."""
MAX_NUMBER = 2_000_000_000
"""The highest number of a list, a policy or plugins that a claim may name: no server's rows are numbered higher."""

_Count = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
_Version = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


class Instance(Text):
    """The random id of one process of a host: 32 lower-case hexadecimal digits."""

    __slots__ = ()
    grammar = r"[0-9a-f]{32}"
    words = "32 lower-case hexadecimal digits"


class RunningPlugin(Document, frozen=True, kw_only=True):
    """A plugin that an instance has loaded; ``stopped`` when it may be called no more."""

    id: PluginId
    version: Version
    digest: Digest
    since: Time
    state: Literal["running", "stopped"]


class Acknowledgement(Document, frozen=True, kw_only=True):
    """What one instance of a host goes by, and what it runs; ``omitted`` plugins did not fit."""

    v: Literal[1]
    deployment: Name
    host: Name
    instance: Instance
    epoch: _Version
    seq: _Count
    policy: _Version
    plugins: Annotated[tuple[RunningPlugin, ...], Meta(max_length=MAX_PLUGINS)]
    omitted: _Count = 0
    loadlock: Annotated[str, Meta(min_length=1, max_length=64, pattern=PLAIN)]
    at: Time

    def __post_init__(self) -> None:
        digests = [plugin.digest for plugin in self.plugins]
        if any(a >= b for a, b in pairwise(digests)):
            raise ValueError("plugins: expected ascending order by digest, each once")


class Acknowledged(Document, frozen=True, kw_only=True):
    """``acknowledged.json``: the list that the server was told of last, and when."""

    v: Literal[1]
    epoch: _Version
    seq: _Count
    at: Time


class HostIdentity(Document, frozen=True, kw_only=True):
    """``identity.json``: as which host a machine speaks, and the token that allows it to."""

    v: Literal[1]
    host: Name
    token: Annotated[str, Meta(min_length=20, max_length=200, pattern=r"\A[!-~]+\Z")]


def parse_acknowledgement(data: bytes) -> Acknowledgement:
    """Read a claim.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(data, Acknowledgement, limit=MAX_ACKNOWLEDGEMENT, what="acknowledgement")


def dump_acknowledgement(claim: Acknowledgement) -> bytes:
    """Write a claim; the inverse of :func:`parse_acknowledgement`."""
    return dumps(claim)


def parse_identity(data: bytes) -> HostIdentity:
    """Read ``identity.json``.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(data, HostIdentity, limit=MAX_IDENTITY, what="host identity")


def parse_acknowledged(data: bytes) -> Acknowledged:
    """Read ``acknowledged.json``.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(data, Acknowledged, limit=MAX_IDENTITY, what="acknowledged.json")
