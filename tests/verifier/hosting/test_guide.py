"""The guide for hosts that have a plugin system does not lie: its settings and examples are used as they stand."""

from __future__ import annotations

import re
import shutil

from tests.hosts import ROOT, HostedDeployment, in_fresh_process, set_of

GUIDE = (ROOT / "docs" / "guides" / "drop-in.md").read_text(encoding="utf-8")
MODULES = {"sample_plugin/__init__.py": "def csv():\n    return 'csv'\n"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_examples_work_as_they_stand(hosted: HostedDeployment) -> None:
    points = {"exporters": {"csv": "sample_plugin:csv"}, "acme": {"csv": "sample_plugin"}}
    wheel = hosted.plugin(MODULES, entry_points=points)
    unsigned = hosted.put(hosted.sim.wheel("other-plugin"), None)
    place = hosted.directory / "plugins"
    place.mkdir()
    for file in (wheel, set_of(wheel), unsigned):
        shutil.copy(file, place)
    (settings,) = blocks("toml")
    (hosted.directory / "loadlock.toml").write_text(settings)
    prelude = f"import os; os.environ['LOADLOCK_DEPLOYMENT'] = {str(hosted.directory)!r}\n"
    told = in_fresh_process(prelude + "\n".join(blocks("python")) + "\nprint(manager.list_name_plugin()[0][0])")
    lines = told.splitlines()
    assert lines[0] == "sample_plugin 1.0 core"
    assert "other_plugin-1.0-py3-none-any.whl: [set.missing]" in told
    assert "csv sample_plugin:csv 1.0" in lines
    assert lines[-2].startswith("csv <function csv")
    assert lines[-1] == "csv"
