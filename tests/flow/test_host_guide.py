"""The host's guide does not lie: its commands and examples are run in order, and its codes exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import ROOT, HostedDeployment, in_fresh_process, set_of
from verifier import errors
from verifier.codes import CODES

GUIDE = (ROOT / "docs" / "guides" / "host.md").read_text(encoding="utf-8")
WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"
DIRECTORY = "/var/lib/acme/loadlock"
SOURCE = "import logging\ndef csv(rows):\n    logging.getLogger('csv').warning('exporting')\n    return str(rows)\n"


def blocks(language: str) -> list[str]:
    """The guide's examples in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def codes() -> list[str]:
    """The codes of the guide's table."""
    table = GUIDE.split("| code | what to look at |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("code", codes())
def test_every_code_exists(code: str) -> None:
    assert code in CODES


def test_every_class_of_errors_is_named() -> None:
    named = set(re.findall(r"^\| `([A-Z]\w+)` \|", GUIDE, re.MULTILINE))
    assert named == {"Refused", "PluginRevoked", "PluginFailed", "UsageError", "Unreachable"}
    assert all(issubclass(getattr(errors, name), errors.LoadlockError) for name in named)


def test_commands_and_examples_work_as_they_stand(tmp_path: Path) -> None:
    with HostedDeployment(tmp_path) as hosted:
        place = tmp_path / "enrolled"
        wheel = hosted.plugin(
            {"sample_plugin/__init__.py": SOURCE}, entry_points={"exporters": {"csv": "sample_plugin:csv"}}
        )
        set_of(wheel).unlink()
        real = {WHEEL: str(wheel), DIRECTORY: str(place), "https://loadlock.example": hosted.server.url}
        unsigned = hosted.put(hosted.sim.wheel("other-plugin"), None)
        real |= {"sha256:…": hosted.root, "unsigned-1.0.0-py3-none-any.whl": str(unsigned)}

        def made_real(text: str) -> str:
            for written, meant in real.items():
                text = text.replace(written, meant)
            return text

        lines = [line for block in blocks("sh") for line in made_real(block).splitlines()]
        assert len(lines) == 3
        for line in lines:
            command = [sys.executable, "-m", *shlex.split(line)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        examples = blocks("python")
        assert len(examples) == 13
        told = in_fresh_process("\n".join(made_real(example) for example in examples)).splitlines()
    assert told[0] == "[['a', 1]]"
    assert told[1].startswith("sample_plugin 1.0 core {")
    assert told[2].startswith("set.missing 3 ")
    assert re.fullmatch("[0-9a-f]{32}", told[3])
    assert told[4:] == [
        """["[['a', 1]]", "[['b', 2]]"]""",
        "sample_plugin",
        "in-process 0 0",
        "plugin.revoked the host's own reasons",
        "sample_plugin",
        "list.stale",
    ]


def test_the_readme_of_the_guides_lists_each() -> None:
    folder = ROOT / "docs" / "guides"
    listed = set(re.findall(r"^\| \[([a-z-]+\.md)\]", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {path.name for path in folder.glob("*.md")} - {"README.md"}


def test_the_readmes_example_works_as_it_stands(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    with HostedDeployment(tmp_path) as hosted:
        wheel = hosted.plugin({"sample_plugin/__init__.py": SOURCE})
        real = example.replace(DIRECTORY, str(hosted.directory)).replace(WHEEL, str(wheel))
        after = "print(plugin.facts.plugin_id)\ngate.close()\n"
        assert in_fresh_process(real + after).splitlines() == ["sample_plugin"]
        hosted.revoke(wheel)
        hosted.refresh()
        (told, *_) = in_fresh_process(real + "gate.close()\n").splitlines()
    assert told.startswith("[revoked.artifact]")
