"""Which plugins answer a search, and in which order. Pure: cards in, ranked cards out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from verifier.errors import UsageError
from verifier.formats.strict_json import Document

MAX_WORDS: Final = 8
"""How many words a search may have."""
WORD: Final = re.compile(r"[^\W_]+")
MATURITY: Final[Mapping[str, int]] = {"stable": 3, "beta": 2, "alpha": 1, "deprecated": 0}
"""What a plugin's maturity adds where words leave two plugins equal."""
REVOKED: Final = -1000
"""What is added to a plugin of which every release is revoked: it comes after all that can be used."""
PLACE: Final = re.compile(r"(?:(-?[0-9]{1,6})\.)?([a-z0-9_]{1,64})")

# What a word is worth where it is found; the best place counts.
_ID, _ID_WORD, _ID_START, _DECLARED, _OWNER, _KIND, _TEXT, _PART = 100, 60, 40, 30, 25, 20, 10, 5


class Card(Document, frozen=True, kw_only=True):
    """A plugin as a search sees it: what the newest release that is not revoked declares; of the newest, if all are.

    Attributes:
        latest: the version of that release.
        artifacts: how many releases were admitted.
        revoked: whether every one of them is revoked.
    """

    plugin_id: str
    artifacts: int
    latest: str
    tier: str
    description: str
    owner: str
    kind: str
    maturity: str
    capabilities: tuple[str, ...]
    hooks: tuple[str, ...]
    revoked: bool


@dataclass(frozen=True)
class Wanted:
    """What is looked for: words, all of which must be found somewhere, and what must be exactly so; empty for any.

    Raises:
        UsageError: ``usage.arguments`` for too many words.
    """

    text: str = ""
    capability: str = ""
    hook: str = ""
    maturity: str = ""
    owner: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        if len(self.words) > MAX_WORDS:
            raise UsageError("usage.arguments", "too many words", expected=f"at most {MAX_WORDS}")

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text, each once."""
        return tuple(dict.fromkeys(WORD.findall(self.text.casefold())))

    def admits(self, card: Card) -> bool:
        """Whether a card is exactly as it must be."""
        wanted = ((self.maturity, card.maturity), (self.owner, card.owner), (self.kind, card.kind))
        return (
            all(asked in ("", found) for asked, found in wanted)
            and (not self.capability or self.capability in card.capabilities)
            and (not self.hook or self.hook in card.hooks)
        )


class Place(NamedTuple):
    """A place in a ranking: the higher score first, and equal ones by id."""

    score: int
    plugin_id: str

    @property
    def order(self) -> tuple[int, str]:
        """What rankings are sorted by."""
        return (-self.score, self.plugin_id)

    def __str__(self) -> str:
        return f"{self.score}.{self.plugin_id}" if self.score else self.plugin_id

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place that a page ended with.

        Raises:
            UsageError: ``request.invalid``.
        """
        found = PLACE.fullmatch(text)
        if found is None:
            raise UsageError(
                "request.invalid", "no page ends there", found=ascii(text[:80]), expected="'next' as given"
            )
        return cls(int(found[1] or 0), found[2])


def rank(cards: Iterable[Card], wanted: Wanted) -> list[tuple[Place, Card]]:
    """The cards that are wanted, the best first; by id where no words say what is best."""
    found = []
    for card in cards:
        worth = [_worth(card, word) for word in wanted.words]
        if wanted.admits(card) and all(worth):
            found.append((Place(_score(card, worth), card.plugin_id), card))
    return sorted(found, key=lambda entry: entry[0].order)


def _score(card: Card, worth: Sequence[int]) -> int:
    if not worth:
        return 0
    return 10 * sum(worth) + MATURITY.get(card.maturity, 0) + (REVOKED if card.revoked else 0)


def _worth(card: Card, word: str) -> int:
    """What one word is worth on a card; 0 when it is not there."""
    name = card.plugin_id
    declared = {part for text in (*card.capabilities, *card.hooks) for part in (text.casefold(), *WORD.findall(text))}
    text = WORD.findall(card.description.casefold())
    worth = {
        _ID: word == name.replace("_", ""),
        _ID_WORD: word in name.split("_"),
        _ID_START: any(part.startswith(word) for part in name.split("_")),
        _DECLARED: word in declared,
        _OWNER: word in WORD.findall(card.owner),
        _KIND: word in WORD.findall(card.kind),
        _TEXT: word in text,
        _PART: word in name or any(part.startswith(word) for part in text),
    }
    return max((points for points, found in worth.items() if found), default=0)
