"""Between the drivers' arrays and a Work: one problem an array entry there, a slot of a pack here.

A slot is a problem's place in a pack; where elements are floats there is one slot.
"""

from collections import namedtuple

from numba.extending import overload

from qpcore.kernels.certificate import MINIMUM
from qpcore.kernels.company import load_elements
from qpcore.kernels.doubt import IN_DOUBT
from qpcore.kernels.linalg import own_from
from qpcore.kernels.machine import Solo, any_lane, barrier, kernel, larger, like, team_max
from qpcore.kernels.pack import PackType
from qpcore.kernels.packed import as_floats
from qpcore.kernels.presolve import flaw_of_matrices, flaw_of_vectors
from qpcore.kernels.scaling import equilibrate, scale_vectors
from qpcore.kernels.trace import store_trace
from qpcore.kernels.transposed import entries_of_slots, move_block
from qpcore.kernels.vectors import load_entries, load_limits, load_rows, store_rows, store_vector
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# So many neighbours fill a line of the cache, which is then written once: 500 by 500 numbers are
# transposed in a third of the time.
ROWS_AT_ONCE = 8

# Arrays (batch, ·) that go in and out, one row a problem. trace: (batch, iterates, 6), of Notes.
Result = namedtuple("Result", "x z y z_box status iterations trace")
Vectors = namedtuple("Vectors", "x z y z_box")


@kernel
def load(work, data, sizes, first, slots, again, team):
    """Bring problems first.. into the slots, equilibrated; `again`: shared matrices still are.

    Beyond the end of the batch the last problem fills the slots. Returned is whether matrices came.
    """
    fresh = load_data(work, data, sizes, first, slots, again, team)
    prepare(work, sizes, fresh, team)
    return fresh


@kernel
def load_solved(work, data, sizes, first, slots, again, team):
    """The same with problems in which nobody looks for flaws any more."""
    fresh = load_data(work, data, sizes, first, slots, again, team)
    prepare_sound(work, sizes, fresh, team)
    return fresh


@kernel
def load_data(work, data, sizes, first, slots, again, team):
    """Matrices, if they are fresh, which is returned, and vectors as they are."""
    qp = work.qp
    fresh = not again or data.Q.shape[0] > 1 or data.G.shape[0] > 1 or data.A.shape[0] > 1
    if fresh:
        load_Q(qp, data, first, slots, team)
        if sizes.m > 0:
            load_G(qp, data, first, slots, team)
        if sizes.p > 0:
            load_matrix(qp.K, sizes.n, True, data.A, data.entry[4], first, slots, team)
        barrier(team)
    m, rows, entry = sizes.m, sizes.rows, data.entry
    load_entries(qp.q, data.q, entry[1], first, slots, team)
    if sizes.p > 0:
        load_entries(qp.b, data.b, entry[5], first, slots, team)
    load_limits(qp, 0, 0, m, data.h, entry[3], first, slots, team)
    load_limits(qp, 1, 0, m, data.h_lower, entry[8], first, slots, team)
    load_limits(qp, 0, m, rows, data.ub, entry[7], first, slots, team)
    load_limits(qp, 1, m, rows, data.lb, entry[6], first, slots, team)
    barrier(team)
    return fresh


@kernel(inline=True)
def prepare(work, sizes, fresh, team):
    """Look for flaws in what was loaded, and equilibrate it; matrices only if they are fresh."""
    qp = work.qp
    if fresh:
        note_flaw(work.scale, 0, flaw_of_matrices(qp, team), team)
    note_flaw(work.scale, 1, flaw_of_vectors(qp, team), team)
    prepare_sound(work, sizes, fresh, team)


@kernel(inline=True)
def prepare_sound(work, sizes, fresh, team):
    """The same without a look for flaws, as of problems that were solved."""
    qp = work.qp
    if fresh:
        note_coupling(qp, team)
        equilibrate(qp, work.scale, sizes, team)
    scale_vectors(qp, work.scale, sizes, team)


@kernel(inline=True)
def note_flaw(scale, kind, flaw, team):
    """Keep the flaw of the matrices (0) or of the vectors (1)."""
    if team.lane == 0:
        scale.flaw[kind] = flaw
    barrier(team)


