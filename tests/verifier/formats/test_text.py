"""The small values: what each grammar admits, what it refuses, and how long it takes to say so."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType

import pytest
from packaging.version import Version as PackagingVersion

from verifier.formats import enrolment, manifest, text
from verifier.formats.enrolment import ServerUrl
from verifier.formats.manifest import EntryPoint, HostPattern, RequirementText
from verifier.formats.patterns import compiled
from verifier.formats.text import Digest, Duration, Hex, Name, PluginId, Specifier, Text, Time, Version

MODULES: tuple[ModuleType, ...] = (text, manifest, enrolment)
GRAMMARS: set[type[Text]] = {
    found for module in MODULES for _, found in inspect.getmembers(module, inspect.isclass) if issubclass(found, Text)
}

GOOD: list[tuple[type[Text], str]] = [
    (Digest, "sha256:" + "0f" * 32),
    (Hex, "0f" * 32),
    (Name, "a"),
    (Name, "team-a.x_9"),
    (Name, "a" * 64),
    (PluginId, "azure_embed"),
    (PluginId, "a" * 64),
    (Version, "1!2.0rc1.post2.dev3+ubuntu.1"),
    (Specifier, ">=2.0,<3.0"),
    (Specifier, "==1.*"),
    (Time, "2024-02-29T23:59:59Z"),
    (Time, "0001-01-01T00:00:00Z"),
    (Time, "9999-12-31T23:59:59Z"),
    (Duration, "PT0S"),
    (Duration, "P1DT2H3M4S"),
    (HostPattern, "localhost"),
    (HostPattern, "*.example.org"),
    (RequirementText, "foo[bar]>=1,<2"),
    (EntryPoint, "package"),
    (EntryPoint, "package.module:Class.method"),
    (ServerUrl, "https://loadlock.example:8443/a/b"),
    (ServerUrl, "http://[::1]"),
]
BAD: list[tuple[type[Text], str]] = [
    (Digest, ""),
    (Digest, "sha256:" + "0F" * 32),
    (Digest, "sha512:" + "0f" * 32),
    (Digest, "sha256:" + "0f" * 31),
    (Digest, "sha256:" + "0f" * 32 + "\n"),
    (Digest, "sha256:" + "\uff10" * 64),
    (Hex, "sha256:" + "0f" * 32),
    (Name, ""),
    (Name, "-a"),
    (Name, "a."),
    (Name, "a" * 65),
    (Name, "a/b"),
    (Name, "A"),
    (Name, "a\x00"),
    (Name, "\u00e9"),
    (PluginId, "_a"),
    (PluginId, "a_"),
    (PluginId, "a__b"),
    (PluginId, "a-b"),
    (PluginId, "a" * 65),
    (Version, "v1"),
    (Version, "1.0.0-1"),
    (Version, "01.0"),
    (Version, "1" * 65),
    (Version, "latest"),
    (Specifier, ""),
    (Specifier, " , "),
    (Specifier, "1.0"),
    (Specifier, "~=1"),
    (Specifier, ">=1;2"),
    (Specifier, ">=" + "1" * 200),
    (Time, "2026-01-31 12:00:00Z"),
    (Time, "2026-01-31t12:00:00z"),
    (Time, "2026-01-31T12:00:00Z\n"),
    (Time, "2026-13-01T00:00:00Z"),
    (Time, "2025-02-29T00:00:00Z"),
    (Time, "2026-01-31T12:00:60Z"),
    (Time, "12026-01-31T12:00:00Z"),
    (Duration, "P"),
    (Duration, "PT"),
    (Duration, "P1DT"),
    (Duration, "P1W"),
    (Duration, "P1Y"),
    (Duration, "-P1D"),
    (Duration, "P1.5D"),
    (Duration, "PT1S\n"),
    (Duration, "P99999D"),
    (HostPattern, ""),
    (HostPattern, "*"),
    (HostPattern, "*.org"),
    (HostPattern, "**.example.org"),
    (HostPattern, "*.*.example.org"),
    (HostPattern, "a..b"),
    (HostPattern, ".example.org"),
    (HostPattern, "-a.example.org"),
    (HostPattern, "a" * 64 + ".example.org"),
    (HostPattern, "a." * 127 + "a"),
    (HostPattern, "example.org:443"),
    (HostPattern, "::1"),
    (HostPattern, "ex_ample.org"),
    (RequirementText, "foo @ https://host.example/x"),
    (RequirementText, "foo; python_version>'3'"),
    (RequirementText, ">=1"),
    (RequirementText, "foo>=1.0.*"),
    (EntryPoint, "1a"),
    (EntryPoint, "a:b:c"),
    (EntryPoint, "a."),
    (EntryPoint, "a:"),
    (EntryPoint, "a b"),
    (EntryPoint, "a" * 501),
    (ServerUrl, "ftp://host.example"),
    (ServerUrl, "https://"),
    (ServerUrl, "https://user@host.example"),
    (ServerUrl, "https://host.example?x"),
    (ServerUrl, "https://host.example:0"),
    (ServerUrl, "https://host.example:65536"),
    (ServerUrl, "https://[::1"),
    (ServerUrl, "https://[12345::]"),
    (ServerUrl, "HTTPS://host.example"),
    (ServerUrl, "https://host.example/" + "a" * 500),
]


@pytest.mark.parametrize(("kind", "value"), BAD, ids=lambda value: getattr(value, "__name__", ascii(value)[:40]))
def test_refused_with_words(kind: type[Text], value: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        kind(value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("kind", "value"), GOOD, ids=lambda value: getattr(value, "__name__", ascii(value)[:40]))
def test_admitted_unchanged(kind: type[Text], value: str) -> None:
    assert kind(value) == value
    assert type(kind(value)) is kind


def test_every_grammar_is_tried() -> None:
    assert {kind for kind, _ in GOOD} == {kind for kind, _ in BAD} == GRAMMARS - {Text}


UNITS = ("a", "a.", "a_", "a-", "1", "1.", "*.", "a:", ">=", ">=1,", "https://", "P1D", "T1H", " ", "[", "\u0661")
HOSTILE = [unit * 50_000 + tail for unit in UNITS for tail in ("", "!", "\n")]


@pytest.mark.parametrize("kind", sorted(GRAMMARS, key=repr))
def test_no_grammar_backtracks(kind: type[Text]) -> None:
    # Quadratic time would be minutes here: the run itself is the assertion.
    assert [value[:20] for value in HOSTILE if compiled(kind.grammar).fullmatch(value)] == []


@pytest.mark.parametrize("kind", sorted(GRAMMARS, key=repr))
def test_grammars_mean_the_same_in_ecma_262(kind: type[Text]) -> None:
    assert not re.search(r"\\[dwsbAG]|\(\?[P#<>i]", kind.grammar)


# -- what the values can do --------------------------------------------------------------------------------------------


def test_a_digest_gives_its_digits() -> None:
    assert Digest("sha256:" + "0f" * 32).hex == "0f" * 32


@pytest.mark.parametrize(("name", "expected"), [("Azure.Embed", "azure_embed"), ("a--b__c", "a_b_c"), ("x", "x")])
def test_a_plugin_id_follows_from_the_distribution(name: str, expected: str) -> None:
    assert PluginId.of(name) == expected


def test_a_distribution_whose_name_gives_no_id() -> None:
    with pytest.raises(ValueError, match="plugin id"):
        PluginId.of("naïve")


def test_versions_compare_as_versions() -> None:
    assert Version("1.10").order > Version("1.9").order == PackagingVersion("1.9")


@pytest.mark.parametrize(
    ("specifier", "version", "admitted"),
    [(">=2.0,<3.0", "2.5", True), (">=2.0,<3.0", "3.0", False), (">=2.0", "2.1rc1", True), (">=2.0", "2.0rc1", False)],
)
def test_a_specifier_admits(specifier: str, version: str, admitted: bool) -> None:
    assert Specifier(specifier).admits(version) is admitted


def test_moments_come_back_and_their_text_is_in_their_order() -> None:
    moments = [datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC) for year in (1, 999, 2026, 9999)]
    texts = [Time.of(moment) for moment in moments]
    assert [text.instant for text in texts] == moments
    assert sorted(texts) == texts


def test_a_moment_is_cut_to_whole_seconds_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert Time.of(moment) == "2025-12-31T23:00:00Z"


def test_a_moment_without_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Time.of(datetime(2026, 1, 1))  # noqa: DTZ001 - what it has to refuse


def test_a_duration_gives_its_span() -> None:
    assert Duration("P1DT2H3M4S").span == timedelta(days=1, hours=2, minutes=3, seconds=4)
    assert Duration("P9999DT99999H99999M9999999S").span < timedelta(days=20_000)


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("api.example.org", "api.example.org", True),
        ("api.example.org", "example.org", False),
        ("api.example.org", "x.api.example.org", False),
        ("*.example.org", "api.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "*.b.example.org", True),
        ("*.example.org", "*.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "evilexample.org", False),
        ("*.example.org", "example.org.evil.example", False),
        ("*.b.example.org", "*.example.org", False),
        ("a.example.org", "*.example.org", False),
    ],
)
def test_a_pattern_covers(pattern: str, host: str, covered: bool) -> None:
    assert HostPattern(pattern).covers(host) is covered
