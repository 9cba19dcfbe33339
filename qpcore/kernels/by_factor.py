"""The derivative of the answer, transposed, by the factor that its solve has left (20).

Nothing is refined, and no data are read: the solve has found the factor good enough (`known.py`).
"""

from collections import namedtuple

from qpcore.kernels.binding import lined_up
from qpcore.kernels.known import ERROR, MARGIN, RESIDUAL, certify_known
from qpcore.kernels.machine import kernel, larger, like, where
from qpcore.kernels.outer import LEAST_ROW
from qpcore.kernels.packed import as_floats, as_matrix, own_entry
from qpcore.kernels.refine import copy, set_zero
from qpcore.kernels.scaling import to_original
from qpcore.kernels.system import solve_bordered
from qpcore.kernels.vectors import load_rows, store_rows
from qpcore.kernels.whole import COST, places_of, rows_kept, solve_whole
from qpcore.kernels.workspace import CERTIFIED, vector

# What a worker needs for a pack, by variables, equations and rows of G: cotangents that become the
# solution, what is solved with, room beside it, a Certificate, and room where gradients are put
# together (`outer.py`).
Room = namedtuple("Room", "x y z right spare certificate lines")


def elements_of_room(n, m, p):
    """How many elements `carve_room` takes."""
    lines = n * max(n, m, p) if n < LEAST_ROW else 0
    return 3 * (n + m + p) + CERTIFIED + lines


@kernel
def carve_room(memory, n, m, p):
    """Divide that many elements among a Room; the rest is its lines."""
    x, memory = vector(memory, n)
    y, memory = vector(memory, p)
    z, memory = vector(memory, m)
    right, memory = vector(memory, n + m + p)
    spare, memory = vector(memory, n + m + p)
    certificate, memory = vector(memory, CERTIFIED)
    return Room(x, y, z, right, spare, certificate, memory)


@kernel
def differentiate_known(work, rules, sizes, team):
    """What `differentiate` does, by the factor that the solve has left, where that serves (20).

    Neither the data nor what is known are touched: the same can be done again.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    dual, right, zero = system.dual, system.right, like(0, qp.q[0])
    v, cost, given, found = dual.beside[: lined_up(dual.order)], scale.cost[0], zero, zero
    copy(step, at, sizes, team)
    for j in range(sizes.n):
        right[j] = -residual.Qx[j] * scale.x[j] * cost
        given = larger(given, abs(right[j]))
    for i in range(sizes.p):
        right[sizes.n + i] = -residual.Ax[i] * scale.y[i]
        given = larger(given, abs(right[sizes.n + i]))
    for i in range(len(v)):
        k = int(dual.order[i])
        v[i] = residual.sides[0, k] * scale.rows[k]
        given = larger(given, abs(v[i]))
    solve_bordered(qp, dual, right, v, like(rules.delta, zero), sizes, team)
    set_zero(at, sizes, team)
    for j in range(sizes.n):
        at.x[j], found = right[j], larger(found, abs(right[j]))
    for i in range(sizes.p):
        at.y[i], found = right[sizes.n + i], larger(found, abs(right[sizes.n + i]))
    for i in range(len(v)):
        at.v[int(dual.order[i])], found = v[i], larger(found, abs(v[i]))
    known = dual.known[MARGIN], dual.known[RESIDUAL], dual.known[ERROR]
    certify_known(outcome.certificate, *known, given, found, rules)
    to_original(at, scale, like(1, cost) / cost, sizes, team)


@kernel
def load_room(room, cotangents, first, slots, team):
    """Bring the cotangents of a group."""
    load_rows(room.x, cotangents.x, first, slots, team)
    load_rows(room.y, cotangents.y, first, slots, team)
    load_rows(room.z, cotangents.z, first, slots, team)


@kernel
def store_room(derivative, room, first, slots, team):
    """Hand out the solutions of a group, and certificates, a row of those for each number."""
    store_rows(derivative.adjoint.x, room.x, first, slots, team)
    store_rows(derivative.adjoint.y, room.y, first, slots, team)
    store_rows(derivative.adjoint.z, room.z, first, slots, team)
    out, numbers = derivative.certificate, as_floats(room.certificate)
    for i in range(out.shape[0]):
        for slot in range(min(slots, out.shape[1] - first)):
            out[i, first + slot] = numbers[i, slot]


@kernel
def differentiate_whole(kept, room, rules, sizes):
    """Turn cotangents into the solution of the adjoint system (13), by the factor that is kept."""
    n, first, most = sizes.n, sizes.n + sizes.p, rows_kept(kept)
    place, zero, cost = places_of(sizes, most), like(0, kept[0]), kept[COST]
    v = room.right[: first + most]
    for j in range(n):
        v[j] = -room.x[j] * kept[place.x + j] * cost
    for i in range(sizes.p):
        v[n + i] = -room.y[i] * kept[place.y + i]
    rows = as_matrix(room.z, sizes.m, 1)
    for i in range(most):
        k, there = row_at(kept, place, i)
        v[first + i] = where(there, -own_entry(rows, k, zero) * kept[place.scales + i], zero)
    given = largest_of(v)
    solve_whole(kept, place, v, room.spare, rules.delta, sizes)
    known = kept[MARGIN], kept[RESIDUAL], kept[ERROR]
    certify_known(room.certificate, *known, given, largest_of(v), rules)
    for j in range(n):
        room.x[j] = v[j] * kept[place.x + j]
    for i in range(sizes.p):
        room.y[i] = v[n + i] * kept[place.y + i] / cost
    for k in range(sizes.m):
        room.z[k] = zero
    for i in range(most):
        v[first + i] *= kept[place.scales + i] / cost
    put_rows(kept, place, room.z, v, first, most)


@kernel
def put_rows(kept, place, z, v, first, most):
    """Multipliers of the rows that bind, to where these are among all."""
    out, numbers, orders = as_floats(z), as_floats(v), as_floats(kept)
    for i in range(most):
        for slot in range(out.shape[1]):
            k = int(orders[place.order + i, slot])
            if k >= 0:
                out[k, slot] = numbers[first + i, slot]


@kernel(inline=True)
def row_at(kept, place, i):
    """Which row stands there in each problem, and whether one does."""
    k = kept[place.order + i]
    zero = like(0, k)
    return where(k >= zero, k, zero), k >= zero


@kernel
def largest_of(v):
    """The largest magnitude."""
    most = like(0, v[0])
    for i in range(v.shape[0]):
        most = larger(most, abs(v[i]))
    return most
