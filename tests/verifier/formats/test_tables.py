"""Threads that read into a type for the first time at once: none meets a half-made table of msgspec's."""

from __future__ import annotations

import re

from tests.hosts import ROOT, in_fresh_process

AT_ONCE = """
import sys, threading
from tests.verifier.formats.vectors import PARSERS, VECTORS

sys.setswitchinterval(1e-6)
for vector in [vector for vector in VECTORS if vector.fields["name"] == "valid"]:
    barrier = threading.Barrier(4)
    def read():
        barrier.wait()
        PARSERS[vector.format](vector.data)
    threads = [threading.Thread(target=read) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print("whole")
"""
IN_A_CHILD = """
import os, threading
from verifier.formats import tables

with tables._LOCK:
    thread = threading.Thread(target=lambda: os.waitpid(child, 0) if (child := os.fork()) else os._exit(0))
    thread.start()
    thread.join(0.2)
    print(thread.is_alive())
thread.join()
child = os.fork()
if child == 0:
    tables.prepare(int)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_nobody_reads_into_a_type_that_was_not_prepared() -> None:
    direct = re.compile(
        r"msgspec\.(?:convert|json\.(?:decode|Decoder))\(|from msgspec(?:\.json)? import .*(?:convert|decode)"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for package in ("attestor", "crl_server", "loadlock", "verifier")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if direct.search(line)
    ]
    assert [line.partition(":")[0] for line in sorted(found)] == [
        "verifier/formats/dsse.py",  # bytes, of which there is no table
        "verifier/formats/strict_json.py",  # convert, after prepare
        *["verifier/formats/tables.py"] * 2,
    ], found


def test_many_threads_at_once() -> None:
    assert in_fresh_process(AT_ONCE) == "whole"


def test_a_fork_waits_for_a_table_and_its_child_makes_others() -> None:
    assert in_fresh_process(IN_A_CHILD) == "True\n7"
