"""Forms as browsers send them, read under a cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from fastapi import Request

from crl_server.api.bodies import capped
from verifier.errors import UsageError

MAX_FORM = 256 * 1024
"""Size cap of a form in bytes."""
MAX_FIELDS = 50
MEDIA_TYPE = "application/x-www-form-urlencoded"


class Form(NamedTuple):
    """A form's fields; a field may stand there several times."""

    fields: Mapping[str, Sequence[str]]

    def text(self, name: str) -> str:
        """A field's text without blanks around it and with plain line ends; empty when it is not there."""
        return self.fields.get(name, ("",))[0].replace("\r\n", "\n").strip()


async def read_form(request: Request) -> Form:
    """The form in a request.

    Raises:
        FormatError: ``format.too-large``.
        UsageError: ``request.invalid``.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UsageError("request.invalid", "this is no form", expected=MEDIA_TYPE)
    body = await capped(request, MAX_FORM).body()
    try:
        return Form(parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise UsageError(
            "request.invalid", "the form is malformed", expected=f"at most {MAX_FIELDS} fields in UTF-8"
        ) from error
