"""The header table: read from a wheel and put back, nothing is lost; put onto other files, it is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.building.zip_headers import graft, read_entries
from tests.wheels import Entry, deflate, descriptor, pack
from verifier.wheels.archive import read_archive

A, B = Entry("a.py", b"a = 1\n" * 20), Entry("b/é.py", b"b = 2\n" * 20)
TIMES = struct.pack("<2HBI", 0x5455, 5, 1, 1_700_000_000)


class Pipe(io.BytesIO):
    """A stream that cannot go back, so that sizes follow the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_arguments: int) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


def written_to_a_pipe() -> bytes:
    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in (A, B):
            archive.writestr(entry.name, entry.data)
    return out.getvalue()


ARCHIVES: Mapping[str, Callable[[], bytes]] = {
    "empty": lambda: pack([]),
    "two files": lambda: pack([A, B]),
    "stored": lambda: pack([Entry("a.py", A.data, method=0)]),
    "with directories": lambda: pack([Entry("b/", method=0, mode=0o040755), A, B]),
    "extra fields": lambda: pack([Entry("a.py", A.data, both={"extra": TIMES}), B]),
    "made on DOS": lambda: pack([Entry("a.py", A.data, central={"made_by": 20, "external": 0x20, "internal": 1})]),
    "descriptor, sizes before too": lambda: pack(
        [Entry("a.py", A.data, both={"flags": 8}, descriptor=descriptor(A.data, deflate(A.data))), B]
    ),
    "descriptor, sizes deferred": written_to_a_pipe,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_table_on_its_own_wheel_gives_the_same_bytes(name: str) -> None:
    data = ARCHIVES[name]()
    read_archive(data)
    assert graft(data, [entry.header for entry in read_entries(data)]) == data


def test_a_needless_zip64_field_is_part_of_the_table() -> None:
    plain = pack([A])
    (entry,) = read_entries(plain)
    grafted = graft(plain, [entry.header._replace(zip64=True)])
    assert read_archive(grafted) == {"a.py": A.data}
    assert [again.header.zip64 for again in read_entries(grafted)] == [True]


@pytest.mark.parametrize("others", [[A], [A, B, Entry("c.py")], [A, Entry("b/e.py", B.data)]])
def test_a_table_of_other_files_is_refused(others: list[Entry]) -> None:
    table = [entry.header for entry in read_entries(pack(others))]
    with pytest.raises(ValueError, match="other files"):
        graft(pack([A, B]), table)


def test_order_and_method_and_directories_come_from_the_table() -> None:
    theirs = pack([Entry("b/", method=0, mode=0o040755), Entry("b/é.py", B.data, method=0), A])
    ours = pack([Entry("x/", method=0, mode=0o040755), A, B])
    assert graft(ours, [entry.header for entry in read_entries(theirs)]) == theirs


CONTENTS = st.dictionaries(
    st.text("abé", min_size=1, max_size=6).map(lambda stem: f"{stem}.py"), st.binary(max_size=200), max_size=4
)
FIELDS = st.fixed_dictionaries({"time": st.integers(0, 0xFFFF), "date": st.integers(0, 0xFFFF)})


@given(CONTENTS, st.lists(FIELDS, min_size=4, max_size=4), st.sampled_from([0, 8]))
def test_whatever_the_headers_say_grafting_them_gives_the_other_bytes(
    contents: dict[str, bytes], fields: list[dict[str, int]], method: int
) -> None:
    ours = pack([Entry(name, data) for name, data in contents.items()])
    theirs = pack(
        [
            Entry(name, data, method=method, mode=0o100755, both=dict(more))
            for (name, data), more in zip(reversed(contents.items()), fields, strict=False)
        ]
    )
    table = [entry.header for entry in read_entries(theirs)]
    assert graft(ours, table) == theirs
    assert [entry.content for entry in read_entries(theirs)] == list(reversed(contents.values()))
