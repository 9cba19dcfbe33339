"""What a problem's data say before the first iteration: unsound, crossed, fixed, convex or not."""

import math

from qpcore.kernels.dense import factor
from qpcore.kernels.machine import (
    any_lane,
    barrier,
    kernel,
    larger,
    like,
    team_max,
    team_sum,
    where,
)
from qpcore.kernels.rows import TILE, four

# The least that is put on a diagonal before its Cholesky factor is tried: as a share of the largest
# entry, in units of what rounding may take from an entry itself; and at all.
SHARE_OF_LARGEST = 1e-4
LEAST_LIFT = 1e-30

# The floor of pivots that lets every pivot pass, so that a negative one shows.
ANY_PIVOT = -math.inf


@kernel
def fix_equal_limits(qp, sizes, team):
    """A row with equal limits is an equality: it has no sides."""
    zero = like(0, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        both = qp.present[0, i] * qp.present[1, i] > 0
        equal = both & (qp.limit[0, i] == qp.limit[1, i])
        qp.fixed[i] = where(equal, like(1, zero), zero)
        for side in range(2):
            qp.present[side, i] = where(equal, zero, qp.present[side, i])
    barrier(team)


@kernel
def flaw_of_matrices(qp, team):
    """Zero if Q, G and A are finite: v - v is NaN for every other number."""
    zero = like(0, qp.q[0])
    flaw = zero
    n, m = qp.Gt.shape
    for j in range(team.lane, n, team.width):
        flaw += qp.Q_diagonal[j] - qp.Q_diagonal[j]
        flaw += flaw_of_row(zero, qp.K, j, j + 1, n + qp.At.shape[1])
        flaw += flaw_of_row(zero, qp.Gt, j, 0, m)
    return team_sum(flaw, team)


@kernel(inline=True)
def flaw_of_row(zero, M, j, start, stop):
    """The same for M[j, start:stop]: four sums, as an addition waits for the one before it."""
    total = (zero, zero, zero, zero)
    for begin in range(start, stop, TILE):
        k = four(begin, stop)
        total = (
            total[0] + (M[j, k[0]] - M[j, k[0]]),
            total[1] + (M[j, k[1]] - M[j, k[1]]),
            total[2] + (M[j, k[2]] - M[j, k[2]]),
            total[3] + (M[j, k[3]] - M[j, k[3]]),
        )
    return (total[0] + total[1]) + (total[2] + total[3])


@kernel
def flaw_of_vectors(qp, team):
    """Zero if q, b and the limits are finite."""
    flaw = like(0, qp.q[0])
    for j in range(team.lane, qp.q.shape[0], team.width):
        flaw += qp.q[j] - qp.q[j]
    for i in range(team.lane, qp.b.shape[0], team.width):
        flaw += qp.b[i] - qp.b[i]
    for i in range(team.lane, qp.fixed.shape[0], team.width):
        flaw += (qp.limit[0, i] - qp.limit[0, i]) + (qp.limit[1, i] - qp.limit[1, i])
    return team_sum(flaw, team)


@kernel
def crossed(qp, sizes, team):
    """Whether some lower limit lies above its upper one."""
    worst = like(0, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        both = qp.present[0, i] * qp.present[1, i]
        worst = larger(worst, both * (qp.limit[1, i] - qp.limit[0, i]))
    return team_max(worst, team) > 0


@kernel
def certify_crossed(qp, at, sizes, team):
    """The certificate of crossed limits: ones in their rows (the two multipliers cancel)."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    clash = crossed(qp, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        both = qp.present[0, i] * qp.present[1, i]
        over = where(both * (qp.limit[1, i] - qp.limit[0, i]) > 0, one, zero)
        at.v[i] = where(clash, over, at.v[i])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(clash, zero, at.y[i])
    barrier(team)


@kernel
def is_convex(qp, scale, system, convexity, sizes, team):
    """Whether Q, its diagonal lifted by a rounding error's worth, has a Cholesky factor.

    Rounding takes from a pivot in proportion to its own diagonal entry, in every scaling. A share
    of the largest entry would hide negative curvature of variables that A or G scale down, or whose
    unit is small; it is granted where it is small in the scale of the matrices and in the data's.
    """
    n = sizes.n
    one = like(1, qp.q[0])
    most = one - one
    most_given = most
    for j in range(team.lane, n, team.width):
        size = abs(qp.Q_diagonal[j])
        most = larger(most, size)
        most_given = larger(most_given, size * scale.per_x[j] * scale.per_x[j])
    most, most_given = team_max(most, team), team_max(most_given, team)
    for j in range(team.lane, n, team.width):
        given = most_given * scale.x[j] * scale.x[j]
        least = like(SHARE_OF_LARGEST, one) * where(given < most, given, most)
        lift = convexity * larger(abs(qp.Q_diagonal[j]), least) + like(LEAST_LIFT, one)
        system.diagonal[j] = qp.Q_diagonal[j] + lift
    barrier(team)
    coupled, floor = any_lane(qp.coupled[0] > 0), like(ANY_PIVOT, one)
    factor(qp.K, system.diagonal, qp.Gt, 0, system.weight, n, coupled, floor, team)
    zero = one - one
    failed = zero
    for j in range(team.lane, n, team.width):
        failed = where(system.diagonal[j] > 0, failed, one)
    return team_max(failed, team) == 0
