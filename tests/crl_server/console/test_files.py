"""What goes with the pages: the one file that is not ours, the contrast of colours, plots that are as their numbers."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest

from crl_server.console import plots
from crl_server.console.plots import Point
from crl_server.console.render import HERE, span_words
from tests.crl_server.deployments import NOW

STATIC = HERE / "static"
CSS = (STATIC / "console.css").read_text("utf-8")
TEMPLATES = sorted((HERE / "templates").glob("*.html"))

HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""htmx.org 2.0.11, ``dist/htmx.min.js`` as its package has it; Zero-Clause BSD."""


def test_htmx_is_the_release_that_it_says_it_is() -> None:
    content = (STATIC / "htmx.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == HTMX
    assert b'version:"2.0.11"' in content
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE.txt").read_text("utf-8")


def test_nothing_else_is_of_somebody_else() -> None:
    assert sorted(path.name for path in STATIC.iterdir()) == [
        "console.css", "console.js", "htmx.LICENSE.txt", "htmx.min.js", "mark.svg",
    ]  # fmt: skip


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_switches_the_escaping_off(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(
        r"\|\s*safe\b|autoescape|Markup|\bstyle=|<style|javascript:|\son[a-z]+=|hx-on|hx-vals=.js", text
    )
    for script in re.findall(r"<script[^>]*>", text):
        assert "src=" in script
    for form in re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', text, re.DOTALL):
        assert "form_token" in form or "/login" in form


# -- colours: WCAG 2.2, success criteria 1.4.3 and 1.4.11 --------------------------------------------------------------

TEXT = [
    (ink, paper)
    for ink, papers in {
        "text": ("page", "surface", "raised", "calm-back", "bad-back", "warn-back", "ok-back"),
        "muted": ("page", "surface", "raised"),
        "accent": ("page", "surface", "raised", "calm-back", "bad-back", "warn-back", "ok-back"),
        "on-accent": ("accent",),
        "on-bad": ("bad",),
        "bad": ("bad-back", "surface"),
        "warn": ("warn-back",),
        "ok": ("ok-back",),
        "calm": ("calm-back",),
    }.items()
    for paper in papers
]
SHAPES = [("control", "surface"), ("control", "page"), ("focus", "page"), ("focus", "surface"), ("series-1", "surface"),
          ("series-2", "surface"), ("series-2", "raised")]  # fmt: skip


def palettes() -> dict[str, dict[str, str]]:
    """The colours by name, light and dark."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    named = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6});")
    return {"light": dict(named.findall(light)), "dark": dict(named.findall(dark))}


def luminance(colour: str) -> float:
    """Relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of contrast."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert round(contrast("#000000", "#ffffff"), 2) == 21.0
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48


def test_both_palettes_name_the_same_colours() -> None:
    assert palettes()["light"].keys() == palettes()["dark"].keys()
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", CSS)) - {"mono", "sans"}
    assert used == set(palettes()["light"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible(scheme: str) -> None:
    palette = palettes()[scheme]
    found = {f"{ink} on {paper}": round(contrast(palette[ink], palette[paper]), 2) for ink, paper in TEXT}
    assert {pair: ratio for pair, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shapes_are_visible(scheme: str) -> None:
    palette = palettes()[scheme]
    found = {f"{ink} on {paper}": round(contrast(palette[ink], palette[paper]), 2) for ink, paper in SHAPES}
    assert {pair: ratio for pair, ratio in found.items() if ratio < 3} == {}


# -- plots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "top"), [(0, 4), (1, 4), (4, 4), (5, 8), (9, 12), (12, 20), (39, 40), (41, 80), (100, 100), (999, 1000)]
)
def test_an_axis_ends_at_a_round_number(value: int, top: int) -> None:
    assert plots.nice_top(value) == top


def test_bars_are_as_high_as_their_counts() -> None:
    drawn = plots.bars([("a", 0), ("b", 2), ("c", 4)], every=2)
    heights = [bar.height for bar in drawn.bars]
    assert heights[0] == 0
    assert heights[2] == 2 * heights[1] == plots.HEIGHT - plots.TOP - plots.BOTTOM
    assert [tick.label for tick in drawn.across] == ["a", "c"]
    assert [tick.label for tick in drawn.up] == ["0", "1", "2", "3", "4"]
    assert drawn.total == 6


def test_a_line_goes_in_steps_and_stays_within_its_frame() -> None:
    begin = NOW - timedelta(hours=24)
    points = [Point(begin - timedelta(hours=1), 1.0), Point(NOW - timedelta(hours=12), 0.0), Point(NOW, 0.5)]
    drawn = plots.line(points, begin, NOW)
    top, floor = plots.TOP, plots.HEIGHT - plots.BOTTOM
    middle = (plots.WIDTH - plots.LEFT - plots.RIGHT) / 2 + plots.LEFT
    right = plots.WIDTH - plots.RIGHT
    assert drawn.path == (
        f"M{float(plots.LEFT)} {float(top)}H{middle}V{float(floor)}H{float(right)}V{(top + floor) / 2}H{float(right)}"
    )
    assert drawn.across[0].label == drawn.across[-1].label == "12:00"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"), (-44, "just now"), (44, "in a moment"), (-60, "1 minute ago"), (-3599, "60 minutes ago"),
        (3600, "in 1 hour"), (-7200, "2 hours ago"), (86_400 * 9, "in 9 days"),
    ],
)  # fmt: skip
def test_times_are_told_in_words(seconds: int, words: str) -> None:
    assert span_words(timedelta(seconds=seconds)) == words
