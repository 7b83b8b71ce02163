"""How severe an advisory is: a rating out of its CVSS 3 vectors and of the word of who published it.

Formulas and constants: FIRST, "Common Vulnerability Scoring System v3.1: Specification Document", sections 7.1, 7.4 and
appendix A; the ratings: section 5. Vectors of other versions are kept, and rated by the publisher's word alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from verifier.formats.findings import RATINGS, Rating

_VECTOR = re.compile(r"CVSS:3\.[01](?:/[A-Z]{1,3}:[A-Z])+")
_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES: Mapping[str, Mapping[str, float]] = {
    "U": {"N": 0.85, "L": 0.62, "H": 0.27},
    "C": {"N": 0.85, "L": 0.68, "H": 0.5},
}
_LEAST: tuple[tuple[float, Rating], ...] = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))
_WORDS: Mapping[str, Rating] = {
    "none": "none", "low": "low", "moderate": "medium", "medium": "medium", "high": "high", "critical": "critical",
}  # fmt: skip


def rating_of(scores: Iterable[tuple[str, str]], word: object = None) -> Rating | Literal["unknown"]:
    """The worst rating that an advisory gives.

    Args:
        scores: pairs of method (``CVSS_V3``) and vector.
        word: what its publisher calls it, such as ``MODERATE``; None when nothing is said.
    """
    found = [
        rate(score)
        for method, vector in scores
        if method == "CVSS_V3"
        for score in [base_score(vector)]
        if score is not None
    ]
    if isinstance(word, str) and word.lower() in _WORDS:
        found.append(_WORDS[word.lower()])
    return max(found, key=RATINGS.index) if found else "unknown"


def rate(score: float) -> Rating:
    """The rating of a base score from 0.0 to 10.0."""
    return next((rating for least, rating in _LEAST if score >= least), "none")


def base_score(vector: str) -> float | None:
    """The base score of a CVSS 3.0 or 3.1 vector; None for what is no such vector."""
    if not _VECTOR.fullmatch(vector):
        return None
    metrics = dict(part.split(":") for part in vector.split("/")[1:])
    try:
        changed = {"U": False, "C": True}[metrics["S"]]
        weight = {name: weights[metrics[name]] for name, weights in _WEIGHTS.items()}
        privileges = _PRIVILEGES[metrics["S"]][metrics["PR"]]
    except KeyError:
        return None
    base = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10))


def _round_up(value: float) -> float:
    """To one decimal, upwards, without the errors of binary fractions (appendix A)."""
    hundred_thousands = round(value * 100_000)
    if hundred_thousands % 10_000 == 0:
        return hundred_thousands / 100_000
    return (hundred_thousands // 10_000 + 1) / 10
