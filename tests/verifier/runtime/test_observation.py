"""What plugins reach for is recorded, by real sockets, threads and processes; nothing that was said there is."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import util
from pathlib import Path

import pytest

from tests.hosts import in_fresh_process
from tests.verifier.runtime.observing import NOON, Loaded, http_server, observing, seen, tcp_server, udp_port
from verifier.importing import libraries
from verifier.runtime import Observed, observation
from verifier.runtime.observed import FAILURES, Log


@pytest.fixture(scope="module")
def plugins() -> Iterator[dict[str, Loaded]]:
    found = {name: Loaded(name) for name in ("observed_first", "observed_second")}
    yield found
    for loaded in found.values():
        loaded.registration.unregister()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tcp_server() as number:
        yield number


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    with http_server() as number:
        yield number


@pytest.fixture(autouse=True)
def _observing() -> Iterator[None]:
    failures = FAILURES.value
    with observing():
        yield
    assert FAILURES.value == failures


@pytest.fixture
def first(plugins: dict[str, Loaded]) -> Loaded:
    return plugins["observed_first"]


@pytest.fixture
def second(plugins: dict[str, Loaded]) -> Loaded:
    return plugins["observed_second"]


def hows(observed: Observed) -> set[str]:
    return {record.whose.how for record in observed.records}


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_connection(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.connect(port)
    [name, connection] = run.observed.records
    assert name.event == ("resolve", "127.0.0.1", port, "", "")
    assert connection.event == ("connect", "127.0.0.1", port, "tcp", "")
    assert connection.whose == ("observed_first", first.digest, run.run_id, "frames", False)
    assert (name.at, connection.at, name.times) == (NOON, NOON + timedelta(seconds=1), 1)
    assert run.observed.coverage == "in-process"
    assert not observation.outside().records


def test_a_request_and_none_of_its_contents(first: Loaded, web: int) -> None:
    with first.run() as run:
        first.module.request(web)
        first.module.with_requests(web)
    assert ("request", "localhost", web) in seen(run.observed)
    assert {record.event.scheme for record in run.observed.records if record.event.kind == "request"} == {"http"}
    assert "hush" not in json.dumps(run.observed.document)


def test_datagrams_with_an_address(first: Loaded) -> None:
    with udp_port() as number, first.run() as run:
        first.module.datagram(number)
    assert {(record.event.kind, record.event.transport, record.times) for record in run.observed.records} == {
        ("send", "udp", 2),  # sendto and sendmsg; the third went where the socket was connected to
        ("connect", "udp", 1),
    }


def test_names_that_are_looked_up(first: Loaded) -> None:
    with first.run() as run:
        first.module.lookup("LocalHost")
    assert seen(run.observed) == {("resolve", "localhost", 443), ("resolve", "localhost", None)}


def test_a_socket_of_the_file_system(first: Loaded, tmp_path: Path) -> None:
    with first.run() as run:
        assert first.module.to_path(str(tmp_path / "none")) == "FileNotFoundError"
    assert seen(run.observed) == {("connect", str(tmp_path / "none"), None)}


def test_programs_without_their_arguments(first: Loaded) -> None:
    with first.run() as run:
        assert first.module.program("/bin/echo", "hush") == b"hush\n"
        first.module.through(os.system, ": hush")
    assert seen(run.observed) == {("process", "/bin/echo", None), ("process", "a shell", None)}
    assert "hush" not in json.dumps(run.observed.document)


def test_a_library_that_the_plugin_opens(first: Loaded) -> None:
    with first.run() as run:
        first.module.library("libc.so.6")
    assert seen(run.observed) == {("library", "libc.so.6", None)}


def test_libraries_that_the_verified_wheel_brings(first: Loaded) -> None:
    with first.run() as run:
        assert not first.module.through(libraries._handle_of, "libnothing.so.1")
    assert not run.observed.records


def test_what_comes_again_is_counted(first: Loaded, port: int) -> None:
    with first.run() as run:
        before = run.observed
        for _ in range(5):
            first.module.connect(port)
    assert [record.times for record in run.observed.records] == [5, 5]
    assert before.records == ()


def test_beyond_the_cap_only_the_number(first: Loaded, port: int) -> None:
    with first.run(cap=2) as run:
        first.module.connect(port)
        first.module.lookup("localhost")
        first.module.connect(port)
    assert (len(run.observed.records), run.observed.beyond) == (2, 2)
    assert [record.times for record in run.observed.records] == [2, 2]


def test_many_threads_at_once(first: Loaded) -> None:
    with first.run(cap=50) as run:
        threads = [
            threading.Thread(target=lambda: [first.module.through(sys.audit, "os.system", b"x") for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [record.times for record in run.observed.records] == [4_000]


# -- whose it is -------------------------------------------------------------------------------------------------------


def test_in_a_thread(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.in_thread(first.module.connect, port)
    assert hows(run.observed) == {"frames"}
    assert ("connect", "127.0.0.1", port) in seen(run.observed)


def test_the_host_s_code_in_a_thread_of_the_plugin(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.in_thread(lambda: socket.create_connection(("127.0.0.1", port)).close())
    assert hows(run.observed) == {"thread"}


def test_in_a_thread_that_such_a_thread_starts(first: Loaded, port: int) -> None:
    def further() -> None:
        thread = threading.Thread(target=lambda: socket.create_connection(("127.0.0.1", port)).close())
        thread.start()
        thread.join()

    with first.run() as run:
        first.module.in_thread(further)
    assert hows(run.observed) == {"thread"}


def test_in_a_pool_of_the_plugin(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.in_pool(socket.create_connection, ("127.0.0.1", port)).close()
    assert hows(run.observed) == {"run"}


def test_in_a_pool_of_the_host_that_outlives_the_run(first: Loaded, second: Loaded, port: int) -> None:
    def reach() -> None:
        socket.create_connection(("127.0.0.1", port)).close()

    with ThreadPoolExecutor(1) as pool:
        with first.run() as run:
            pool.submit(reach).result()
        with second.run() as other:
            pool.submit(reach).result()
        pool.submit(reach).result()
    assert {record.whose.plugin_id for record in run.observed.records} == {"observed_first"}
    assert {record.whose.plugin_id for record in other.observed.records} == {"observed_second"}
    assert hows(observation.outside()) == {"nobody"}


def test_in_asyncio(first: Loaded, port: int) -> None:
    async def main() -> None:
        with first.run() as run:
            await first.module.with_asyncio(port)
        found.append(run.observed)

    found: list[Observed] = []
    asyncio.run(main())
    # The name is looked up in the loop's pool, where no frame of the plugin is.
    assert ("resolve", "localhost", port) in seen(found[0])
    assert any(record.event.kind == "connect" for record in found[0].records)
    assert hows(found[0]) == {"frames", "run"}


def test_two_runs_in_one_loop(first: Loaded, second: Loaded, port: int) -> None:
    async def one(loaded: Loaded) -> Observed:
        with loaded.run() as run:
            await loaded.module.with_asyncio(port)
        return run.observed

    async def main() -> list[Observed]:
        return await asyncio.gather(*(one(loaded) for loaded in (first, second, first)))

    for loaded, observed in zip((first, second, first), asyncio.run(main()), strict=True):
        assert {record.whose.plugin_id for record in observed.records} == {loaded.name}
        assert any(record.event.kind == "connect" for record in observed.records)


def test_a_finaliser_blames_its_own_plugin(first: Loaded, second: Loaded, port: int) -> None:
    doomed = [first.module.Finalised(port)]

    def free() -> None:
        doomed.clear()
        gc.collect()

    with second.run() as run:
        second.module.through(free)
    assert not run.observed.records
    assert {(record.whose.plugin_id, record.whose.run_id) for record in observation.outside().records} == {
        ("observed_first", "")
    }
    assert all(record.whose.ambiguous for record in observation.outside().records)


def test_a_library_called_by_the_plugin(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.through(socket.create_connection, ("127.0.0.1", port)).close()
    assert hows(run.observed) == {"frames"}


def test_the_host_s_code_within_a_run(first: Loaded, port: int) -> None:
    with first.run() as run:
        socket.create_connection(("127.0.0.1", port)).close()
    assert hows(run.observed) == {"run"}


def test_a_callback_into_the_outer_run(first: Loaded, second: Loaded, port: int) -> None:
    with first.run() as outer, second.run() as inner:
        second.module.through(first.module.connect, port)
    assert not inner.observed.records
    assert {(record.whose.plugin_id, record.whose.ambiguous) for record in outer.observed.records} == {
        ("observed_first", True)
    }


def test_outside_all_runs(first: Loaded, port: int) -> None:
    first.module.connect(port)
    socket.create_connection(("127.0.0.1", port)).close()
    assert {(record.whose.plugin_id, record.whose.how) for record in observation.outside().records} == {
        ("observed_first", "frames"),
        ("", "nobody"),
    }


# -- it stops nothing and alters nothing -------------------------------------------------------------------------------


def test_objects_that_lie_are_not_asked(first: Loaded, port: int) -> None:
    with first.run() as run:
        first.module.lying(port)
    assert seen(run.observed) == {("connect", "127.0.0.1", port)}


def test_what_fails_is_counted_and_reaches_nobody(first: Loaded, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a clock that fails")

    run = first.run()
    monkeypatch.setattr(run.log, "_clock", broken)
    counted = FAILURES.value
    with monkeypatch.context() as patch:
        patch.setattr(observation, "FAILURES", other := type(FAILURES)())
        with run:
            first.module.connect(port)
        assert other.value == 2
    assert not run.observed.records
    assert counted == run.observed.failures


def test_a_clock_that_reaches_out_itself(first: Loaded, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def asks_the_network() -> object:
        asked.append(port)
        socket.create_connection(("127.0.0.1", port)).close()
        return NOON

    run = first.run()
    monkeypatch.setattr(run.log, "_clock", asks_the_network)
    with monkeypatch.context() as patch:
        patch.setattr(observation, "FAILURES", other := type(FAILURES)())
        with run:
            first.module.connect(port)
        assert other.value == 4
    assert len(run.observed.records) == len(asked) == 2


def test_errors_and_results_are_as_they_were(first: Loaded) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with first.run() as run, pytest.raises(ConnectionRefusedError):
            first.module.connect(bound.getsockname()[1])
        with first.run() as other, pytest.raises(FileNotFoundError):
            first.module.program("/no/such/program")
        with first.run(), ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
    assert ("process", "/no/such/program", None) in seen(other.observed)
    assert len(run.observed.records) == 2


def test_threads_see_their_own_contexts(first: Loaded) -> None:
    from contextvars import ContextVar

    mine: ContextVar[str] = ContextVar("mine", default="unset")
    mine.set("the host's")
    with first.run():
        assert first.module.in_pool(mine.get) == "unset"


def test_a_run_of_a_gate_that_does_not_observe(first: Loaded, port: int) -> None:
    from verifier.runtime import Run, Switch

    with Run(plugin_id=first.name, artifact_digest=first.digest, switch=Switch("", "")) as run:
        first.module.connect(port)
    assert (run.observed.coverage, run.observed.records) == ("none", ())
    assert not observation.outside().records


def test_told_to_stop(first: Loaded, port: int) -> None:
    observation.uninstall()
    with first.run() as run:
        first.module.connect(port)
    assert not run.observed.records
    assert "_loadlock_runs" not in threading.current_thread().__dict__
    assert threading.Thread.start.__module__ == "threading"


def test_in_a_forked_child(first: Loaded, port: int) -> None:
    with first.run() as run:
        child = os.fork()
        if child == 0:
            try:
                first.module.connect(port)
                found = seen(run.observed)
            except BaseException:
                os._exit(1)
            os._exit(0 if ("connect", "127.0.0.1", port) in found else 2)
        assert os.waitpid(child, 0)[1] == 0
    assert seen(run.observed) == {("process", "a fork of this process", None)}  # what the child does is in its own copy


REFUSING = """
import logging, sys
def refuse(event, args):
    if event == "sys.addaudithook":
        raise RuntimeError("no more hooks")
sys.addaudithook(refuse)
from verifier.clock import utc_now
from verifier.runtime import observation
logging.basicConfig(stream=sys.stdout, format="%(message)s")
print(observation.install(utc_now))
"""


def test_another_hook_that_refuses_ours() -> None:
    said = in_fresh_process(REFUSING)
    assert said.splitlines() == [
        "plugins are not observed: another audit hook of this process does not let it happen", "False",
    ]  # fmt: skip


# -- what cannot be seen -----------------------------------------------------------------------------------------------


def test_a_process_started_below_the_events_is_not_seen(first: Loaded) -> None:
    with first.run() as run:
        pid = first.module.through(util.spawnv_passfds, b"/bin/true", [b"/bin/true"], [])
        assert os.waitpid(pid, 0)[1] == 0
    assert not run.observed.records


def test_the_traffic_of_a_process_is_not_seen(first: Loaded, port: int) -> None:
    script = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    with first.run() as run:
        first.module.through(subprocess.check_call, [sys.executable, "-S", "-c", script])
    assert seen(run.observed) == {("process", sys.executable, None)}


def test_a_cap_is_a_cap() -> None:
    log = Log(lambda: NOON, 0)
    assert log.view() == Observed("in-process", failures=FAILURES.value)
