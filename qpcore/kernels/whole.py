"""One factor of the whole matrix of (13), kept of packs for their derivatives (20).

Below the factor L of Q and the equations stand the rows of N that bind, and the factor of their
part of R: that is the factor of the matrix with those rows as equations. It lies packed by rows, of
each problem those of its own, and is less than the data, which no derivative then has to read.
"""

from collections import namedtuple

from numba.extending import overload

from qpcore.kernels.binding import factor_apart, lined_up, stay
from qpcore.kernels.counters import reserve
from qpcore.kernels.known import judge
from qpcore.kernels.linalg import gather, scatter
from qpcore.kernels.machine import kernel, like, where
from qpcore.kernels.outer import LEAST_PAST_CACHE, store_past_cache
from qpcore.kernels.pack import PACK_BYTES, PackType
from qpcore.kernels.packed import as_floats, as_matrix, as_packs, own_entry
from qpcore.kernels.rows import TILE, four
from qpcore.kernels.workspace import KNOWN

# What is kept of all groups, one behind the other: a reader then goes through memory without a gap,
# which takes half of the time. packs: (elements, slots). begins: where what is kept of each group
# begins, and at the end how much there is.
Whole = namedtuple("Whole", "packs begins")

# Where what is kept of a group lies, behind what is known of it (`known.py`). rows: how many bind,
# at most. x, y, scales, cost: of Scale, those of rows in the order of those that bind. L: without
# its diagonal, by rows.
COST, ROWS = KNOWN, KNOWN + 1
Places = namedtuple("Places", "x y order scales diagonal L")


def elements_of_whole(n, m, p):
    """How many elements are kept of a group at most: where all rows bind."""
    size = n + p + m
    return KNOWN + 2 + n + p + 2 * m + size + size * (size - 1) // 2 + 1


@kernel(inline=True)
def places_of(sizes, rows):
    """The Places of problems of a size of which so many rows bind."""
    x = KNOWN + 2
    order = x + sizes.n + sizes.p
    scales = order + rows
    diagonal = scales + rows
    return Places(x, x + sizes.n, order, scales, diagonal, diagonal + sizes.n + sizes.p + rows)


@kernel(inline=True)
def size_of(sizes, rows):
    """How many elements are kept of a group of which so many rows bind."""
    return row_of(places_of(sizes, rows), sizes.n + sizes.p + rows) + 1


@kernel(inline=True)
def row_of(place, i):
    """Where row i of L begins."""
    return place.L + i * (i - 1) // 2


# ---- kept ----------------------------------------------------------------------------------------


def keep(kept, group, work, searched, delta, sizes, team):
    """Keep the factor of a group: of packs in (groups, elements, slots), if there are groups.

    A problem by itself has it in its workspace already, and is judged only.
    """


@overload(keep)
def _keep(kept, group, work, searched, delta, sizes, team):
    if not isinstance(work.types[0].types[0].dtype, PackType):
        return lambda kept, group, work, searched, delta, sizes, team: judge(
            work, searched, sizes, team
        )

    def keep_group(kept, group, work, searched, delta, sizes, team):
        if kept.packs.shape[0] > 0:
            keep_whole(as_packs(kept.packs), kept.begins, group, work, searched, delta, sizes, team)

    return keep_group


@kernel
def keep_whole(kept, begins, group, work, searched, delta, sizes, team):
    """Keep the factor at the answer of `solve_dual`, unless that has not `searched`."""
    dual, rows = work.system.dual, 0
    past = kept.size * PACK_BYTES >= LEAST_PAST_CACHE
    if searched and stay(dual):
        for k in range(sizes.m):
            dual.pull[k] = dual.curvature[k] + like(delta, dual.pull[k])
        factor_apart(work.qp, dual, like(delta, dual.pull[0]), sizes, team)
    judge(work, searched, sizes, team)
    if searched:
        rows = lined_up(dual.order)
    place = places_of(sizes, rows)
    count = size_of(sizes, rows) if searched else KNOWN
    begin = reserve(begins, len(begins) - 1, count)  # pyright: ignore[reportCallIssue]
    begins[group] = begin
    mine = kept[begin : begin + count]
    for i in range(KNOWN):
        put(mine, i, dual.known[i], past)
    if searched:
        keep_vectors(mine, place, work, rows, past, sizes)
        keep_rows(mine, place, work, rows, past, sizes)


@kernel
def keep_vectors(kept, place, work, rows, past, sizes):
    """Scales, the order of rows, and the diagonal."""
    dual, scale, zero = work.system.dual, work.scale, like(0, work.qp.q[0])
    put(kept, COST, scale.cost[0], past)
    put(kept, ROWS, like(rows, zero), past)
    for j in range(sizes.n):
        put(kept, place.x + j, scale.x[j], past)
    for i in range(sizes.p):
        put(kept, place.y + i, scale.y[i], past)
    for i in range(rows):
        put(kept, place.order + i, dual.order[i], past)
    scales = as_matrix(scale.rows, sizes.rows, 1)
    for i in range(rows):
        k = where(dual.order[i] >= zero, dual.order[i], zero)
        put(kept, place.scales + i, own_entry(scales, k, zero), past)
    for i in range(sizes.n + sizes.p + rows):
        put(kept, place.diagonal + i, dual.diagonal[i], past)


