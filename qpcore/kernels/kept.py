"""Problems without the rows of G that were sifted out: into the slots, and out of them again."""

import numpy as np
from numba.extending import overload

from qpcore.kernels.machine import barrier, kernel
from qpcore.kernels.pack import PackType
from qpcore.kernels.packed import as_floats
from qpcore.kernels.sift import limit_of
from qpcore.kernels.transfer import ROWS_AT_ONCE, load_matrix, load_Q, prepare_sound
from qpcore.kernels.transposed import entries_of_slots, move_block
from qpcore.kernels.vectors import load_entries, load_limits, load_rows, store_vector
from qpcore.kernels.workspace import Sizes

# ---- in ------------------------------------------------------------------------------------------


@kernel(inline=True)
def sizes_of_kept(sizes, most):
    """Sizes of problems with so many rows of G."""
    left_out = sizes.m - most
    return Sizes(
        sizes.n,
        most,
        sizes.p,
        sizes.rows - left_out,
        (min(sizes.first[0], most), min(sizes.first[1], most)),
        (sizes.last[0] - left_out, sizes.last[1] - left_out),
    )


@kernel
def load_kept(work, data, kept, sizes, first, slots, team):
    """Bring problems first.. into the slots, equilibrated, with the rows of G that are kept.

    A slot with fewer rows than the others is filled up with rows of zeros, without limits.
    """
    qp, m, rows, entry = work.qp, sizes.m, sizes.rows, data.entry
    load_Q(qp, data, first, slots, team)
    load_kept_rows(qp.Gt, data.G, kept, slots)
    if sizes.p > 0:
        load_matrix(qp.K, sizes.n, True, data.A, data.entry[4], first, slots, team)
    load_entries(qp.q, data.q, entry[1], first, slots, team)
    if sizes.p > 0:
        load_entries(qp.b, data.b, entry[5], first, slots, team)
    for slot in range(slots):
        problem = min(first + slot, entry.shape[1] - 1)
        load_kept_limits(qp, 0, data.h, entry[3, problem], kept, slot)
        load_kept_limits(qp, 1, data.h_lower, entry[8, problem], kept, slot)
    load_limits(qp, 0, m, rows, data.ub, entry[7], first, slots, team)
    load_limits(qp, 1, m, rows, data.lb, entry[6], first, slots, team)
    barrier(team)
    prepare_sound(work, sizes, True, team)


def load_kept_rows(Gt, G, kept, slots):
    """Kept rows of G, as columns."""
    for k in range(Gt.shape[1]):
        Gt[:, k] = G.reshape(-1, G.shape[2])[kept.places[k]]


@overload(load_kept_rows)
def _load_kept_rows(Gt, G, kept, slots):
    chosen = load_kept_rows_as_packs if isinstance(Gt.dtype, PackType) else load_kept_rows_as_floats
    return lambda Gt, G, kept, slots: chosen(Gt, G, kept, slots)


@kernel
def load_kept_rows_as_floats(Gt, G, kept, slots):
    """Rows of one problem, a few at once."""
    n, count = Gt.shape
    flat = G.reshape(G.shape[0] * G.shape[1], n)
    for start in range(0, count, ROWS_AT_ONCE):
        for j in range(n):
            for k in range(start, min(start + ROWS_AT_ONCE, count)):
                Gt[j, k] = flat[kept.places[k], j]


@kernel
def load_kept_rows_as_packs(Gt, G, kept, slots):
    """The k-th row of every slot at a time, in blocks as in `transfer.load_packs`."""
    n, numbers = Gt.shape[0], as_floats(Gt)
    flat = G.reshape(G.shape[0] * G.shape[1], 1, n)
    for k in range(Gt.shape[1]):
        places = entries_of_slots(Gt, kept.places, k * slots)
        if n >= slots:
            for start in range(0, n, slots):
                j = min(start, n - slots)
                move_block(Gt, j, k, 1, 0, flat, places, 0, j)
        else:
            for slot in range(slots):
                place = kept.places[k * slots + slot]
                for j in range(n):
                    numbers[j, k, slot] = flat[place, 0, j]
    for slot in range(slots):
        for k in range(kept.counts[slot], Gt.shape[1]):
            for j in range(n):
                numbers[j, k, slot] = 0


