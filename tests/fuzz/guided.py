"""One target under atheris: ``python -m tests.fuzz.guided TARGET [OPTION…] DIRECTORY``; libFuzzer ends the process."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["attestor", "crl_server", "verifier"]):
    from tests.fuzz.targets import feed

if __name__ == "__main__":
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: feed(target, data))
    atheris.Fuzz()
