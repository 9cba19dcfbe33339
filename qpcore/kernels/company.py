"""Factor, solves, products, norms, loads for many lanes, as the threads of a GPU's block are.

`factor.py` and `linalg.py` keep long sums in the registers of one lane, which suits a lane that
works alone. Here no lane waits while another adds: the factor subtracts every finished column from
all that lies right of it, and triangular solves need no sum over the team. Equations, and places of
data and results, are the same; rounding differs. `dense.py` chooses between the two.
"""

from qpcore.kernels.factor import inverse_root, store_row, tile_rows
from qpcore.kernels.linalg import gather, scatter
from qpcore.kernels.lower import assemble, explain
from qpcore.kernels.machine import barrier, kernel, larger, like
from qpcore.kernels.rows import TILE, four

# ---- the factor ----------------------------------------------------------------------------------


@kernel
def factor(K, diagonal, Gt, rows, weight, size, coupled, floor, team):
    """K[:size, :size] + Gᵀ W G = L S Lᵀ (9), as `factor.factor` does it.

    The matrix goes to the lower triangle first, its diagonal to `diagonal`. Then, four columns at a
    time: the tile on the diagonal, by one lane; the rows below it, a row a lane; and what these
    columns explain of the rest is subtracted there.
    """
    n = Gt.shape[0]
    upper_blocks = (n + TILE - 1) // TILE
    blocks = upper_blocks + (size - n + TILE - 1) // TILE
    assemble(K, diagonal, Gt, rows, weight, size, coupled, team)
    for block in range(blocks):
        start, end = tile_rows(block, upper_blocks, n, size)
        stop = min(start + TILE, end)
        below = stop if coupled or start >= n else n
        if team.lane == 0:
            diagonal_tile(K, diagonal, start, end, start >= n, floor)
        barrier(team)
        j = four(start, end)
        for i in range(below + team.lane, size, team.width):
            t = K[i, j[0]], K[i, j[1]], K[i, j[2]], K[i, j[3]]
            store_row(K, diagonal, t, i, j, start, end, n)
        barrier(team)
        explain(K, diagonal, start, stop, below, size, start >= n, team)
        barrier(team)


@kernel(inline=True)
def diagonal_tile(K, diagonal, start, end, negative, floor):
    """Factor the tile on the diagonal, in place; the factor of the negative one where so asked."""
    j = four(start, end)
    t0, t1, t2, t3 = diagonal[j[0]], diagonal[j[1]], diagonal[j[2]], diagonal[j[3]]
    t10, t20, t30 = K[j[1], j[0]], K[j[2], j[0]], K[j[3], j[0]]
    t21, t31, t32 = K[j[2], j[1]], K[j[3], j[1]], K[j[3], j[2]]
    if negative:
        t0, t1, t2, t3 = -t0, -t1, -t2, -t3
        t10, t20, t30, t21, t31, t32 = -t10, -t20, -t30, -t21, -t31, -t32
    d0 = inverse_root(t0, floor)
    diagonal[j[0]] = d0
    if start + 1 < end:
        l10 = t10 * d0
        d1 = inverse_root(t1 - l10 * l10, floor)
        diagonal[j[1]], K[j[1], j[0]] = d1, l10
        if start + 2 < end:
            l20 = t20 * d0
            l21 = (t21 - l20 * l10) * d1
            d2 = inverse_root(t2 - l20 * l20 - l21 * l21, floor)
            diagonal[j[2]], K[j[2], j[0]], K[j[2], j[1]] = d2, l20, l21
            if start + 3 < end:
                l30 = t30 * d0
                l31 = (t31 - l30 * l10) * d1
                l32 = (t32 - l30 * l20 - l31 * l21) * d2
                d3 = inverse_root(t3 - l30 * l30 - l31 * l31 - l32 * l32, floor)
                diagonal[j[3]] = d3
                K[j[3], j[0]], K[j[3], j[1]], K[j[3], j[2]] = l30, l31, l32


# ---- triangular solves ---------------------------------------------------------------------------


