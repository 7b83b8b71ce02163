"""Exports rows as CSV (RFC 4180) that spreadsheets open safely.

Entry point ``exporters: csv`` is :func:`export`.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time

__all__ = ["export"]

_log = logging.getLogger(__name__)

# A spreadsheet takes a cell that begins like this for a formula and runs it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def export(
    rows: Iterable[Mapping[str, object]],
    *,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    header: bool = True,
    guard_formulas: bool = True,
) -> str:
    r"""Write rows as CSV text with ``\r\n`` line ends.

    Args:
        rows: one mapping of column to value each. ``None`` and an absent column become an empty cell; dates and times
            are written as ISO 8601; everything else as ``str`` writes it.
        columns: which columns, in which order; by default all of them, in the order in which they first appear.
        delimiter: one character between cells.
        header: whether the first line names the columns.
        guard_formulas: put an apostrophe before text that a spreadsheet would run as a formula; numbers are left alone.

    Raises:
        ValueError: ``delimiter`` is not one character, or a row has a column that ``columns`` does not name.
    """
    if len(delimiter) != 1:
        raise ValueError(f"delimiter must be one character, not {delimiter!r}")
    kept = list(rows)
    names = _columns(kept) if columns is None else list(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", delimiter=delimiter, lineterminator="\r\n")
    if header and names:
        writer.writerow({name: _cell(name, guard_formulas) for name in names})
    for row in kept:
        writer.writerow({name: _cell(value, guard_formulas) for name, value in row.items()})
    _log.info("exported %d rows of %d columns", len(kept), len(names))
    return text.getvalue()


def _columns(rows: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: object, guard: bool) -> object:
    if value is None:
        return ""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if guard and isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
