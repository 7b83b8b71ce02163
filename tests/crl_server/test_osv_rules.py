"""What an advisory says is affected, as rules: each range and each version, and nothing less."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from crl_server.revocation.osv import findings
from verifier.errors import FormatError
from verifier.formats.advisory import Advisory, affects
from verifier.formats.strict_json import convert
from verifier.formats.text import Specifier
from verifier.revocation.standing_rules import within

pytestmark = pytest.mark.usefixtures("engine")


def advisory(*events: list[dict[str, str]], versions: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": "Some_Lib"},
        "ranges": [{"type": "ECOSYSTEM", "events": some} for some in events],
        "versions": list(versions),
    }
    return {"id": "X-1", "modified": "2026-01-01T00:00:00Z", "affected": [affected], **more}


def ranges(document: dict[str, Any]) -> list[str]:
    found, _ = findings([convert(document, Advisory, what="advisory")])
    assert {one.match["purl"] for one in found} <= {"pkg:pypi/some-lib"}
    return [one.match.get("range", "all") for one in found]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (advisory([{"introduced": "0"}, {"fixed": "1.2"}]), ["<1.2"]),
        (advisory([{"introduced": "0"}]), ["all"]),
        (advisory([{"introduced": "1.0"}, {"last_affected": "1.4"}]), [">=1.0,<=1.4"]),
        (advisory([{"introduced": "2"}, {"fixed": "2.3"}, {"introduced": "0"}, {"fixed": "1"}]), ["<1", ">=2,<2.3"]),
        (advisory([{"introduced": "1"}, {"introduced": "2"}, {"fixed": "3"}, {"fixed": "4"}]), [">=1,<3"]),
        (advisory([{"introduced": "0"}, {"fixed": "1"}], versions=("0.5", "3.0", "3.0.0")), ["<1", "==3.0"]),
        (advisory(versions=("1.0", "1.1")), ["==1.0", "==1.1"]),
        (advisory([{"introduced": "0"}], withdrawn="2026-01-02T00:00:00Z"), []),
        ({"id": "X", "modified": "2026-01-01T00:00:00Z"}, []),
    ],
)  # fmt: skip
def test_each_range_becomes_a_rule(document: dict[str, Any], expected: list[str]) -> None:
    assert ranges(document) == expected


def test_other_ecosystems_say_nothing_and_are_told() -> None:
    document = advisory([{"introduced": "0"}])
    document["affected"][0]["package"]["ecosystem"] = "npm"
    assert findings([convert(document, Advisory, what="advisory")]) == ([], ["X-1"])


@pytest.mark.parametrize(
    "document",
    [
        advisory(),
        advisory([{"introduced": "new"}]),
        advisory([{"fixed": "1.0"}]),
        advisory(versions=("newest",)),
        advisory(versions=tuple(f"1.{number}" for number in range(1001))),
        advisory([{"introduced": "0"}], modified="yesterday"),
        advisory([{"introduced": "0"}], schema_version="2.0.0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_and_not_left_out(document: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        ranges(document)
    assert caught.value.code == "format.schema"


def test_severity_and_note_come_from_the_advisory() -> None:
    scores = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    document = advisory([{"introduced": "0"}], severity=scores, summary="bad\u202eside")
    (one,), _ = findings([convert(document, Advisory, what="advisory")])
    assert (one.severity, one.note) == ("critical", r"X-1: bad\u202eside")
    (one,), _ = findings([convert(advisory([{"introduced": "0"}]), Advisory, what="advisory")])
    assert one.severity is None


points = st.sampled_from(["0", "0.5", "1.0", "1.1", "1.1.1", "2.0rc1", "2.0", "3.0"])
events = st.lists(st.tuples(st.sampled_from(["introduced", "fixed", "last_affected"]), points), min_size=1, max_size=5)


@given(
    events,
    st.sampled_from(
        ["0.1", "0.5", "1.0", "1.1", "1.1.1", "1.5", "2.0rc1", "2.0", "2.5", "3.0", "9", "1.1+cpu", "2.0+1"]
    ),
)
def test_the_rules_deny_what_the_advisory_says_is_affected(some: list[tuple[str, str]], version: str) -> None:
    document = advisory([{kind: point} for kind, point in [("introduced", "0.5"), *some]])
    parsed = convert(document, Advisory, what="advisory")
    denied = any(found == "all" or within(Specifier(found), version) for found in ranges(document))
    assert denied == affects(parsed.affected[0], Version(version))