@kernel
def note_coupling(qp, team):
    """Note whether variables are coupled; where none are, L gets its zeros below the diagonal.

    Rows of G count as coupling: with them nobody looks at Q.
    """
    n, m = qp.Gt.shape
    most = like(m, qp.q[0])
    for i in range(n if m == 0 else 0):
        for j in range(own_from(i + 1, team), n, team.width):
            most = larger(most, abs(qp.K[i, j]))
    most = team_max(most, team)
    if team.lane == 0:
        qp.coupled[0] = most
    barrier(team)
    if not any_lane(most > 0):
        for i in range(n):
            for j in range(team.lane, i, team.width):
                qp.K[i, j] = most
        barrier(team)


@kernel
def load_Q(qp, data, first, slots, team):
    """Q's symmetric part: diagonal and strict upper triangle; zeros for what A's rows have there.

    Q goes first where the factor will be, as it is.
    """
    n, last = qp.At.shape[0], qp.At.shape[0] + qp.At.shape[1]
    K, half = qp.K, like(0.5, qp.q[0])
    load_matrix(K, 0, False, data.Q, data.entry[0], first, slots, team)
    barrier(team)
    for i in range(n):
        for j in range(own_from(i + 1, team), n, team.width):
            K[i, j] = half * K[i, j] + half * K[j, i]
        if team.lane == 0:
            qp.Q_diagonal[i] = K[i, i]
            K[i, i] = like(0, half)
    for i in range(n, last):
        for j in range(own_from(i, team), K.shape[0], team.width):
            K[i, j] = like(0, half)


def load_G(qp, data, first, slots, team):
    """G, transposed: where it is a matrix of its own, and where it is the last columns of K."""
    load_matrix(qp.Gt, 0, True, data.G, data.entry[2], first, slots, team)


@overload(load_G)
def _load_G(qp, data, first, slots, team):
    if qp.types[qp.fields.index("Gt")].layout == "C":
        return lambda qp, data, first, slots, team: load_matrix(
            qp.Gt, 0, True, data.G, data.entry[2], first, slots, team
        )
    return lambda qp, data, first, slots, team: load_matrix(
        qp.K, qp.K.shape[0] - qp.Gt.shape[1], True, data.G, data.entry[2], first, slots, team
    )


def load_matrix(out, shift, transposed, values, entries, first, slots, team):
    """A matrix of every slot's problem, its rows or columns from out's column `shift` on."""
    if type(team) is Solo:
        load_floats(out, shift, transposed, values, entries, first, slots, team)
    else:
        load_elements(out, shift, transposed, values, entries, first, team)


@overload(load_matrix)
def _load_matrix(out, shift, transposed, values, entries, first, slots, team):
    if isinstance(out.dtype, PackType):
        return lambda out, shift, transposed, values, entries, first, slots, team: load_packs(
            out, shift, transposed, values, entries, first, slots, team
        )
    if team.instance_class is not Solo:
        return lambda out, shift, transposed, values, entries, first, slots, team: load_elements(
            out, shift, transposed, values, entries, first, team
        )
    return lambda out, shift, transposed, values, entries, first, slots, team: load_floats(
        out, shift, transposed, values, entries, first, slots, team
    )


@kernel
def load_floats(out, shift, transposed, values, entries, first, slots, team):
    """A number at a time, of transposed matrices from a few rows at once."""
    numbers, last = as_floats(out), entries.shape[0] - 1
    rows, columns = values.shape[1], values.shape[2]
    for slot in range(slots):
        k = entries[min(first + slot, last)]
        if transposed:
            for start in range(0, rows, ROWS_AT_ONCE):
                for j in range(team.lane, columns, team.width):
                    for i in range(start, min(start + ROWS_AT_ONCE, rows)):
                        numbers[j, shift + i, slot] = values[k, i, j]
        else:
            for i in range(rows):
                for j in range(team.lane, columns, team.width):
                    numbers[i, shift + j, slot] = values[k, i, j]


