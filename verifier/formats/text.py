"""Small textual values that recur in every format, each valid by construction.

They are subclasses of ``str``: a value of such a type has passed its grammar, so nobody has to ask again.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from msgspec import Meta

from verifier.formats.packages import canonical, normalised, order, versions
from verifier.formats.patterns import compiled

if TYPE_CHECKING:
    from packaging.version import Version as PackagingVersion

# What a terminal or a reviewer's screen would act on instead of showing: control characters, line separators, byte
# order marks, and the bidirectional overrides that make text read otherwise than it is written (CVE-2021-42574).
_ACTS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff"
PLAIN = rf"\A[^{_ACTS}]*\Z"
"""The pattern of one line of text that shows as it is written."""
URI = rf"\A[^ {_ACTS}]*\Z"
"""The pattern of a URI: such text without a space. What it identifies is compared whole, never taken apart."""
PARAGRAPHS = rf"\A(?:[^{_ACTS}]|\n)*\Z"
"""The pattern of such text in several lines."""
PATTERNS = {
    PLAIN: "one line of text, without control characters or bidirectional overrides",
    PARAGRAPHS: "text without control characters or bidirectional overrides",
    URI: "a URI, without spaces or control characters",
}
"""Patterns in words, for who reads an error."""


def caseless(text: str) -> str:
    """What a text becomes where case, compatibility forms and ways to write an accent are not told apart: NFKC, case
    folding, NFKC (The Unicode Standard, section 3.13).
    """
    if text.isascii():
        return text.lower()
    from unicodedata import normalize  # nearly all that is read is ASCII

    return normalize("NFKC", normalize("NFKC", text).casefold())


Line = Annotated[str, Meta(max_length=500, pattern=PLAIN)]
Sentence = Annotated[str, Meta(min_length=1, max_length=500, pattern=PLAIN)]
Uri = Annotated[str, Meta(max_length=1000, pattern=URI)]


class Text(str):
    """A string that matches a grammar in full.

    Raises:
        ValueError: the string does not match; the message names the grammar in words.
    """

    __slots__ = ()
    grammar: ClassVar[str] = r"(?s:.{0,1000})"
    words: ClassVar[str] = "text"

    def __new__(cls, value: str) -> Self:
        if not compiled(cls.grammar).fullmatch(value):
            raise ValueError(f"expected {cls.words}, found {value[:80]!r}")
        return str.__new__(cls, value)

    @classmethod
    def again(cls, value: str) -> Self:
        """What is such a text by how it was made, or was one and was authenticated since: its grammar is not asked."""
        return str.__new__(cls, value)


class Digest(Text):
    """A sha256 digest as ``sha256:`` and 64 lower-case hexadecimal digits."""

    __slots__ = ()
    grammar = r"sha256:[0-9a-f]{64}"
    words = "'sha256:' and 64 lower-case hexadecimal digits"

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The digest of these bytes."""
        return cls.again(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self[7:]


class Hex(Text):
    """A sha256 digest as 64 lower-case hexadecimal digits, as in-toto and TUF write it."""

    __slots__ = ()
    grammar = r"[0-9a-f]{64}"
    words = "64 lower-case hexadecimal digits"


class Name(Text):
    """The name of a deployment, a principal or a team: lower-case ASCII, at most 64 characters."""

    __slots__ = ()
    grammar = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
    words = "a lower-case ASCII name of letters, digits, '.', '_' and '-', at most 64 characters"


class PluginId(Text):
    """A plugin's id: the wheel's normalised name with ``_`` for ``-``, so ASCII without look-alikes."""

    __slots__ = ()
    grammar = r"[a-z0-9](?:[a-z0-9]|_(?=[a-z0-9])){0,63}"
    words = "a plugin id: lower-case ASCII letters and digits joined by single '_', at most 64 characters"

    @classmethod
    def of(cls, distribution: str) -> Self:
        """The id that belongs to a distribution's name (PEP 503 normalised first)."""
        return cls(normalised(distribution).replace("-", "_"))


class Version(Text):
    """A version in PEP 440's canonical spelling."""

    __slots__ = ()
    grammar = r"[0-9a-z.!+]{1,64}"
    words = "a version in PEP 440's canonical spelling"

    def __new__(cls, value: str) -> Self:
        new = super().__new__(cls, value)
        try:
            spelled = canonical(value)
        except ValueError:
            raise ValueError(f"expected {cls.words}, found {value!r}") from None
        if spelled != value:
            raise ValueError(f"expected {cls.words} ({spelled!r}), found {value!r}")
        return new

    @property
    def order(self) -> PackagingVersion:
        """The comparable form."""
        return order(self)


class Specifier(Text):
    """A PEP 440 version specifier set such as ``>=2.0,<3.0``, with one specifier at least: empty would mean any."""

    __slots__ = ()
    grammar = r"[0-9A-Za-z.!+*<>=~ ,]{1,200}"
    words = "a version specifier such as '>=2.0,<3.0'"

    def __new__(cls, value: str) -> Self:
        new = super().__new__(cls, value)
        try:
            is_empty = versions(value).are_all
        except ValueError:
            is_empty = True
        if is_empty:
            raise ValueError(f"expected {cls.words}, found {value!r}")
        return new

    def admits(self, version: str) -> bool:
        """Whether ``version`` lies in the set; pre-releases count as themselves."""
        return versions(str(self)).admit(version)


class Time(Text):
    """A moment as ``YYYY-MM-DDTHH:MM:SSZ`` (RFC 3339, UTC, whole seconds): text order is time order."""

    __slots__ = ()
    grammar = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
    words = "a moment such as '2026-01-31T12:00:00Z'"

    def __new__(cls, value: str) -> Self:
        new = super().__new__(cls, value)
        try:
            new.instant  # noqa: B018 - an impossible date raises here
        except ValueError:
            raise ValueError(f"expected {cls.words}, found {value!r}") from None
        return new

    @property
    def instant(self) -> datetime:
        """The moment as an aware datetime in UTC."""
        # The grammar has left out what fromisoformat takes besides: other spellings, and from Python 3.14 on 24:00.
        return datetime.fromisoformat(self)

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """The moment in text, cut to whole seconds.

        Raises:
            ValueError: ``moment`` carries no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError("expected a moment with a time zone")
        whole = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None)
        return cls(f"{whole.isoformat()}Z")


class Duration(Text):
    """A length of time in days, hours, minutes and seconds as ISO 8601 writes it: ``PT24H``, ``P7D``, ``P1DT12H``."""

    __slots__ = ()
    grammar = (
        r"P(?=[0-9]|T[0-9])(?:([0-9]{1,4})D)?"
        r"(?:T(?=[0-9])(?:([0-9]{1,5})H)?(?:([0-9]{1,5})M)?(?:([0-9]{1,7})S)?)?"
    )
    words = "a duration such as 'PT24H' or 'P7D'"

    @property
    def span(self) -> timedelta:
        """The duration as a timedelta."""
        return _span(str(self))


@lru_cache(maxsize=256)  # those of a policy's tiers are asked for with each plugin
def _span(text: str) -> timedelta:
    match = compiled(Duration.grammar).fullmatch(text)
    assert match is not None  # noqa: S101 - the constructor matched the same grammar
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
