"""Threads that read into a type for the first time at once: none meets a half-made table of msgspec's."""

from __future__ import annotations

from tests.hosts import in_fresh_process

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


def test_many_threads_at_once() -> None:
    assert in_fresh_process(AT_ONCE) == "whole"


def test_a_fork_waits_for_a_table_and_its_child_makes_others() -> None:
    assert in_fresh_process(IN_A_CHILD) == "True\n7"
