"""Ratings: scores as the specification's formulas and examples have them, and what is no vector."""

from __future__ import annotations

import pytest

from verifier.formats.severity import base_score, rate, rating_of


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "high",
        "CVSS:3.1",
        "CVSS:3.1/AV:N",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
        "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:X/C:H/I:H/A:H",
        "AV:N/AC:L/Au:N/C:P/I:P/A:P",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/",
    ],
)
def test_what_is_no_vector_has_no_score(vector: str) -> None:
    assert base_score(vector) is None
    assert rating_of([("CVSS_V3", vector)]) == "unknown"


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        # The first three are among FIRST's examples (CVE-2013-0375, CVE-2014-3566) or differ from them in one metric.
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:L/A:N", 5.4),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:P/RL:O", 9.8),
    ],
)
def test_scores_are_those_of_the_specification(vector: str, score: float) -> None:
    assert base_score(vector) == score


@pytest.mark.parametrize(
    ("score", "rating"),
    [(0.0, "none"), (0.1, "low"), (3.9, "low"), (4.0, "medium"), (6.9, "medium"), (7.0, "high"), (8.9, "high"),
     (9.0, "critical"), (10.0, "critical")],
)  # fmt: skip
def test_ratings_are_those_of_the_specification(score: float, rating: str) -> None:
    assert rate(score) == rating


def test_the_worst_of_scores_and_the_publishers_word_counts() -> None:
    medium, high = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
    assert rating_of([("CVSS_V3", medium), ("CVSS_V3", high)], "LOW") == "high"
    assert rating_of([("CVSS_V3", medium)], "CRITICAL") == "critical"
    assert rating_of([("CVSS_V4", "CVSS:4.0/…")], "MODERATE") == "medium"
    assert rating_of([], "whatever") == rating_of([], None) == rating_of([], 7) == "unknown"
