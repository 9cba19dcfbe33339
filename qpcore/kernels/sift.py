"""Rows of G that do not bind at an answer have no part in its derivative (13): leave them out.

What is left is a smaller problem with the same derivative. A CPU's pack of problems, where half of
the rows bind, saves half of the Gram matrix and of what it takes to load G. Rows that are left out
are asked again at the end: the answer, made exact, must not have moved as far as to one of them.
"""

from collections import namedtuple

import numpy as np
from numba.extending import overload

from qpcore.kernels.linalg import scatter
from qpcore.kernels.machine import barrier, kernel
from qpcore.kernels.neighbours import lanes_along, pack_of_vector, zeros_along
from qpcore.kernels.pack import PackType
from qpcore.kernels.packed import as_floats, entries_of_slots, move_block
from qpcore.kernels.rows import TILE, add_sums, column, dot_rows_plain, four, packs_of, plus
from qpcore.kernels.transfer import (
    INFINITE,
    load_limits,
    load_matrix,
    load_Q,
    load_vector,
    prepare,
    store_vector,
)
from qpcore.kernels.workspace import Sizes

# A row may be left out if its slack, beside the largest term, is more than this, and if its
# multiplier beside the largest one is less than this share of that. At the edge of the tolerance
# both are its root, far less; what is not so clear is left to the Newton step.
CLEAR, VANISHES = 1e-3, 1e-3

# Problems with fewer rows are left whole. Where half of the rows bind, whole and sifted took, in
# microseconds a problem with n = m, 2.8 and 3.2 at 16, 8.3 and 8.0 at 32, 92 and 77 at 100; with
# matrices that the batch shares, which are otherwise loaded once, 3.8 and 4.8 at 24, 72 and 62 at
# 100. Of 64 rows and 32 variables, where a third binds, 14.0 and 11.5, shared 11.1 and 9.7.
LEAST_SIFTED = 40

# By slot: rows, those of G that are kept, in order, and behind them the others; counts: how many
# are kept. places: for the k-th row of every slot its place in all rows of all G, one after the
# other. margin: how clearly the others are free; room: how far x may move before it meets one of
# them; pull: the largest multiplier among them; pending: whether the result is still missing. Gx,
# per_norm: of one problem.
Sifted = namedtuple("Sifted", "rows places counts margin room pull pending Gx per_norm")


# ---- which rows ----------------------------------------------------------------------------------


@kernel
def sift(kept, data, answer, sizes, first, slots, everything, team):
    """Find the rows of every slot that are kept; returned is the largest number of them."""
    most = 0
    for slot in range(slots):
        problem = min(first + slot, data.entry.shape[1] - 1)
        if everything:
            keep_all(kept, sizes, slot)
        else:
            products_and_norms(kept, data.G[data.entry[2, problem]], answer.x[problem], team)
            sift_problem(kept, data, answer, problem, slot)
        most = max(most, kept.counts[slot])
    note_places(kept, data, first, slots)
    return most


@kernel
def keep_all(kept, sizes, slot):
    """Keep all rows of a slot."""
    kept.counts[slot], kept.margin[slot], kept.room[slot] = sizes.m, 1, np.inf
    kept.pull[slot] = 0
    for k in range(sizes.m):
        kept.rows[slot, k] = k


@kernel
def note_places(kept, data, first, slots):
    """Where the rows lie that are loaded side by side."""
    m, last = data.G.shape[1], data.entry.shape[1] - 1
    for slot in range(slots):
        start = m * data.entry[2, min(first + slot, last)]
        for k in range(m):
            kept.places[k * slots + slot] = start + kept.rows[slot, k]


@kernel
def products_and_norms(kept, G, x, team):
    """Gx, and one over the Euclidean norm, of every row of G, lanes along the rows."""
    m, n = G.shape
    step, zero = lanes_along(G), zeros_along(G)
    for start in range(0, m, TILE):
        i, k = four(start, m), 0
        dots = (zero, zero, zero, zero)
        squares = dots
        while k + step <= n:
            g = packs_of(G, i, k)
            dots, squares = plus(dots, pack_of_vector(x, k), g), plus_squares(squares, g)
            k += step
        rest = dot_rows_plain(G, i, x, k, n, 1)
        more = (rest[0] - rest[0], rest[1] - rest[1], rest[2] - rest[2], rest[3] - rest[3])
        for j in range(k, n):
            more = plus_squares(more, column(G, i, j))
        scatter(kept.Gx, start, m, add_sums(rest, dots))
        scatter(kept.per_norm, start, m, add_sums(more, squares))
    for k in range(m):
        norm = np.sqrt(kept.per_norm[k])
        kept.per_norm[k] = 1 / norm if norm > 0 else 1


@kernel(inline=True)
def plus_squares(v, x):
    """v + x x for four-vectors."""
    return v[0] + x[0] * x[0], v[1] + x[1] * x[1], v[2] + x[2] * x[2], v[3] + x[3] * x[3]


