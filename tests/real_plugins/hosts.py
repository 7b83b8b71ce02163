"""Run inside a plugin's real host environment: load the plugin through the gate, then let the host use it.

    python -I hosts.py HOME WHEEL HOST GROUP NAME SCRATCH

The host gets the entry point of the signed manifest from the gate, and takes it in through its own programming
interface or configuration; it discovers nothing by itself, and the plugin was never installed. Prints one JSON object:
what was loaded, and what the host made of it.
"""

# Hosts are installed in environments of their own, where no type checker looks.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verifier.gate import Gate


def pytest_host(entry: Any, scratch: Path) -> dict[str, Any]:
    """pytest ends a test that hangs."""
    import pytest

    class Reports:
        said = ""

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            self.said += report.longreprtext

    (scratch / "test_hangs.py").write_text("import threading\n\ndef test_it():\n    threading.Event().wait(30)\n")
    reports = Reports()
    status = pytest.main(["--timeout=0.1", "-p", "no:cacheprovider", str(scratch)], plugins=[entry, reports])
    return {"status": int(status), "said": re.findall(r"Failed: (Timeout.*)", reports.said)[-1]}


def flake8_host(entry: Any, scratch: Path) -> dict[str, Any]:
    """flake8 complains of a badly named class; its configuration names the checker."""
    from flake8.main.cli import main

    (scratch / "names.py").write_text("class badlyNamed:\n    pass\n")
    (scratch / "flake8.ini").write_text(
        f"[flake8:local-plugins]\nextension =\n    N8 = {entry.__module__}:{entry.__name__}\n"
    )
    options = [
        f"--config={scratch}/flake8.ini",
        "--jobs=1",
        "--format=%(code)s %(text)s",
        f"--output-file={scratch}/out",
    ]
    status = main([*options, str(scratch)])
    return {"status": status, "said": (scratch / "out").read_text().strip()}


def mkdocs_host(entry: Any, scratch: Path) -> dict[str, Any]:
    """mkdocs builds a site with a redirect."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    (scratch / "docs").mkdir()
    (scratch / "docs" / "index.md").write_text("# Home\n")
    (scratch / "mkdocs.yml").write_text("site_name: Site\nplugins: []\n")
    config = load_config(config_file=str(scratch / "mkdocs.yml"))
    plugin = entry()
    errors, warnings = plugin.load_config({"redirect_maps": {"old.md": "index.md"}})
    config.plugins["redirects"] = plugin
    build(config)
    page = (scratch / "site" / "old" / "index.html").read_text()
    return {"status": len(errors) + len(warnings), "said": "redirects" if 'url=../"' in page else page[:500]}


def mdformat_host(entry: Any, scratch: Path) -> dict[str, Any]:
    """mdformat lines up a table."""
    import mdformat
    from mdformat.plugins import PARSER_EXTENSIONS

    PARSER_EXTENSIONS["tables"] = entry
    return {"status": 0, "said": mdformat.text("|a|long|\n|-|-|\n|1|2|\n", extensions={"tables"})}


def hatchling_host(entry: Any, scratch: Path) -> dict[str, Any]:
    """hatchling reads metadata whose README is put together from fragments."""
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    (scratch / "part.md").write_text("second")
    (scratch / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\ndynamic = ["readme"]\n'
        '[tool.hatch.metadata.hooks.fancy-pypi-readme]\ncontent-type = "text/markdown"\n'
        'fragments = [{text = "first "}, {path = "part.md"}]\n'
    )
    os.chdir(scratch)
    plugins = PluginManager()
    plugins.manager.register(entry)
    return {"status": 0, "said": ProjectMetadata(str(scratch), plugins).core.readme}


HOSTS: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
    "pytest": pytest_host,
    "flake8": flake8_host,
    "mkdocs": mkdocs_host,
    "mdformat": mdformat_host,
    "hatchling": hatchling_host,
}


def main(home: str, wheel: str, host: str, group: str, name: str, scratch: str) -> None:
    """Load, name the entry point's object, run the host, tell."""
    with Gate.open(home) as gate:
        plugin = gate.load(wheel)
        entry = plugin.entry_point(group, name).load()
        place = Path(scratch)
        place.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            made = HOSTS[host](entry, place)
        origin = entry if hasattr(entry, "__spec__") else sys.modules[entry.__module__]
        facts = plugin.facts
        told = {
            "digest": facts.artifact_digest,
            "tier": facts.tier,
            "entry": getattr(entry, "__qualname__", entry.__name__),
            "loader": type(getattr(origin.__spec__, "loader", None)).__module__,
            "installed": any(Path(path, facts.snapshot.dist_info).exists() for path in sys.path),
            **made,
        }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
