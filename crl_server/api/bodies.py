"""Request bodies, read under a cap, and within a time, while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

from fastapi import Request
from fastapi.datastructures import FormData
from msgspec import Meta

from crl_server.plugins.admission import Upload
from crl_server.revocation.revoking import MAX_NOTE
from verifier.errors import FormatError, Unreachable, UsageError
from verifier.formats.dsse import MAX_SET
from verifier.formats.strict_json import Document, parse
from verifier.formats.text import PARAGRAPHS
from verifier.judging.supply_chain import MAX_CHAIN
from verifier.wheels.wheel import DEFAULT_LIMITS

T = TypeVar("T", bound=Document)

Note = Annotated[str, Meta(max_length=MAX_NOTE, pattern=PARAGRAPHS)]
"""A few sentences; lines may end in them, nothing else that is not shown as it is written."""
Confirm = Annotated[int, Meta(ge=0, le=10**9)]
"""How many admitted artifacts somebody has confirmed that they mean to deny."""
UNIQUE = {"uniqueItems": True}
MAX_JSON = 256 * 1024
"""Size cap of a JSON body in bytes."""
MAX_UPLOAD = DEFAULT_LIMITS.archive + MAX_SET + MAX_CHAIN + 64 * 1024
"""Size cap of an upload in bytes: a wheel, its attestation set, its links, and what multipart puts around them."""
MAX_FILE_NAME = 255
PATIENCE = 30.0
"""How long, in seconds, any body may take to arrive."""
SLOWEST = 32 * 1024
"""How many bytes buy a body one more second."""
PARTS = ("wheel", "attestations")
OPTIONAL = ("chain",)


async def read_json(request: Request, kind: type[T], limit: int | None = None) -> T:
    """A JSON body in its type.

    Args:
        request: the request.
        kind: the type.
        limit: size cap of the body in bytes; :data:`MAX_JSON` when nothing is said.

    Raises:
        FormatError: any ``format.*`` code.
        UsageError: ``request.slow``.
    """
    most = MAX_JSON if limit is None else limit
    return parse(await capped(request, most).body(), kind, limit=most, what="request body")


class _Part(Protocol):
    """A file of a multipart body."""

    async def read(self, size: int = -1) -> bytes:
        """The whole of it."""


class Received(NamedTuple):
    """An upload that has arrived, and lies in files until somebody reads it."""

    file_name: str
    files: Mapping[str, _Part]

    async def read(self) -> Upload:
        """The whole of it, in memory."""
        wheel, attestations = [await self.files[name].read() for name in PARTS]
        chain = await self.files["chain"].read() if "chain" in self.files else b""
        return Upload(self.file_name, wheel, attestations, chain)


@asynccontextmanager
async def receive_upload(request: Request) -> AsyncIterator[Received]:
    """The wheel, the attestation set and, where there are any, layout and links in a multipart body. However long it
    takes to arrive, it takes no memory meanwhile.

    Raises:
        FormatError: ``format.too-large``.
        UsageError: ``request.invalid``, ``request.slow``.
        Unreachable: ``io.failed``.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise _malformed("a body of another type")
    form = await _form(request)
    try:
        parts = [(name, part) for name, part in form.multi_items() if not isinstance(part, str)]
        if sorted(name for name, _ in parts if name not in OPTIONAL) != sorted(PARTS) or len(parts) != len(dict(parts)):
            raise _malformed(f"parts {[name[:40] for name, _ in form.multi_items()]!r}")
        files = dict(parts)
        yield Received(_file_name(files["wheel"].filename or ""), files)
    finally:
        await form.close()


async def _form(request: Request) -> FormData:
    try:
        return await capped(request, MAX_UPLOAD).form(max_files=len(PARTS + OPTIONAL), max_fields=0)
    except OSError as error:
        raise Unreachable(
            "io.failed", "the upload cannot be kept while it is read", found=error.strerror or str(error)
        ) from error


def _file_name(name: str) -> str:
    if not 1 <= len(name) <= MAX_FILE_NAME or not name.isprintable() or "/" in name or "\\" in name:
        raise _malformed(f"a wheel named {name[:80]!r}")
    return name


def _malformed(found: str) -> UsageError:
    return UsageError(
        "request.invalid",
        "the upload is malformed",
        found=found,
        expected="multipart/form-data with one file 'wheel', under its own name, one file 'attestations', "
        "and at most one file 'chain'",
    )


def capped(request: Request, limit: int) -> Request:
    """The same request, whose body raises as soon as it exceeds ``limit`` bytes, or arrives too slowly."""
    _check(int(length) if (length := request.headers.get("content-length", "0")).isdecimal() else 0, limit)
    received, began = 0, asyncio.get_running_loop().time()

    async def receive() -> MutableMapping[str, Any]:
        nonlocal received
        try:
            async with asyncio.timeout_at(began + PATIENCE + received / SLOWEST):
                message = await request.receive()
        except TimeoutError as error:
            raise UsageError(
                "request.slow", "the body arrives too slowly", found=f"{received} bytes",
                expected=f"the whole of it within {PATIENCE:g} s, and one more for each {SLOWEST} bytes",
            ) from error  # fmt: skip
        received += len(message.get("body", b""))
        _check(received, limit)
        return message

    return Request(request.scope, receive)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise FormatError("format.too-large", "the request's body is too large", expected=f"at most {limit} bytes")