@kernel
def load_packs(out, shift, transposed, values, entries, first, slots, team):
    """A block of as many columns as slots at a time: read along rows, written in packs.

    The last one lies over part of the one before it.
    """
    columns = values.shape[2]
    if columns < slots:
        load_floats(out, shift, transposed, values, entries, first, slots, team)
        return
    slot_entries = entries_of_slots(out, entries, first)
    for i in range(values.shape[1]):
        for start in range(0, columns, slots):
            j = min(start, columns - slots)
            if transposed:
                move_block(out, j, shift + i, 1, 0, values, slot_entries, i, j)
            else:
                move_block(out, i, shift + j, 0, 1, values, slot_entries, i, j)


@kernel
def load_progress(work, result, first, slots, team):
    """What earlier stages found, and the iterations that they took."""
    outcome = work.outcome
    statuses, iterations = as_floats(outcome.status), as_floats(outcome.iterations)
    before = as_floats(outcome.before)
    if team.lane == 0:
        for slot in range(slots):
            problem = min(first + slot, result.status.shape[0] - 1)
            statuses[0, slot] = result.status[problem]
            iterations[0, slot] = result.iterations[problem]
            before[0, slot] = result.iterations[problem]
    barrier(team)


@kernel
def load_point(at, point, sizes, first, slots, team):
    """Bring x, y, v of earlier answers into the slots, in the units of the data."""
    load_rows(at.x, point.x, first, slots, team)
    load_rows(at.y, point.y, first, slots, team)
    load_rows(at.v[: sizes.m], point.z, first, slots, team)
    load_rows(at.v[sizes.m :], point.z_box, first, slots, team)
    barrier(team)


@kernel
def store(result, work, sought, sizes, first, slots, team):
    """Hand out the answers in the slots; what has no meaning becomes NaN.

    A certificate takes the place of the variables that it lives in, with largest entry 1.
    """
    barrier(team)
    statuses, iterations = as_floats(work.outcome.status), as_floats(work.outcome.iterations)
    before = as_floats(work.outcome.before)
    for slot in range(slots):
        problem = first + slot
        if problem < result.status.shape[0]:
            status = int(statuses[0, slot])
            solved = status == SOLVED or status == IN_DOUBT
            iterate = solved or status == MAX_ITERATIONS or status < 0
            primal = iterate or status == DUAL_INFEASIBLE
            dual = iterate or status == PRIMAL_INFEASIBLE
            # What an earlier stage found stays if this one found nothing, or had no iteration left.
            idle = before[0, slot] > 0 and iterations[0, slot] == before[0, slot]
            idle = idle and iterate and not solved
            if not idle and (sought == MINIMUM or not iterate):
                at = work.at
                store_vector(result.x[problem], at.x, 0, primal, slot, team)
                store_vector(result.y[problem], at.y, 0, dual, slot, team)
                store_vector(result.z[problem], at.v, 0, dual, slot, team)
                store_vector(result.z_box[problem], at.v, sizes.m, dual, slot, team)
            store_trace(result.trace[problem], work.outcome, slot, team)
            if team.lane == 0:
                result.status[problem] = status
                result.iterations[problem] = int(iterations[0, slot])
    barrier(team)


@kernel
def load_cotangents(work, answer, cotangents, sizes, first, slots, team):
    """Bring answers and cotangents into the places where `differentiate` expects them."""
    residual, v = work.residual, work.residual.sides[0]
    load_point(work.at, answer, sizes, first, slots, team)
    load_rows(residual.Qx, cotangents.x, first, slots, team)
    load_rows(residual.Ax, cotangents.y, first, slots, team)
    load_rows(v[: sizes.m], cotangents.z, first, slots, team)
    load_rows(v[sizes.m :], cotangents.z_box, first, slots, team)
    barrier(team)


@kernel
def store_points(out, point, sizes, first, slots, team):
    """Hand out x, y, v of the slots."""
    store_rows(out.x, point.x, first, slots, team)
    store_rows(out.y, point.y, first, slots, team)
    store_rows(out.z, point.v[: sizes.m], first, slots, team)
    store_rows(out.z_box, point.v[sizes.m :], first, slots, team)
