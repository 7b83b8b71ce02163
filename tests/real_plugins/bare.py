"""Run where Loadlock is and nothing else: load a plugin with all that it needs, and let it write its page.

    python -I bare.py HOME WHEEL WHEELHOUSE SCRATCH

mkdocs, its engine of templates and its YAML parser are locked dependencies of the plugin; none of them is installed.
Prints one JSON object: what was loaded from where.
"""

# The plugin's dependencies are installed nowhere, where a type checker could look.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

from verifier.gate import Gate


def main(home: str, wheel: str, wheelhouse: str, scratch: str) -> None:
    """Load, use, tell."""
    lacking = [name for name in ("mkdocs", "yaml", "jinja2", "markupsafe") if importlib.util.find_spec(name) is None]
    with Gate.open(home, wheelhouse=wheelhouse) as gate:
        plugin = gate.load(wheel)
        with plugin.run():
            redirects = plugin.entry_point("mkdocs.plugins", "redirects").load()()

            import yaml
            from mkdocs.structure.files import File, Files

            redirects.load_config({"redirect_maps": yaml.load("old.md: index.md", Loader=yaml.CSafeLoader)})
            config = {"site_dir": scratch, "use_directory_urls": True}
            redirects.on_files(Files([File("index.md", scratch, scratch, use_directory_urls=True)]), config)
            redirects.on_post_build(config)
    top_levels = {name for found in plugin.facts.dependencies for name in found.top_levels}
    told = {
        "lacking": lacking,
        "page": (Path(scratch) / "old" / "index.html").read_text(encoding="utf-8"),
        "compiled": [yaml.CSafeLoader.__mro__[1].__module__, sys.modules["markupsafe._speedups"].__file__],
        "versions": {found.name: importlib.metadata.version(found.name) for found in plugin.facts.dependencies},
        "elsewhere": [
            name
            for name, module in sys.modules.items()
            if name.partition(".")[0] in top_levels
            and getattr(module, "__file__", None) is not None
            and not str(module.__file__).startswith("loadlock:sha256:")
        ],
        "served": sum(str(getattr(module, "__file__", "")).startswith("loadlock:") for module in sys.modules.values()),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
