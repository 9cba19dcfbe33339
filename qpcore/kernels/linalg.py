"""Dense products and triangular solves on one problem, four rows at a time.

The sums of four rows stay in registers. Numbers in brackets are equations of derivation.md.
"""

from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, team_sum
from qpcore.kernels.rows import TILE, add_rows, column, dot_rows, four, negated, plus

# ---- four rows at a time -------------------------------------------------------------------------


@kernel(inline=True)
def gather(v, index, start, stop):
    """Four elements of v; zero beyond the end."""
    zero = like(0, v[0])
    return (
        v[index[0]],
        v[index[1]] if start + 1 < stop else zero,
        v[index[2]] if start + 2 < stop else zero,
        v[index[3]] if start + 3 < stop else zero,
    )


@kernel(inline=True)
def scatter(v, start, stop, values):
    """Write four elements of v, fewer at the end."""
    v[start] = values[0]
    if start + 1 < stop:
        v[start + 1] = values[1]
    if start + 2 < stop:
        v[start + 2] = values[2]
    if start + 3 < stop:
        v[start + 3] = values[3]


@kernel(inline=True)
def own_from(start, team):
    """The first index from start on that belongs to this lane, whatever start is.

    A GPU divides in software, and teams are rarely smaller than what they share out.
    """
    index = team.lane
    while index < start:
        index += team.width
    return index


# ---- products ------------------------------------------------------------------------------------


@kernel
def multiply(out, M, v, team):
    """out = M v."""
    rows = M.shape[0]
    for start in range(TILE * team.lane, rows, TILE * team.width):
        i = four(start, rows)
        scatter(out, start, rows, dot_rows(M, i, v, 0, M.shape[1], 1, team))
    barrier(team)


@kernel
def multiply_transposed(out, M, u, team):
    """out = Mᵀ u."""
    rows, columns = M.shape
    for k in range(team.lane, columns, team.width):
        out[k] = like(0, u[0])
    for start in range(0, rows, TILE):
        i = four(start, rows)
        add_rows(out, M, i, gather(u, i, start, rows), team.lane, columns, team.width, team)
    barrier(team)


@kernel
def multiply_symmetric(out, K, diagonal, coupled, v, team):
    """out = Q v: Q's diagonal given, and if `coupled` its strict upper triangle in that of K."""
    n = out.shape[0]
    for k in range(team.lane, n, team.width):
        out[k] = diagonal[k] * v[k]
    if not coupled:
        barrier(team)
        return
    for start in range(0, n - TILE, TILE):  # columns: out[k] += Q[i, k] v[i] right of a tile
        i = four(start, n)
        right = own_from(start + TILE, team)
        add_rows(out, K, i, gather(v, i, start, n), right, n, team.width, team)
    barrier(team)
    for start in range(TILE * team.lane, n, TILE * team.width):
        stop = min(start + TILE, n)
        i = four(start, n)
        total = dot_rows(K, i, v, stop, n, 1, team)  # rows: out[i] += Q[i, k] v[k] right of a tile
        total = plus(total, like(1, v[0]), gather(out, i, start, n))
        scatter(out, start, n, total)
        for a in range(start, stop):  # the tile itself
            for b in range(a + 1, stop):
                out[a] += K[a, b] * v[b]
                out[b] += K[a, b] * v[a]
    barrier(team)


@kernel
def largest_entries(qp, norms, team):
    """Largest entry of each row of the KKT matrix: variables in per_x, then per_y and per_rows."""
    n, m, p, zero = qp.q.shape[0], qp.Gt.shape[1], qp.b.shape[0], like(0, qp.q[0])
    for j in range(team.lane, n, team.width):
        norms.per_x[j] = abs(qp.Q_diagonal[j])
    for i in range(team.lane, p, team.width):
        norms.per_y[i] = zero
    for k in range(team.lane, m, team.width):
        norms.per_rows[k] = zero
    barrier(team)
    for start in range(0, n, TILE):
        i = four(start, n)
        worst = (zero, zero, zero, zero)
        worst = note_norms(norms.per_x, qp.K, i, worst, own_from(start + TILE, team), n, team)
        worst = note_norms(norms.per_y, qp.At, i, worst, team.lane, p, team)
        worst = note_norms(norms.per_rows, qp.Gt, i, worst, team.lane, m, team)
        worst = (
            team_max(worst[0], team),
            team_max(worst[1], team),
            team_max(worst[2], team),
            team_max(worst[3], team),
        )
        if team.lane == 0:
            note_norms_of_tile(norms.per_x, qp.K, start, min(start + TILE, n), worst)
        barrier(team)


