"""Rows of G that do not bind at an answer have no part in its derivative (13): leave them out.

What is left is a smaller problem with the same derivative. A CPU's pack of problems, where half of
the rows bind, saves half of the Gram matrix and of what it takes to load G. Rows that are left out
are asked again at the end: the answer, made exact, must not have moved as far as to one of them.
"""

from collections import namedtuple

import numpy as np

from qpcore.kernels.linalg import scatter
from qpcore.kernels.machine import kernel
from qpcore.kernels.neighbours import lanes_along, pack_of_vector, zeros_along
from qpcore.kernels.rows import TILE, add_sums, column, dot_rows_plain, four, packs_of, plus
from qpcore.kernels.vectors import INFINITE

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


@kernel
def for_worker(room, worker):
    """The notes of one worker, of room for all of them."""
    return Sifted(
        room.rows[worker],
        room.places[worker],
        room.counts[worker],
        room.margin[worker],
        room.room[worker],
        room.pull[worker],
        room.pending[worker],
        room.Gx[worker],
        room.per_norm[worker],
    )


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
