"""Write what the documents take from the code: the table of error codes, and the JSON Schema of the manifest.

    python -m tools.generated_docs

A test compares both files with the code, so that neither can be forgotten.
"""

from __future__ import annotations

import json
from pathlib import Path

from verifier.codes import CODES
from verifier.formats.manifest import manifest_schema

ROOT = Path(__file__).resolve().parents[1]
ERRORS = ROOT / "docs" / "spec" / "errors.md"
SCHEMA = ROOT / "docs" / "schemas" / "plugin-manifest.v1.json"
START, END = "<!-- codes: begin -->\n", "<!-- codes: end -->\n"


def error_table() -> str:
    """All codes as a Markdown table, in the order of the code."""
    rows = ["| code | step | meaning | what to do |", "|---|---|---|---|"]
    for code, info in CODES.items():
        rows.append(f"| `{code}` | {'' if info.step is None else info.step} | {info.meaning} | {info.todo} |")
    return "\n".join(rows) + "\n"


def error_page(page: str) -> str:
    """The page with the table between its two marks replaced."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{error_table()}\n{END}{after}"


def schema_file() -> str:
    """The JSON Schema of what an owner writes, as the published file holds it."""
    return json.dumps(manifest_schema(), indent=2) + "\n"


if __name__ == "__main__":
    ERRORS.write_text(error_page(ERRORS.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema_file(), encoding="utf-8")