@kernel
def sift_problem(kept, data, answer, problem, slot):
    """Divide the rows of one problem into those that may bind and those that do not.

    Comparisons are written so that NaN keeps a row.
    """
    z, rows, m = answer.z[problem], kept.rows[slot], kept.Gx.shape[0]
    force, primal = largest_of(z), largest_primal(kept, answer.x[problem])
    count, margin, room, pull = 0, force - force + 1, force - force + np.inf, force - force
    for k in range(m):
        per, Gx = kept.per_norm[k], kept.Gx[k]
        upper = limit_of(data.h, data.entry[3, problem], k, np.inf)
        lower = limit_of(data.h_lower, data.entry[8, problem], k, -np.inf)
        above, below = per * (upper - Gx), per * (Gx - lower)
        reach = max(primal, per * size_of_limit(upper), per * size_of_limit(lower))
        nearer = below if below < above else above
        clear = min(nearer / reach, 1)
        free = clear > CLEAR and abs(z[k]) <= VANISHES * clear * force and upper != lower
        rows[m - 1 - (k - count) if free else count] = k
        count += 0 if free else 1
        margin = min(margin, clear) if free else margin
        room = min(room, nearer) if free else room
        pull = max(pull, abs(z[k])) if free else pull
    kept.counts[slot], kept.margin[slot], kept.room[slot] = count, margin, room
    kept.pull[slot] = pull


@kernel(inline=True)
def largest_of(v):
    """The largest magnitude in a vector of floats."""
    most = v.dtype.type(0)
    for k in range(v.shape[0]):
        most = max(most, abs(v[k]))
    return most


@kernel(inline=True)
def largest_primal(kept, x):
    """The largest of one, |x| and |Gx|, where rows of G have norm one."""
    most = max(largest_of(x), x.dtype.type(1))
    for k in range(kept.Gx.shape[0]):
        most = max(most, abs(kept.Gx[k]) * kept.per_norm[k])
    return most


@kernel(inline=True)
def limit_of(values, entry, k, none):
    """A limit of row k, or `none`."""
    if values.shape[1] == 0 or abs(values[entry, k]) >= INFINITE:
        return none
    return values[entry, k]


@kernel(inline=True)
def size_of_limit(limit):
    """Its magnitude, zero where there is no limit."""
    return 0.0 if abs(limit) == np.inf else abs(limit)


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
    qp, batch = work.qp, data.entry.shape[1]
    load_Q(qp, data, first, slots, team)
    load_rows(qp.Gt, data.G, kept, slots)
    if sizes.p > 0:
        load_matrix(qp.K, sizes.n, True, data.A, data.entry[4], first, slots, team)
    for slot in range(slots):
        problem = min(first + slot, batch - 1)
        load_vector(qp.q, data.q, data.entry[1, problem], slot, team)
        if sizes.p > 0:
            load_vector(qp.b, data.b, data.entry[5, problem], slot, team)
        load_kept_limits(qp, 0, data.h, data.entry[3, problem], kept, slot)
        load_kept_limits(qp, 1, data.h_lower, data.entry[8, problem], kept, slot)
        load_limits(qp, 0, sizes.m, sizes.rows, data.ub, data.entry[7, problem], slot, team)
        load_limits(qp, 1, sizes.m, sizes.rows, data.lb, data.entry[6, problem], slot, team)
    barrier(team)
    prepare(work, sizes, True, team)


def load_rows(Gt, G, kept, slots):
    """Kept rows of G, as columns."""
    for k in range(Gt.shape[1]):
        Gt[:, k] = G.reshape(-1, G.shape[2])[kept.places[k]]


@overload(load_rows)
def _load_rows(Gt, G, kept, slots):
    chosen = load_rows_as_packs if isinstance(Gt.dtype, PackType) else load_rows_as_floats
    return lambda Gt, G, kept, slots: chosen(Gt, G, kept, slots)


@kernel
def load_rows_as_floats(Gt, G, kept, slots):
    """Row by row of one problem."""
    for k in range(Gt.shape[1]):
        entry, row = divmod(kept.places[k], G.shape[1])
        for j in range(Gt.shape[0]):
            Gt[j, k] = G[entry, row, j]


@kernel
def load_rows_as_packs(Gt, G, kept, slots):
    """The k-th row of every slot at a time, in blocks as in `transfer.load_packs`."""
    n, numbers = Gt.shape[0], as_floats(Gt)
    flat, whole = G.reshape(G.shape[0] * G.shape[1], 1, n), n - n % slots
    for k in range(Gt.shape[1]):
        places = entries_of_slots(Gt, kept.places, k * slots)
        for j in range(0, whole, slots):
            move_block(Gt, j, k, 1, 0, flat, places, 0, j)
        for slot in range(slots):
            place = kept.places[k * slots + slot]
            for j in range(whole, n):
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
    for slot in range(slots):
        i = min(first + slot, cotangents.x.shape[0] - 1)
        for point, x, y, v in (
            (answer, at.x, at.y, at.v),
            (cotangents, residual.Qx, residual.Ax, residual.sides[0]),
        ):
            load_vector(x, point.x, i, slot, team)
            load_vector(y, point.y, i, slot, team)
            load_kept_vector(v, point.z, i, kept, m, slot)
            load_vector(v[m:], point.z_box, i, slot, team)
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
            trace, certificate = as_floats(work.outcome.trace), derivative.certificate[i]
            for column_ in range(certificate.shape[0]):
                certificate[column_] = trace[0, column_, slot]
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
