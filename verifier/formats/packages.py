"""Names and versions of Python packages: ``packaging`` says what they mean, the plainest spellings mean it here.

Importing packaging's requirements, specifiers and tags takes as long as a quarter of all that a host imports to open a
gate. Nearly every version is a release, numbers joined by dots, and nearly every range a few bounds at releases: these
are answered without it. It is imported for any other text, and says whether that is good, and what of it follows.
``tests/properties/test_spellings.py`` holds both against each other.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from verifier.formats.patterns import compiled

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

_NUMBER: Final = r"(?:0|[1-9][0-9]{0,17})"
_RELEASE: Final = rf"{_NUMBER}(?:\.{_NUMBER}){{0,20}}"
_BOUND: Final = rf"(?:[=!<>]=|[<>]){_RELEASE}"
_is_release: Final = re.compile(_RELEASE).fullmatch
_are_bounds: Final = re.compile(rf"(?:{_BOUND}(?:, *{_BOUND})*)?").fullmatch
_each_bound: Final = re.compile(rf"([=!<>]=|[<>])({_RELEASE})").findall
_WORDS: Final = r"[a-z0-9_]+(?:\.[a-z0-9_]+)*"
_NAMES: Final = r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*"
_TAGS: Final = rf"({_NAMES})-({_WORDS})-({_WORDS})"
_PLAIN_FILE_NAME: Final = rf"([a-z0-9]+(?:[_.][a-z0-9]+)*)-({_RELEASE})-{_TAGS}\.whl"
_PLAIN_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_COMPARED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip

MAX_TAGS: Final = 1000
"""How many tags one set of them may stand for: a few hundred characters could name millions."""

MAX_VERSION: Final = 1000
"""How many characters of a version are compared: an SBOM could name one of millions."""

Release = tuple[int, ...]


def normalised(name: str) -> str:
    """A project's name as it is compared (PEP 503): lower case, one ``-`` for each run of ``-``, ``_`` and ``.``."""
    found = name.lower().replace("_", "-").replace(".", "-")
    while "--" in found:
        found = found.replace("--", "-")
    return found


def project(name: str) -> str:
    """The same of a text that is to be such a name.

    Raises:
        ValueError: it is none.
    """
    if compiled(_PLAIN_NAME).fullmatch(name):
        return normalised(name)
    from packaging.utils import canonicalize_name  # see above

    return canonicalize_name(name, validate=True)


def canonical(version: str) -> str:
    """A version in PEP 440's canonical spelling.

    Raises:
        ValueError: it is none.
    """
    return version if _is_release(version) else str(order(version))


def order(version: str) -> Version:
    """A version as it is compared with others (PEP 440).

    Raises:
        ValueError: it is none.
    """
    from packaging.version import Version  # see above

    return Version(version)


class Versions:
    """A set of versions as PEP 440 specifies it, such as ``>=2.0,<3.0``; the empty one holds all.

    Raises:
        ValueError: the text is no such specifier.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_plain = _are_bounds(text) is not None
        self._bounds = [(_COMPARED[sign], _release(bound)) for sign, bound in _each_bound(text)]
        self._is_any = not (self._bounds if self._is_plain else _specifiers(text))

    def admit(self, version: str) -> bool:
        """Whether a version is in the set; pre-releases count as themselves, and what is no version is in none, nor is
        one of more than :data:`MAX_VERSION` characters.
        """
        if len(version) > MAX_VERSION:
            return False
        if not (self._is_plain and _is_release(version)):
            return _specifiers(self._text).contains(version, prereleases=True)
        release = _release(version)
        return all(compare(release, bound) for compare, bound in self._bounds)

    @property
    def are_all(self) -> bool:
        """Whether the specifier is empty."""
        return self._is_any

    def __str__(self) -> str:
        return str(_specifiers(self._text))


@lru_cache(maxsize=4096)  # the same few are asked for again and again
def versions(text: str) -> Versions:
    """The set of versions of a specifier; raises as :class:`Versions`."""
    return Versions(text)


def _release(version: str) -> Release:
    """A plain release as it is compared: zeros at its end say nothing."""
    numbers = [*map(int, version.split("."))]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


@lru_cache(maxsize=1024)
def _specifiers(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet  # see above

    return SpecifierSet(text)


class WheelName(NamedTuple):
    """What a wheel's file name says: normalised name, canonical version, build number or "", expanded tags."""

    name: str
    version: str
    build: str
    tags: frozenset[str]


def wheel_name(file_name: str) -> WheelName:
    """Read a wheel's file name (binary distribution format).

    Raises:
        ValueError: it is none, or it stands for more than :data:`MAX_TAGS` tags.
    """
    plain = compiled(_PLAIN_FILE_NAME).fullmatch(file_name)
    if plain is not None:
        name, version, *parts = plain.groups()
        return WheelName(normalised(name), version, "", _expanded(parts))
    _alternatives(file_name.removesuffix(".whl").rsplit("-", 3)[1:])
    from packaging.utils import parse_wheel_filename  # see above

    name, found, build, parsed = parse_wheel_filename(file_name)
    return WheelName(name, str(found), "".join(str(part) for part in build), frozenset(map(str, parsed)))


def tags(text: str) -> frozenset[str]:
    """The tags that a set of them stands for, such as ``py2.py3-none-any`` (PEP 425).

    Raises:
        ValueError: it is none, or it stands for more than :data:`MAX_TAGS` tags.
    """
    plain = compiled(_TAGS).fullmatch(text)
    if plain is not None:
        return _expanded(plain.groups())
    _alternatives(text.split("-", 3)[:3])
    from packaging.tags import parse_tag  # see above

    return frozenset(map(str, parse_tag(text)))


def _expanded(parts: Iterable[str]) -> frozenset[str]:
    return frozenset(map("-".join, product(*_alternatives(parts))))


def _alternatives(parts: Iterable[str]) -> list[list[str]]:
    """What each part of a set of tags stands for; together that may be no more than :data:`MAX_TAGS`."""
    found = [part.split(".") for part in parts]
    if math.prod(map(len, found)) > MAX_TAGS:
        raise ValueError(f"expected at most {MAX_TAGS} tags")
    return found