@kernel
def load_kept_limits(qp, side, values, entry, kept, slot):
    """Limits of kept rows on one side; those that are none, or not given, are marked absent."""
    limit, there, count = as_floats(qp.limit), as_floats(qp.present), kept.counts[slot]
    for k in range(qp.Gt.shape[1]):
        given = limit_of(values, entry, kept.rows[slot, k], np.inf) if k < count else np.inf
        limit[side, k, slot] = 0 if given == np.inf else given
        there[side, k, slot] = 0 if given == np.inf else 1


@kernel
def load_kept_cotangents(work, answer, cotangents, kept, sizes, first, slots, team):
    """Bring answers and cotangents into the places where `differentiate` expects them."""
    at, residual, m = work.at, work.residual, sizes.m
    for point, x, y, v in (
        (answer, at.x, at.y, at.v),
        (cotangents, residual.Qx, residual.Ax, residual.sides[0]),
    ):
        load_rows(x, point.x, first, slots, team)
        load_rows(y, point.y, first, slots, team)
        load_rows(v[m:], point.z_box, first, slots, team)
        for slot in range(slots):
            i = min(first + slot, point.z.shape[0] - 1)
            load_kept_vector(v, point.z, i, kept, m, slot)
    barrier(team)


@kernel
def load_kept_vector(out, values, i, kept, m, slot):
    """The numbers of kept rows, and zeros where a slot has fewer of them than the others."""
    numbers, count = as_floats(out), kept.counts[slot]
    for k in range(m):
        numbers[k, slot] = values[i, kept.rows[slot, k]] if k < count else 0


# ---- out -----------------------------------------------------------------------------------------


@kernel
def store_kept(derivative, answer, work, data, kept, sizes, first, slots, team):
    """Hand out what was found, but not where a row that was left out binds after all.

    Returned is whether there is such a slot; it stays pending.
    """
    pending = False
    for slot in range(slots):
        i = first + slot
        if i < answer.x.shape[0] and kept.pending[slot]:
            store_point(derivative.adjoint, work.at, kept, sizes, i, slot, team)
            store_point(derivative.answer, work.step, kept, sizes, i, slot, team)
            certificate = derivative.certificate[i]
            store_vector(certificate, work.outcome.certificate, 0, True, slot, team)
            certificate[0] = min(kept.margin[slot], certificate[0])
            right = kept.counts[slot] == data.G.shape[1]
            right = right or stays_clear(derivative, answer, data, kept, i, slot)
            kept.pending[slot] = not right
            pending = pending or not right
    return pending


@kernel
def store_point(out, point, kept, sizes, i, slot, team):
    """One problem's point: the multipliers of rows that were left out are zero."""
    store_vector(out.x[i], point.x, 0, True, slot, team)
    store_vector(out.y[i], point.y, 0, True, slot, team)
    store_vector(out.z_box[i], point.v, sizes.m, True, slot, team)
    numbers, z, rows, count = as_floats(point.v), out.z[i], kept.rows[slot], kept.counts[slot]
    for k in range(z.shape[0]):
        z[rows[k]] = numbers[k, slot] if k < count else 0


@kernel
def stays_clear(derivative, answer, data, kept, i, slot):
    """Whether the exact answer keeps away from the rows that were left out.

    |g dx| <= |g| |dx| tells nearly always; else the rows are looked at. Where nothing exact was
    found, with an error of one, rows that did have multipliers are not held to be free.
    """
    x, before = derivative.answer.x[i], answer.x[i]
    if not derivative.certificate[i, 3] < 1 and kept.pull[slot] > 0:
        return False
    moved = x.dtype.type(0)
    for j in range(x.shape[0]):
        moved += (x[j] - before[j]) * (x[j] - before[j])
    if moved < kept.room[slot] * kept.room[slot]:
        return True
    G, clear = data.G[data.entry[2, i]], True
    for place in range(kept.counts[slot], G.shape[0]):
        k, Gx = kept.rows[slot, place], x.dtype.type(0)
        for j in range(x.shape[0]):
            Gx += G[k, j] * x[j]
        upper = limit_of(data.h, data.entry[3, i], k, np.inf)
        lower = limit_of(data.h_lower, data.entry[8, i], k, -np.inf)
        clear = clear and lower < Gx < upper
    return clear
