"""What a solve in the dual form knows of the derivative: whether its factor serves, and how exact.

The first point of a solve comes out of the factor of the rows that bind, as the derivative does:
its residual is measured, and stands for that of the adjoint system (20).
"""

from qpcore.kernels.activity import Sizes as Largest
from qpcore.kernels.activity import clarity
from qpcore.kernels.binding import lined_up
from qpcore.kernels.machine import kernel, larger, like, where
from qpcore.status import Status

SOLVED = int(Status.SOLVED)

# What is known, as numbers of `dual.known`. SOUND: one where the factor serves as it is, else zero;
# others as in a Certificate, but the error is that of the answer alone.
SOUND, MARGIN, RESIDUAL, ERROR = range(4)

# Nothing corrects what is solved with the factor, but for its δ. It serves where no row is closer
# to the border between binding and free than CLEAR, as a share of the largest terms; where the
# first point left no residual larger than EXACT; and where entries of Q and R are not more than
# STEEP times as large as the squares of their smallest pivots.
CLEAR, EXACT, STEEP = 1e-6, 1e-11, 1e5


@kernel
def note_accuracy(work, dual, first, sizes, team):
    """Note the residual of (3) beside its largest term, with rows that bind as equations.

    Of the first point, that is what the factor is good for; of the last, the error of the answer.
    """
    qp, at, residual, one = work.qp, work.at, work.residual, like(1, work.qp.q[0])
    zero, left, terms = one - one, one - one, one
    for j in range(sizes.n):
        left, terms = larger(left, abs(residual.dual[j])), larger(terms, abs(at.x[j]))
    for i in range(sizes.p):
        left, terms = larger(left, abs(residual.equality[i])), larger(terms, abs(at.y[i]))
    for k in range(sizes.m):
        side = dual.side[k]
        gap = where(side > 0, qp.limit[0, k], qp.limit[1, k]) - at.Cx[k]
        left = larger(left, where(side == zero, zero, abs(gap)))
        terms = larger(terms, abs(at.v[k]))
    if first:
        dual.known[RESIDUAL] = left / terms
    dual.known[ERROR] = left / terms


@kernel
def note_clarity(work, dual, sizes, team):
    """Note how clearly every row binds or does not."""
    qp, at, one = work.qp, work.at, like(1, work.qp.q[0])
    primal, multipliers, margin = one, one, one
    for j in range(sizes.n):
        primal = larger(primal, abs(at.x[j]))
        multipliers = larger(multipliers, larger(abs(qp.q[j]), abs(work.residual.Qx[j])))
    for i in range(sizes.p):
        multipliers = larger(multipliers, abs(at.y[i]))
    for k in range(sizes.m):
        primal = larger(primal, abs(at.Cx[k]))
        multipliers = larger(multipliers, abs(at.v[k]))
    largest = Largest(primal, multipliers)
    for k in range(sizes.m):
        here = clarity(qp, k, at.v[k], at.Cx[k], largest)
        margin = where(here < margin, here, margin)
    dual.known[MARGIN] = margin


@kernel
def judge(work, searched, sizes, team):
    """Decide whether the factor serves, once the status is known; not if nothing was sought."""
    known, status = work.system.dual.known, work.outcome.status[0]
    zero, one = like(0, status), like(1, status)
    if not searched:
        known[SOUND] = zero
        return
    sound = (status == like(SOLVED, zero)) & (known[MARGIN] > like(CLEAR, zero))
    sound = sound & (known[RESIDUAL] < like(EXACT, zero))
    sound = sound & (steepness(work, sizes) < like(STEEP, zero))
    known[SOUND] = where(sound, one, zero)


@kernel
def steepness(work, sizes):
    """How much larger entries of Q and R are than the squares of their smallest pivots."""
    dual, first = work.system.dual, sizes.n + sizes.p
    flattest = like(0, work.qp.q[0])
    weakest, largest = flattest, flattest
    for j in range(sizes.n):
        flattest = larger(flattest, dual.diagonal[j])
    for i in range(lined_up(dual.order)):
        weakest = larger(weakest, dual.diagonal[first + i])
    for k in range(sizes.m):
        largest = larger(largest, dual.curvature[k])
    return larger(flattest * flattest, largest * weakest * weakest)


@kernel
def certify_known(certificate, margin, residual, error, given, found, rules):
    """Write the certificate of a solution by the factor, given the sizes of right side and it."""
    one = like(1, given)
    growth = where(given > one - one, found / given, one - one)
    certificate[0], certificate[1], certificate[2] = margin, residual, growth
    certificate[3] = larger(one, growth) * (residual + error + like(rules.rounding, one))