@kernel
def keep_rows(kept, place, work, rows, past, sizes):
    """L, N in the rows that bind, and the factor of their part of R."""
    K, order, zero = work.qp.K, work.system.dual.order, like(0, work.qp.q[0])
    size = sizes.n + sizes.p
    for i in range(size):
        at = row_of(place, i)
        for k in range(i):
            put(kept, at + k, K[i, k], past)
    for i in range(rows):
        at = row_of(place, size + i)
        there = order[i] >= zero
        row = where(there, order[i], zero) + like(size, zero)
        for k in range(size):
            put(kept, at + k, where(there, own_entry(K, row, like(k, zero)), zero), past)
        for k in range(i):
            put(kept, at + size + k, K[size + i, size + k], past)
    # read beyond the end, and multiplied by zero
    put(kept, row_of(place, size + rows), zero, past)


@kernel(inline=True)
def put(kept, place, pack, past):
    """Write an element, which is a line of the cache: `past` it, or into it."""
    if past:
        store_past_cache(as_floats(kept), (place, 0), pack)
    else:
        kept[place] = pack


@kernel(inline=True)
def rows_kept(kept):
    """How many rows bind, in the problem where they are the most."""
    return int(as_floats(kept)[ROWS, 0])


# ---- solved with ---------------------------------------------------------------------------------


@kernel
def solve_whole(kept, place, v, spare, delta, sizes):
    """Solve with the matrix whose factor is kept, in place, but without its δ in rows that bind.

    `spare` has room for those rows.
    """
    n, first, count = sizes.n, sizes.n + sizes.p, v.shape[0]
    solve_lower(kept, place, v, 0, count)
    for i in range(n, count):
        v[i] = -v[i]
    solve_upper(kept, place, v, first, count)
    soft = like(delta, v[0])
    for i in range(first, count):
        spare[i] = soft * v[i]
    solve_lower(kept, place, spare, first, count)
    solve_upper(kept, place, spare, first, count)
    for i in range(first, count):
        v[i] += spare[i]
    take_rows(kept, place, v, first, count)
    solve_upper(kept, place, v, 0, first)


@kernel(inline=True)
def rows_at(place, i):
    """Where four rows of L begin."""
    return row_of(place, i[0]), row_of(place, i[1]), row_of(place, i[2]), row_of(place, i[3])


@kernel
def solve_lower(kept, place, v, first, stop):
    """Solve L u = v in place in the rows first..stop, whose columns before that are left out."""
    for start in range(first, stop, TILE):
        i = four(start, stop)
        a, b, c, d = rows_at(place, i)
        t0, t1, t2, t3 = gather(v, i, start, stop)
        for k in range(first, start):
            u = v[k]
            t0, t1 = t0 - kept[a + k] * u, t1 - kept[b + k] * u
            t2, t3 = t2 - kept[c + k] * u, t3 - kept[d + k] * u
        u0 = t0 * kept[place.diagonal + i[0]]
        u1 = (t1 - kept[b + i[0]] * u0) * kept[place.diagonal + i[1]]
        u2 = t2 - kept[c + i[0]] * u0 - kept[c + i[1]] * u1
        u2 = u2 * kept[place.diagonal + i[2]]
        u3 = t3 - kept[d + i[0]] * u0 - kept[d + i[1]] * u1
        u3 = (u3 - kept[d + i[2]] * u2) * kept[place.diagonal + i[3]]
        scatter(v, start, stop, (u0, u1, u2, u3))


@kernel
def solve_upper(kept, place, v, first, stop):
    """Solve Lᵀ u = v in place in the rows first..stop."""
    for block in range((stop - first - 1) // TILE, -1, -1):
        start = first + TILE * block
        i = four(start, stop)
        a, b, c, d = rows_at(place, i)
        t0, t1, t2, t3 = gather(v, i, start, stop)
        u3 = t3 * kept[place.diagonal + i[3]]
        u2 = (t2 - kept[d + i[2]] * u3) * kept[place.diagonal + i[2]]
        u1 = t1 - kept[d + i[1]] * u3 - kept[c + i[1]] * u2
        u1 = u1 * kept[place.diagonal + i[1]]
        u0 = t0 - kept[d + i[0]] * u3 - kept[c + i[0]] * u2
        u0 = (u0 - kept[b + i[0]] * u1) * kept[place.diagonal + i[0]]
        for k in range(first, start):
            t = kept[a + k] * u0 + kept[b + k] * u1
            v[k] -= t + kept[c + k] * u2 + kept[d + k] * u3
        scatter(v, start, stop, (u0, u1, u2, u3))


@kernel
def take_rows(kept, place, v, first, stop):
    """Take from v[:first] what the rows first..stop of L, N that is, pull by v."""
    for start in range(first, stop, TILE):
        i = four(start, stop)
        a, b, c, d = rows_at(place, i)
        u0, u1, u2, u3 = gather(v, i, start, stop)
        for k in range(first):
            t = kept[a + k] * u0 + kept[b + k] * u1
            v[k] -= t + kept[c + k] * u2 + kept[d + k] * u3
