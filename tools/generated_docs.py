"""Write what the documents take from the code: the table of error codes, the JSON Schema of the manifest,
and the OpenAPI document of the service.

    python -m tools.generated_docs

A test compares the files with the code, so that none can be forgotten.
"""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from verifier.codes import CODES
from verifier.formats.enrolment import ServerUrl
from verifier.formats.manifest import manifest_schema
from verifier.formats.text import Name, Time, Version

ROOT = Path(__file__).resolve().parents[1]
ERRORS = ROOT / "docs" / "spec" / "errors.md"
SCHEMA = ROOT / "docs" / "schemas" / "plugin-manifest.v1.json"
OPENAPI = ROOT / "docs" / "schemas" / "openapi.v1.json"
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


def openapi_file() -> str:
    """The OpenAPI document of the service, as the published file holds it: that of a deployment made for this."""
    from crl_server.api.app import create_app
    from crl_server.api.describe import openapi
    from crl_server.layout import Deployment
    from crl_server.service import Authority
    from crl_server.trust.initialise import Plan, initialise

    now = datetime.now(UTC)
    with TemporaryDirectory() as directory:
        record = Deployment(v=1, deployment=Name("any"), server=ServerUrl("http://127.0.0.1:1"), created=Time.of(now))
        initialise(Path(directory) / "any", Plan(record, "demo", Version("1.0")), "local:docs", now)
        with closing(Authority(Path(directory) / "any")) as authority:
            return json.dumps(openapi(create_app(authority, lambda: now)), indent=2) + "\n"


if __name__ == "__main__":
    ERRORS.write_text(error_page(ERRORS.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema_file(), encoding="utf-8")
    OPENAPI.write_text(openapi_file(), encoding="utf-8")
