"""docs/spec/verification.md is what the code does: steps, codes, caps."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from verifier.codes import CODES
from verifier.formats.bundle import MAX_STATEMENTS
from verifier.judging.evidence import ROLE_OF
from verifier.judging.ground import CLOCK_TOLERANCE
from verifier.judging.steps import STEPS
from verifier.wheels.wheel import DEFAULT_LIMITS

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "docs" / "spec" / "verification.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", SPEC, re.MULTILINE | re.DOTALL))
CODE = re.compile(r"`([a-z]+\.[a-z-]+)`")
ELSEWHERE = "Codes that arise at another step than their own"


def test_steps() -> None:
    assert [title for title in SECTIONS if title.startswith("Step ")] == [
        f"Step {number}: {title}" for number, title in enumerate(STEPS)
    ]


def test_each_code_stands_at_its_own_step() -> None:
    for number, title in enumerate(STEPS):
        own = {code for code, info in CODES.items() if info.step == number}
        named = {code for code in CODE.findall(SECTIONS[f"Step {number}: {title}"]) if code in CODES}
        assert named == own, title


def test_codes_that_arise_elsewhere_are_those_of_the_vectors() -> None:
    rows = re.findall(r"^\| `([a-z.-]+)` \| (\d+) \| ([\d, ]+) \|$", SECTIONS[ELSEWHERE], re.MULTILINE)
    stated = {code: (int(own), {int(step) for step in steps.split(",")}) for code, own, steps in rows}
    found: dict[str, tuple[int, set[int]]] = {}
    for path in (ROOT / "tests" / "vectors" / "verification").glob("*.toml"):
        for vector in tomllib.loads(path.read_text(encoding="utf-8"))["vector"]:
            own = CODES[vector["code"]].step if "code" in vector else None
            if own is not None and vector.get("step", own) != own:
                found.setdefault(vector["code"], (own, set()))[1].add(vector["step"])
    assert stated == found


def test_roles_and_caps() -> None:
    rows = re.findall(r"^\| `(https://\S+)` \| (\w+) \|$", SECTIONS["Step 4: signatures"], re.MULTILINE)
    assert dict(rows) == dict(ROLE_OF)
    assert f"1 to {MAX_STATEMENTS} statements" in SPEC
    assert f"at most {DEFAULT_LIMITS.archive >> 20} MiB" in SPEC
    assert CLOCK_TOLERANCE.total_seconds() == 5 * 60
    assert "more than five minutes" in SPEC
