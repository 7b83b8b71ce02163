"""The switch, once thrown, refuses for good: in every thread, and across fork."""

from __future__ import annotations

import os
import threading

import pytest

from verifier.errors import PluginRevoked
from verifier.runtime import Run, Switch


def test_thrown() -> None:
    switch = Switch("csv-exporter", "sha256:00")
    switch.check()
    assert switch.reason is None
    switch.throw("vulnerability")
    switch.throw("another reason")
    for _ in range(2):
        with pytest.raises(PluginRevoked) as revoked:
            switch.check()
    assert revoked.value.code == "plugin.revoked"
    assert "csv-exporter" in revoked.value.what
    assert "sha256:00" in revoked.value.what
    assert revoked.value.found == switch.reason == "vulnerability"


def test_thrown_without_words() -> None:
    switch = Switch("csv-exporter", "sha256:00")
    switch.throw("")
    with pytest.raises(PluginRevoked):
        switch.check()


def test_thrown_with_a_whole_error() -> None:
    switch = Switch("csv-exporter", "sha256:00")
    error = PluginRevoked("plugin.revoked", "rule R13 matches", found="foo 2.0", expected="foo 2.1", todo="Update foo.")
    switch.throw(error)
    with pytest.raises(PluginRevoked) as revoked:
        switch.check()
    assert revoked.value is not error
    assert revoked.value.document() == error.document()
    assert switch.reason == "foo 2.0"


def test_threads_agree_on_the_first_reason() -> None:
    switch, barrier = Switch("x", "sha256:00"), threading.Barrier(8)
    seen: list[str] = []

    def throw(number: int) -> None:
        barrier.wait()
        switch.throw(f"reason {number}")
        try:
            switch.check()
        except PluginRevoked as revoked:
            seen.append(revoked.found)

    threads = [threading.Thread(target=throw, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [switch.reason] * 8


def test_fork() -> None:
    thrown, untouched = Switch("a", "sha256:00"), Switch("b", "sha256:00")
    thrown.throw("vulnerability")
    child = os.fork()
    if child == 0:
        try:
            untouched.throw("in the child")
            untouched.check()
        except PluginRevoked:
            try:
                thrown.check()
            except PluginRevoked:
                os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    untouched.check()


def test_revoked_run_does_not_start_and_its_calls_are_refused() -> None:
    switch = Switch("x", "sha256:00")
    run = Run(plugin_id="x", artifact_digest="sha256:00", switch=switch)
    called: list[int] = []
    run.call(called.append, 1)
    with run:
        switch.throw("vulnerability")
        with pytest.raises(PluginRevoked):
            run.call(called.append, 2)
    with pytest.raises(PluginRevoked), run:
        called.append(3)
    assert called == [1]
