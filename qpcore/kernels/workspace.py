"""Where one problem lives while it is solved: its data, iterate, residuals, step and KKT system.

All arrays are carved out of one block of memory, so that a driver allocates once. Elements are
floats or packs. Rows are those of C = [G; I]: first G's, then, where there are bounds, one for each
variable. Side 0 is the upper one, side 1 the lower one.
"""

from collections import namedtuple

from qpcore.kernels.machine import kernel
from qpcore.kernels.packed import as_matrix, divided

# first[side], last[side]: the range of rows that may have this side at all.
Sizes = namedtuple("Sizes", "n m p rows first last")

# The arguments as the drivers hold them: (k, ...) arrays; `entry[a, i]` is the one of argument a
# that problem i uses, in the order of these fields. An absent argument has size 0.
Data = namedtuple("Data", "Q q G h A b lb ub h_lower entry")

# limit, present: (2, rows); fixed: (rows,), one where both limits are equal: an equality.
# K: strict upper triangle [[Q, Aᵀ], [A, 0]], lower triangle the factor; Gt = Gᵀ; At = Aᵀ within K.
# In the dual form K has Gᵀ on the right as well, and Gt is a view (19).
# coupled: not zero if Q has entries off its diagonal or G has rows.
QP = namedtuple("QP", "K Q_diagonal q Gt At b limit present fixed coupled")

# z: multipliers of the two sides; v: the net multiplier z[0] - z[1] of a row; Cx = C x.
Point = namedtuple("Point", "x y v s z Cx")

# Products at the iterate, and what is left over: dual (n), sides (2, rows), equality (p).
Residual = namedtuple("Residual", "Qx Cv Ay Ax dual sides equality")

# Cx = C dx; target: what the complementarity products are to change by.
Step = namedtuple("Step", "x y v s z Cx target")

# The best iterate so far; in the search for a descent ray, x holds q as it was given.
Best = namedtuple("Best", "x y v")

# A correction of a step.
Fix = namedtuple("Fix", "x y v Cx")

# The condensed system: dv = weight * C dx + push in each row (8). right: right-hand side and
# solution [dx; dy]. diagonal: of K, then of its factor, inverted. per_s: one over the slacks. rho,
# delta: regularisation (7); soft: what a multiplier gives way by, zero unless a Farkas ray is
# sought (6). dual: a Dual where the system is solved in the dual form, else nothing (`system.py`).
System = namedtuple("System", "diagonal weight per_s damp push right rho delta soft dual")

# Factors of Ruiz equilibration for variables, rows of C, rows of A and the cost, and one over the
# first three (15). flaw: zero where the matrices, and the vectors, came without NaN and inf.
Scale = namedtuple("Scale", "x rows y per_x per_rows per_y cost flaw")

# Products of a step: Qx, Cᵀv + Aᵀy, Ax.
Products = namedtuple("Products", "Qx pull Ax")

# What is noted of an iterate, and of the step from it, in the units of the data.
Note = namedtuple("Note", "primal dual gap mu sigma alpha")
NOTES = len(Note._fields)

# What is known of a derivative. margin: how clearly every row binds or not; zero where the answer
# or its multipliers are not unique. residual: of the adjoint system, relative to its largest term.
# condition: how much larger solutions are than right-hand sides, in the scale of (15). error: what
# these make of the relative error.
Certificate = namedtuple("Certificate", "margin residual condition error")
CERTIFIED = len(Certificate._fields)

# Status, iterations and those of earlier stages, as numbers in vectors of one; certificate: the
# numbers of a Certificate; trace: a row of Note for each iterate, or no rows.
Outcome = namedtuple("Outcome", "status iterations before certificate trace")

Work = namedtuple("Work", "qp scale at best residual step fix system products outcome")

# What the dual form needs besides (19), by rows of G but for `diagonal`: of the factor of [[Q, Aᵀ],
# [A, 0]], then of that of R, inverted. curvature: the diagonal of R; centre: Gx without rows of G;
# side: +1 or -1 where a row binds above or below, 0 where it is free; force: multipliers; pull: R
# times them; right: a right-hand side; order: numbers of the rows that bind; beside: what belongs
# to them, in that order; known: of the factor as it serves derivatives (`known.py`).
Dual = namedtuple("Dual", "diagonal curvature centre side force pull right order beside known")
KNOWN = 4


def elements(n, m, p, rows, traced=0):
    """How many elements `carve` takes, if so many iterates are to be traced."""
    size = n + p
    qp = size * size + 2 * n + n * m + p + 5 * rows + 1
    at = n + p + 6 * rows
    best = n + p + rows
    residual = 4 * n + 2 * p + 2 * rows
    step = n + p + 8 * rows
    fix = n + p + 2 * rows
    system = 2 * size + 5 * rows + 3
    scale = 2 * (n + p + rows) + 3
    products = 2 * n + p
    outcome = 3 + CERTIFIED + NOTES * traced
    return qp + at + best + residual + step + fix + system + scale + products + outcome


def elements_of_dual(n, m, p, rows, traced=0):
    """How many elements `carve_dual` takes."""
    size = n + p + m
    matrices = size * size - (n + p) * (n + p) - n * m
    return elements(n, m, p, rows, traced) + matrices + size + 8 * m + KNOWN


