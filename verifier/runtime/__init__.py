"""Plugins while they run: who is running, under which run, and whether it still may.

switch.py        refuses every further call once a plugin is revoked
runs.py          one run: its id, and the context that its work carries along
attribution.py   whose work this is, by the frames of the stack, then by the run
stamps.py        stamps log records with it
structured.py    the events of structlog
spans.py         the spans of OpenTelemetry
outputs.py       what a plugin has made
observation.py   records what a plugin reaches for, by Python's audit events
events.py        what an audit event says
observed.py      what was recorded of a run
declared.py      what was observed, against what was declared
threads.py       work that is handed to threads goes on belonging to its run
patching.py      a method of a library in whose place another stands
"""

from __future__ import annotations

from verifier.runtime.attribution import Attribution, attribute
from verifier.runtime.observed import Log, Observed, Record
from verifier.runtime.outputs import Output
from verifier.runtime.runs import Run, current
from verifier.runtime.switch import Switch

__all__ = ["Attribution", "Log", "Observed", "Output", "Record", "Run", "Switch", "attribute", "current"]
