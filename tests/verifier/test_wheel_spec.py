"""docs/spec/wheel.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from tests.wheels import build_wheel
from verifier.codes import CODES
from verifier.wheels import core_metadata, record, wheel_paths
from verifier.wheels.archive import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "wheel.md").read_text("utf-8")
MIB = 1 << 20


def test_example() -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    wheel = build_wheel({"csv_exporter/__init__.py": "# exporter\n"}, name="csv-exporter", version="1.2.0")
    names: dict[str, object] = {"data": wheel.data}
    exec(example, names)
    for line in example.splitlines():
        expression, hash_sign, said = line.partition("#")
        if hash_sign and '"' in said and "…" not in said:
            expected = eval(said)
            assert eval(expression, names) == expected, line
    assert names["snapshot"].digest == wheel.digest  # type: ignore[attr-defined]


def test_codes() -> None:
    ours = {code for code in CODES if code.startswith("wheel.") and code != "wheel.unreadable"}
    assert set(re.findall(r"`(wheel\.[a-z-]+)`", PAGE)) == ours


def test_limits() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| `wheel", PAGE, re.MULTILINE))
    limits = Limits()
    assert rows == {
        "the wheel": f"{limits.archive // MIB} MiB",
        "entries": f"{limits.entries:,}",
        "one file, unpacked": f"{limits.file // MIB} MiB",
        "all files, unpacked": f"{limits.total // (1024 * MIB)} GiB",
        f"all files, unpacked, beyond {limits.ratio_floor // MIB} MiB": f"{limits.ratio} times the wheel",
        "a path; a part of it; its parts": f"{wheel_paths.MAX_PATH_BYTES} bytes; {wheel_paths.MAX_PART_BYTES} bytes; "
        f"{wheel_paths.MAX_PARTS}",
        "RECORD": f"{record.MAX_RECORD_BYTES // MIB} MiB",
        "METADATA, WHEEL": f"{core_metadata.MAX_METADATA_BYTES // MIB} MiB each",
    }
