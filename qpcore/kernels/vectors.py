"""Vectors of every slot's problem: brought in, limits marked, and handed out.

To packs they come as matrices do, a block of as many numbers as there are lanes at a time, the last
block over part of the one before it. Number by number they took a fifth of what it takes to
differentiate problems of 10 by 10.
"""

import numpy as np
from numba.extending import overload

from qpcore.kernels.machine import kernel, like, where
from qpcore.kernels.pack import PackType
from qpcore.kernels.packed import as_floats, as_matrix
from qpcore.kernels.transposed import (
    consecutive_slots,
    entries_of_slots,
    hand_out_block,
    move_block,
)

# A limit of this magnitude or more, or an infinite one, is no limit.
INFINITE = 1e20

# ---- in ------------------------------------------------------------------------------------------


@kernel
def load_vector(out, values, k, slot, team):
    """A vector of one problem, entry k."""
    numbers = as_floats(out)
    for i in range(team.lane, out.shape[0], team.width):
        numbers[i, slot] = values[k, i]


@kernel
def load_limits(qp, side, start, stop, values, entries, first, slots, team):
    """Limits of some rows on one side; those that are none, or not given, are marked absent."""
    limit, there = qp.limit[side], qp.present[side]
    if values.shape[1] > 0:
        load_entries(limit[start:stop], values, entries, first, slots, team)
    for i in range(start + team.lane, stop, team.width):
        zero, one = like(0, limit[i]), like(1, limit[i])
        # NaN is a limit, and a flaw that shows later
        absent = abs(limit[i]) >= like(INFINITE, zero)
        there[i] = where(absent, zero, one)
        limit[i] = where(absent, zero, limit[i])
        if values.shape[1] == 0:
            limit[i], there[i] = zero, zero


def load_entries(out, values, entries, first, slots, team):
    """Vectors of the problems first.., of each the entry of values that it uses."""
    load_entries_by_number(out, values, entries, first, slots, team)


@overload(load_entries)
def _load_entries(out, values, entries, first, slots, team):
    packed = isinstance(out.dtype, PackType)
    chosen = load_entries_by_block if packed else load_entries_by_number
    return lambda out, values, entries, first, slots, team: chosen(
        out, values, entries, first, slots, team
    )


@kernel
def load_entries_by_number(out, values, entries, first, slots, team):
    """A number at a time."""
    last = entries.shape[0] - 1
    for slot in range(slots):
        load_vector(out, values, entries[min(first + slot, last)], slot, team)


@kernel
def load_entries_by_block(out, values, entries, first, slots, team):
    """In blocks, if the vectors are long enough for one."""
    if out.shape[0] < slots:
        load_entries_by_number(out, values, entries, first, slots, team)
    else:
        load_blocks(out, values, entries_of_slots(out, entries, first), slots)


def load_rows(out, values, first, slots, team):
    """Rows of values from `first` on; the last one fills the slots beyond the end."""
    load_rows_by_number(out, values, first, slots, team)


@overload(load_rows)
def _load_rows(out, values, first, slots, team):
    packed = isinstance(out.dtype, PackType)
    chosen = load_rows_by_block if packed else load_rows_by_number
    return lambda out, values, first, slots, team: chosen(out, values, first, slots, team)


@kernel
def load_rows_by_number(out, values, first, slots, team):
    """A number at a time."""
    last = values.shape[0] - 1
    for slot in range(slots):
        load_vector(out, values, min(first + slot, last), slot, team)


@kernel
def load_rows_by_block(out, values, first, slots, team):
    """In blocks, if the vectors are long enough for one."""
    if out.shape[0] < slots:
        load_rows_by_number(out, values, first, slots, team)
    else:
        load_blocks(out, values, consecutive_slots(out, values.shape[0], first), slots)


@kernel
def load_blocks(out, values, entries, slots):
    """At least as many numbers as there are slots."""
    n = out.shape[0]
    column, rows = as_matrix(out, n, 1), values.reshape(values.shape[0], 1, values.shape[1])
    for j in range(0, n, slots):
        start = min(j, n - slots)
        move_block(column, start, 0, 1, 0, rows, entries, 0, start)


# ---- out -----------------------------------------------------------------------------------------


@kernel
def store_vector(out, values, start, meaningful, slot, team):
    """One problem's numbers from start on; zeros where there are none, NaN if meaningless."""
    numbers = as_floats(values)
    for i in range(team.lane, out.shape[0], team.width):
        if not meaningful:
            out[i] = np.nan
        elif start + i < values.shape[0]:
            out[i] = numbers[start + i, slot]
        else:
            out[i] = 0


def store_rows(out, values, first, slots, team):
    """Vectors of all slots, as rows of out from `first` on; no row, no vector."""
    store_rows_by_number(out, values, first, slots, team)


@overload(store_rows)
def _store_rows(out, values, first, slots, team):
    packed = isinstance(values.dtype, PackType)
    chosen = store_rows_by_block if packed else store_rows_by_number
    return lambda out, values, first, slots, team: chosen(out, values, first, slots, team)


@kernel
def store_rows_by_number(out, values, first, slots, team):
    """A number at a time."""
    for slot in range(min(slots, out.shape[0] - first)):
        store_vector(out[first + slot], values, 0, True, slot, team)


@kernel
def store_rows_by_block(out, values, first, slots, team):
    """In blocks, if the vectors are there and long enough for one, and all slots have a row."""
    n = out.shape[1]
    if n < slots or n > values.shape[0] or first + slots > out.shape[0]:
        store_rows_by_number(out, values, first, slots, team)
    else:
        for j in range(0, n, slots):
            start = min(j, n - slots)
            hand_out_block(out, first, start, values, start)