@kernel
def carve(memory, n, m, p, rows):
    """Divide `elements(n, m, p, rows)` elements of memory among a Work; the rest is the trace."""
    K, memory = matrix(memory, n + p, n + p)
    Gt, memory = matrix(memory, n, m)
    return carve_around(memory, K, Gt, K[:n, n:], (), n, m, p, rows)


@kernel
def carve_dual(memory, n, m, p, rows):
    """A Work whose K has Gᵀ to the right of Aᵀ, with a Dual."""
    size = n + p + m
    diagonal, memory = vector(memory, size)
    curvature, memory = vector(memory, m)
    centre, memory = vector(memory, m)
    side, memory = vector(memory, m)
    force, memory = vector(memory, m)
    pull, memory = vector(memory, m)
    right, memory = vector(memory, m)
    order, memory = vector(memory, m)
    beside, memory = vector(memory, m)
    known, memory = vector(memory, KNOWN)
    K, memory = matrix(memory, size, size)
    dual = Dual(diagonal, curvature, centre, side, force, pull, right, order, beside, known)
    return carve_around(memory, K, K[:n, n + p :], K[:n, n : n + p], dual, n, m, p, rows)


@kernel
def carve_around(memory, K, Gt, At, dual, n, m, p, rows):
    """All of a Work but the matrices, and what the dual form needs besides."""
    size = n + p
    Q_diagonal, memory = vector(memory, n)
    q, memory = vector(memory, n)
    b, memory = vector(memory, p)
    limit, memory = matrix(memory, 2, rows)
    present, memory = matrix(memory, 2, rows)
    fixed, memory = vector(memory, rows)
    coupled, memory = vector(memory, 1)
    qp = QP(K, Q_diagonal, q, Gt, At, b, limit, present, fixed, coupled)
    x, memory = vector(memory, n)
    y, memory = vector(memory, p)
    v, memory = vector(memory, rows)
    s, memory = matrix(memory, 2, rows)
    z, memory = matrix(memory, 2, rows)
    Cx, memory = vector(memory, rows)
    at = Point(x, y, v, s, z, Cx)
    x, memory = vector(memory, n)
    y, memory = vector(memory, p)
    v, memory = vector(memory, rows)
    best = Best(x, y, v)
    residual, memory = carve_residual(memory, n, p, rows)
    dx, memory = vector(memory, n)
    dy, memory = vector(memory, p)
    dv, memory = vector(memory, rows)
    ds, memory = matrix(memory, 2, rows)
    dz, memory = matrix(memory, 2, rows)
    Cdx, memory = vector(memory, rows)
    target, memory = matrix(memory, 2, rows)
    step = Step(dx, dy, dv, ds, dz, Cdx, target)
    dx, memory = vector(memory, n)
    dy, memory = vector(memory, p)
    dv, memory = vector(memory, rows)
    Cdx, memory = vector(memory, rows)
    fix = Fix(dx, dy, dv, Cdx)
    diagonal, memory = vector(memory, size)
    weight, memory = vector(memory, rows)
    per_s, memory = matrix(memory, 2, rows)
    damp, memory = vector(memory, rows)
    push, memory = vector(memory, rows)
    right, memory = vector(memory, size)
    rho, memory = vector(memory, 1)
    delta, memory = vector(memory, 1)
    soft, memory = vector(memory, 1)
    system = System(diagonal, weight, per_s, damp, push, right, rho, delta, soft, dual)
    scale, memory = carve_scale(memory, n, p, rows)
    Qx, memory = vector(memory, n)
    pull, memory = vector(memory, n)
    Ax, memory = vector(memory, p)
    products = Products(Qx, pull, Ax)
    status, memory = vector(memory, 1)
    iterations, memory = vector(memory, 1)
    before, memory = vector(memory, 1)
    certificate, memory = vector(memory, CERTIFIED)
    trace, memory = matrix(memory, memory.shape[0] // NOTES, NOTES)
    outcome = Outcome(status, iterations, before, certificate, trace)
    return Work(qp, scale, at, best, residual, step, fix, system, products, outcome)


@kernel
def carve_residual(memory, n, p, rows):
    """The arrays of a Residual."""
    Qx, memory = vector(memory, n)
    Cv, memory = vector(memory, n)
    Ay, memory = vector(memory, n)
    Ax, memory = vector(memory, p)
    dual, memory = vector(memory, n)
    sides, memory = matrix(memory, 2, rows)
    equality, memory = vector(memory, p)
    return Residual(Qx, Cv, Ay, Ax, dual, sides, equality), memory


@kernel
def carve_scale(memory, n, p, rows):
    """The arrays of a Scale."""
    x, memory = vector(memory, n)
    v, memory = vector(memory, rows)
    y, memory = vector(memory, p)
    per_x, memory = vector(memory, n)
    per_v, memory = vector(memory, rows)
    per_y, memory = vector(memory, p)
    cost, memory = vector(memory, 1)
    flaw, memory = vector(memory, 2)
    return Scale(x, v, y, per_x, per_v, per_y, cost, flaw), memory


@kernel(inline=True)
def vector(memory, size):
    """A vector and the memory behind it."""
    return divided(memory, size)


@kernel(inline=True)
def matrix(memory, rows, columns):
    """A matrix and the memory behind it."""
    numbers, rest = divided(memory, rows * columns)
    return as_matrix(numbers, rows, columns), rest
