"""Run inside a host's real environment: what ``loadlock host exec --settings SETTINGS PROGRAM …`` does.

python -I unchanged.py SETTINGS PROGRAM ARGUMENT…
"""

from __future__ import annotations

import argparse
import sys

from verifier.command import StandardOutput
from verifier.commands.execute import COMMAND


def main(settings: str, *argv: str) -> int:
    """Run the program; its exit status."""
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    arguments = parser.parse_args(["--settings", settings, *argv])
    return COMMAND.run(arguments, StandardOutput(as_json=False)) or 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
