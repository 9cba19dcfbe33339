"""The rows that bind, side by side: their part of R, its factor, and what is solved with it (19).

In half of the rows nothing binds, as a rule, and a factor of the other half takes an eighth of one
of all. Every slot of a pack has other rows: the first that binds in each stands beside the first of
the others. A slot with fewer of them than the fullest is filled up with rows of the identity, which
change no number of the others. Where there are few rows they stay where they are, in packs, and
those that are free are given a softness without end.
"""

from numba.extending import overload

from qpcore.kernels.dense import factor, solve_factored
from qpcore.kernels.factor import factor_below
from qpcore.kernels.machine import any_lane, barrier, kernel, like, where
from qpcore.kernels.pack import PackType
from qpcore.kernels.packed import as_floats, own_entry
from qpcore.kernels.rows import TILE, four

# From so many rows on those that bind are brought together in packs too. Measured on the paper's
# profile, time without over time with it: n = m = 20: 0.7, 30: 1.0 to 1.2, 40: 1.15, 50: 1.13, 70:
# 1.2, 100: 1.3; one problem by itself, m = 100: 1.3, 200: 1.45, 500: 1.5.
LEAST_APART = 32

# What is added to R's diagonal in rows that are free.
FREE = 1e30


@kernel(inline=True)
def stay(dual):
    """Whether rows stay where they are; the size alone says so."""
    return dual.side.shape[0] < LEAST_APART and as_floats(dual.side).shape[1] > 1


@kernel
def factor_binding(qp, dual, least, sizes, team):
    """Factor R in the rows that bind, whose part of its diagonal, softened, is in `pull`."""
    if stay(dual):
        first, zero = sizes.n + sizes.p, like(0, least)
        R, diagonal = qp.K[first:, first:], dual.diagonal[first:]
        for k in range(sizes.m):
            free = dual.side[k] == zero
            diagonal[k] = dual.pull[k] + where(free, like(FREE, zero), zero)
        factor(R, diagonal, R[:, :0], 0, dual.side, sizes.m, True, least, team)
    else:
        factor_apart(qp, dual, least, sizes, team)


@kernel
def factor_apart(qp, dual, least, sizes, team):
    """The same with the rows that bind brought together, however few there are."""
    first, zero, one = sizes.n + sizes.p, like(0, least), like(1, least)
    R, diagonal = qp.K[first:, first:], dual.diagonal[first:]
    most = line_up(as_floats(dual.order), as_floats(dual.side))
    bring(as_floats(diagonal), as_floats(dual.pull), as_floats(dual.order), most)
    for i in range(most):
        diagonal[i] = where(dual.order[i] >= zero, diagonal[i], one)
    bring_matrix(R, dual.order, most)
    factor_below(R, diagonal, most, least, team)


@kernel
def solve_binding(qp, dual, v, sizes, team):
    """Solve for the rows that bind, with right-hand sides and answers in v, zero in all others."""
    first, zero = sizes.n + sizes.p, like(0, v[0])
    R, diagonal = qp.K[first:, first:], dual.diagonal[first:]
    if stay(dual):
        solve_factored(R, diagonal, sizes.m, True, v, team)
        for k in range(sizes.m):
            v[k] = where(dual.side[k] == zero, zero, v[k])
    else:
        most = lined_up(dual.order)
        beside = dual.beside[:most]
        bring(as_floats(beside), as_floats(v), as_floats(dual.order), most)
        solve_factored(R, diagonal, most, True, beside, team)
        for k in range(sizes.m):
            v[k] = zero
        take_back(as_floats(v), as_floats(beside), as_floats(dual.order), most)
    barrier(team)


@kernel
def line_up(order, side):
    """Number the rows that bind, in each slot; -1 where a slot has no more of them."""
    most = 0
    for slot in range(order.shape[1]):
        count = 0
        for k in range(order.shape[0]):
            order[k, slot] = -1
            if side[k, slot] != 0:
                order[count, slot] = k
                count += 1
        most = max(most, count)
    return most


@kernel
def lined_up(order):
    """How many rows bind, in the slot where they are the most."""
    most, zero = 0, like(0, order[0])
    while most < order.shape[0] and any_lane(order[most] >= zero):
        most += 1
    return most


@kernel
def bring(out, values, order, most):
    """Numbers of the rows that bind, and zeros behind them."""
    for i in range(most):
        for slot in range(order.shape[1]):
            k = int(order[i, slot])
            out[i, slot] = values[k, slot] if k >= 0 else 0


@kernel
def take_back(out, values, order, most):
    """Numbers of the rows that bind, to where these are among all."""
    for i in range(most):
        for slot in range(order.shape[1]):
            k = int(order[i, slot])
            if k >= 0:
                out[k, slot] = values[i, slot]


@kernel
def bring_packs(R, order, most):
    """The same in packs, with zeros where a slot has no such row."""
    for j in range(most):
        zero = like(0, order[j])
        row = where(order[j] >= zero, order[j], zero)
        for i in range(j + 1, most):
            there = order[i] >= zero
            R[i, j] = where(there, own_entry(R, row, where(there, order[i], zero)), zero)


@kernel
def bring_numbers(R, order, most):
    """The same of one problem, four columns at once: 26 instead of 52 microseconds for 250 rows."""
    for start in range(0, most, TILE):
        j = four(start, most)
        a, b, c, d = int(order[j[0]]), int(order[j[1]]), int(order[j[2]]), int(order[j[3]])
        for i in range(start + 1, min(start + TILE, most)):
            for k in range(start, i):
                R[i, k] = R[int(order[k]), int(order[i])]
        for i in range(start + TILE, most):
            k = int(order[i])
            R[i, j[0]], R[i, j[1]], R[i, j[2]], R[i, j[3]] = R[a, k], R[b, k], R[c, k], R[d, k]


def bring_matrix(R, order, most):
    """R's entries of the rows that bind, from above the diagonal to below it."""
    bring_numbers(R, order, most)


@overload(bring_matrix)
def _bring_matrix(R, order, most):
    chosen = bring_packs if isinstance(R.dtype, PackType) else bring_numbers
    return lambda R, order, most: chosen(R, order, most)