@kernel(inline=True)
def note_norms(norms, M, i, worst, start, stop, team):
    """Largest entries of columns start..stop in four rows, and of each of the rows.

    Four rows at a time, since each maximum waits for the one before it.
    """
    for k in range(start, stop, team.width):
        m = column(M, i, k)
        a, b, c, d = abs(m[0]), abs(m[1]), abs(m[2]), abs(m[3])
        norms[k] = larger(norms[k], larger(larger(a, b), larger(c, d)))
        worst = larger(worst[0], a), larger(worst[1], b), larger(worst[2], c), larger(worst[3], d)
    return worst


@kernel(inline=True)
def note_norms_of_tile(norms, K, start, stop, worst):
    """The largest entries right of the tile's rows, and those of the tile itself."""
    scatter(norms, start, stop, larger_of(gather(norms, four(start, stop), start, stop), worst))
    for a in range(start, stop):
        for b in range(a + 1, stop):
            size = abs(K[a, b])
            norms[a], norms[b] = larger(norms[a], size), larger(norms[b], size)


@kernel(inline=True)
def larger_of(v, w):
    """The larger ones of two four-vectors."""
    return larger(v[0], w[0]), larger(v[1], w[1]), larger(v[2], w[2]), larger(v[3], w[3])


# ---- triangular solves ---------------------------------------------------------------------------


@kernel
def solve_factored(K, diagonal, n, coupled, v, team):
    """Solve L S Lᵀ u = v in place (10); S changes sign at row n.

    Unless `coupled`, L is diagonal down to that row. A tile across it may go the ordinary way, as
    there are zeros below that diagonal.
    """
    alone = 0 if coupled else n
    solve_lower(K, diagonal, alone, v, team)
    for j in range(n + team.lane, v.shape[0], team.width):
        v[j] = -v[j]
    barrier(team)
    solve_upper(K, diagonal, alone, v, team)


@kernel
def solve_lower(K, diagonal, alone, v, team):
    """Solve L u = v in place; the first `alone` rows of L are diagonal."""
    size = v.shape[0]
    for start in range(0, size, TILE):
        i = four(start, size)
        right = gather(v, i, start, size)  # read before the barriers in total: lane 0 writes here
        before = start if start + TILE > alone else 0
        product = dot_rows(K, i, v, team.lane, before, team.width, team)
        t0 = right[0] - team_sum(product[0], team)
        t1 = right[1] - team_sum(product[1], team)
        t2 = right[2] - team_sum(product[2], team)
        t3 = right[3] - team_sum(product[3], team)
        u0 = t0 * diagonal[i[0]]
        u1 = (t1 - K[i[1], i[0]] * u0) * diagonal[i[1]]
        u2 = (t2 - K[i[2], i[0]] * u0 - K[i[2], i[1]] * u1) * diagonal[i[2]]
        u3 = t3 - K[i[3], i[0]] * u0 - K[i[3], i[1]] * u1 - K[i[3], i[2]] * u2
        if team.lane == 0:
            scatter(v, start, size, (u0, u1, u2, u3 * diagonal[i[3]]))
        barrier(team)


@kernel
def solve_upper(K, diagonal, alone, v, team):
    """Solve Lᵀ u = v in place; the first `alone` rows of L are diagonal.

    Beyond the end u is zero, and K's own diagonal, never used, too.
    """
    size = v.shape[0]
    for block in range((size - 1) // TILE, -1, -1):
        start = TILE * block
        i = four(start, size)
        t = gather(v, i, start, size)
        u3 = t[3] * diagonal[i[3]]
        u2 = (t[2] - K[i[3], i[2]] * u3) * diagonal[i[2]]
        u1 = (t[1] - K[i[3], i[1]] * u3 - K[i[2], i[1]] * u2) * diagonal[i[1]]
        u0 = t[0] - K[i[3], i[0]] * u3 - K[i[2], i[0]] * u2 - K[i[1], i[0]] * u1
        u = (u0 * diagonal[i[0]], u1, u2, u3)
        before = start if start + TILE > alone else 0
        add_rows(v, K, i, negated(u), team.lane, before, team.width, team)
        barrier(team)
        if team.lane == 0:
            scatter(v, start, size, u)
        barrier(team)
