"""Documents of a type that no thread has read before are read by several at once: msgspec alone would crash."""

from __future__ import annotations

from tests.hosts import in_fresh_process

THREADS = """
import sys, threading
from verifier.formats import strict_json
from verifier.formats.text import Digest, Name

sys.setswitchinterval(1e-6)
count, failed = 6, []
for number in range(60):
    class Inner(strict_json.Document, frozen=True):
        name: "Name"
        digests: "dict[Name, Digest]" = {}
        also: "Inner | None" = None

    class Outer(strict_json.Document, frozen=True):
        inner: "list[Inner]"
        one: "Inner | None" = None

    Outer.__module__ = Inner.__module__ = "__main__"
    barrier = threading.Barrier(count)
    def read():
        barrier.wait()
        value = strict_json.convert({"inner": [{"name": "a"}], "one": {"name": "b"}}, Outer, what="it")
        if value.one.name != "b":
            failed.append(value)
    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(failed))
"""


def test_several_threads_read_the_first_document_of_a_type() -> None:
    assert in_fresh_process(THREADS) == "0"
