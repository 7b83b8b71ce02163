"""Run inside a bare environment: load every wheel of a host's directory through the gate, and use each.

    python -I wheels.py DEPLOYMENT USES

USES is a JSON object of plugin ids to code; prints one of plugin ids to what became of it, ``ok`` or an error.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from verifier.hosting import Plugins, Settings


def main(deployment: str, uses: str) -> None:
    """Load, use, tell."""
    home = Path(deployment)
    told: dict[str, str] = {}
    with Plugins(Settings(deployment=home, plugins=(home / "plugins",), watch=False)) as plugins:
        told |= {refused.path.name: str(refused.error) for refused in plugins.refused}
        for plugin in plugins.loaded:
            name = plugin.facts.plugin_id
            try:
                with plugin.run():
                    exec(json.loads(uses)[name], {})
                told[name] = "ok"
            except Exception:
                told[name] = traceback.format_exc()
    tops = {top for plugin in plugins.loaded for top in plugin.facts.snapshot.top_levels}
    told["elsewhere"] = " ".join(
        name
        for name, module in sys.modules.items()
        if name.partition(".")[0] in tops
        and not name.startswith("requests.packages.")  # its other names for what it imports, the host's urllib3 too
        and not str(getattr(module, "__file__", None) or "loadlock:").startswith("loadlock:")
    )
    told["compiled"] = str(Path("/proc/self/maps").read_text(encoding="utf-8").count("/memfd:loadlock "))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