@kernel
def solve_factored(K, diagonal, n, coupled, v, team):
    """Solve L S Lᵀ u = v in place (10), as `linalg.solve_factored` does it."""
    size, alone = v.shape[0], 0 if coupled else n
    for j in range(team.lane, alone, team.width):
        v[j] *= diagonal[j]
    barrier(team)
    for i in range(alone + team.lane, size, team.width):
        total = v[i]
        for j in range(alone):
            total -= K[i, j] * v[j]
        v[i] = total
    barrier(team)
    for start in range(alone, size, TILE):
        solve_lower_tile(K, diagonal, start, v, team)
    for j in range(n + team.lane, size, team.width):
        v[j] = -v[j]
    barrier(team)
    for block in range((size - alone - 1) // TILE, -1, -1):
        solve_upper_tile(K, diagonal, alone + TILE * block, v, team)
    for j in range(team.lane, alone, team.width):
        v[j] *= diagonal[j]
    barrier(team)


@kernel(inline=True)
def solve_lower_tile(K, diagonal, start, v, team):
    """Four unknowns of L u = v, which every lane finds, taken out of the rows below."""
    size = v.shape[0]
    i = four(start, size)
    t = gather(v, i, start, size)
    u0 = t[0] * diagonal[i[0]]
    u1 = (t[1] - K[i[1], i[0]] * u0) * diagonal[i[1]]
    u2 = (t[2] - K[i[2], i[0]] * u0 - K[i[2], i[1]] * u1) * diagonal[i[2]]
    u3 = t[3] - K[i[3], i[0]] * u0 - K[i[3], i[1]] * u1 - K[i[3], i[2]] * u2
    u3 *= diagonal[i[3]]
    barrier(team)  # all have read what is written now
    if team.lane == 0:
        scatter(v, start, size, (u0, u1, u2, u3))
    for k in range(start + TILE + team.lane, size, team.width):
        v[k] -= K[k, i[0]] * u0 + K[k, i[1]] * u1 + K[k, i[2]] * u2 + K[k, i[3]] * u3
    barrier(team)


@kernel(inline=True)
def solve_upper_tile(K, diagonal, start, v, team):
    """Four unknowns of Lᵀ u = v, taken out of the rows above; zero beyond the end.

    K's own diagonal, which the last ones of an incomplete tile meet, is zero.
    """
    size = v.shape[0]
    i = four(start, size)
    t = gather(v, i, start, size)
    u3 = t[3] * diagonal[i[3]]
    u2 = (t[2] - K[i[3], i[2]] * u3) * diagonal[i[2]]
    u1 = (t[1] - K[i[3], i[1]] * u3 - K[i[2], i[1]] * u2) * diagonal[i[1]]
    u0 = t[0] - K[i[3], i[0]] * u3 - K[i[2], i[0]] * u2 - K[i[1], i[0]] * u1
    u0 *= diagonal[i[0]]
    barrier(team)
    if team.lane == 0:
        scatter(v, start, size, (u0, u1, u2, u3))
    for k in range(team.lane, start, team.width):
        v[k] -= K[i[0], k] * u0 + K[i[1], k] * u1 + K[i[2], k] * u2 + K[i[3], k] * u3
    barrier(team)


# ---- products ------------------------------------------------------------------------------------


@kernel
def multiply(out, M, v, team):
    """out = M v, a row a lane."""
    for i in range(team.lane, M.shape[0], team.width):
        total, row = like(0, out[i]), M[i]
        for k in range(M.shape[1]):
            total += row[k] * v[k]
        out[i] = total
    barrier(team)


@kernel
def multiply_transposed(out, M, u, team):
    """out = Mᵀ u, a column a lane."""
    for k in range(team.lane, M.shape[1], team.width):
        total = like(0, out[k])
        for i in range(M.shape[0]):
            total += M[i, k] * u[i]
        out[k] = total
    barrier(team)


@kernel
def multiply_symmetric(out, K, diagonal, coupled, v, team):
    """out = Q v, from Q's diagonal and, if `coupled`, its strict upper triangle in that of K."""
    n = out.shape[0]
    for k in range(team.lane, n, team.width):
        total = diagonal[k] * v[k]
        if coupled:
            for i in range(k):
                total += K[i, k] * v[i]
            for j in range(k + 1, n):
                total += K[k, j] * v[j]
        out[k] = total
    barrier(team)


# ---- norms ---------------------------------------------------------------------------------------


@kernel
def largest_entries(qp, norms, team):
    """Largest entry of each row of the KKT matrix, a row a lane: nobody waits for a maximum."""
    n, m, p, zero = qp.q.shape[0], qp.Gt.shape[1], qp.b.shape[0], like(0, qp.q[0])
    for j in range(team.lane, n, team.width):
        most = abs(qp.Q_diagonal[j])
        for i in range(j):
            most = larger(most, abs(qp.K[i, j]))
        for k in range(j + 1, n + p):  # Q's row, and behind it that of Aᵀ
            most = larger(most, abs(qp.K[j, k]))
        for k in range(m):
            most = larger(most, abs(qp.Gt[j, k]))
        norms.per_x[j] = most
    for i in range(team.lane, p, team.width):
        most = zero
        for j in range(n):
            most = larger(most, abs(qp.At[j, i]))
        norms.per_y[i] = most
    for k in range(team.lane, m, team.width):
        most = zero
        for j in range(n):
            most = larger(most, abs(qp.Gt[j, k]))
        norms.per_rows[k] = most
    barrier(team)


# ---- loading -------------------------------------------------------------------------------------


@kernel
def load_elements(out, shift, transposed, values, entries, first, team):
    """A matrix of the first problem, its rows or columns from out's column `shift` on.

    Neighbours read neighbours, whatever row they are in, and each reads four numbers before it
    writes one: so memory far away is waited for least. Row by row that was once for every row.
    """
    k, rows, columns = entries[first], values.shape[1], values.shape[2]
    a = further((0, 0), team.lane, columns)
    for _ in range(team.lane, rows * columns, TILE * team.width):
        b = further(a, team.width, columns)
        c = further(b, team.width, columns)
        d = further(c, team.width, columns)
        last = rows - 1
        ta, tb = values[k, a[0], a[1]], values[k, min(b[0], last), b[1]]
        tc, td = values[k, min(c[0], last), c[1]], values[k, min(d[0], last), d[1]]
        put(out, shift, transposed, a, ta, rows)
        put(out, shift, transposed, b, tb, rows)
        put(out, shift, transposed, c, tc, rows)
        put(out, shift, transposed, d, td, rows)
        a = further(d, team.width, columns)


@kernel(inline=True)
def further(place, step, columns):
    """The row and column so many numbers on, found without a division."""
    i, j = place[0], place[1] + step
    while j >= columns:
        i, j = i + 1, j - columns
    return i, j


@kernel(inline=True)
def put(out, shift, transposed, place, number, rows):
    """Write one number, unless it is beyond the last row."""
    i, j = place
    if i < rows:
        if transposed:
            out[j, shift + i] = number
        else:
            out[i, shift + j] = number
