"""The primal-dual interior-point method, on one problem (or one pack of problems).

Mehrotra's predictor-corrector with a proximal regularisation of primal and dual (PIQP: Schwan,
Jiang, Kuhn, Jones 2023, arXiv 2304.00290). Numbers in brackets are equations of derivation.md.

Every quantity that decides anything is a number per problem. A problem that is finished is frozen:
its iterate is written back unchanged, so what its neighbours in the pack do never touches it.
"""

from collections import namedtuple

from qpcore.kernels.certificate import find_certificate, normalise_certificate
from qpcore.kernels.kkt import (
    add_where,
    factor_kkt,
    multiply_C,
    multiply_C_transposed,
    multiply_kkt,
    solve_kkt,
    weigh,
)
from qpcore.kernels.linalg import multiply, multiply_symmetric, multiply_transposed
from qpcore.kernels.machine import (
    any_lane,
    barrier,
    kernel,
    larger,
    like,
    negate,
    team_max,
    team_sum,
    where,
)
from qpcore.kernels.presolve import certify_crossed, crossed, fix_equal_limits, is_convex
from qpcore.kernels.scaling import to_original
from qpcore.kernels.stopping import OVERFLOW, Excess, excess
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
NOT_CONVEX = int(Status.NOT_CONVEX)
NUMERICAL_ERROR = int(Status.NUMERICAL_ERROR)
NONFINITE_INPUT = int(Status.NONFINITE_INPUT)
RUNNING = -1

# Rounds of iterative refinement where a problem needs care.
REFINEMENTS = 1

# Certificates are looked for once in so many iterations.
CERTIFICATE_PERIOD = 4

# Where mu fell by less than a fifth, the corrector stays near the central path: without this the
# method cycled on 5 of 1600 random problems; paper profiles take as many iterations as before (11).
SLOW = 0.8
LEAST_CENTERING = 0.5

# A start whose slacks all exceed this needs no shift (12).
CLOSE = 1e-8

# tol: SOLVED (5). ray: certificates (6). rho, delta: regularisation (7). convexity: what rounding
# may take from Q's eigenvalues. shorten: share of the step to the boundary that is taken (11).
Parameters = namedtuple("Parameters", "max_iterations tol ray rho delta convexity shorten careful")


@kernel
def solve_problem(work, parameters, sizes, team):
    """Solve the problem in `work.qp`; answer in `work.at`, status in `work.outcome`."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    status = examine(work, parameters, sizes, team)
    start(work, status, parameters, sizes, team)
    careful = like(parameters.careful, status) > 0
    iterations, mu = like(0, status), like(OVERFLOW, status)
    last = Excess(mu, mu, mu)
    for iteration in range(parameters.max_iterations + 1):
        residuals(qp, at, residual, sizes, team)
        above = excess(qp, scale, at, residual, parameters.tol, sizes, team)
        solved = (above.dual <= 1) & (above.primal <= 1) & (above.gap <= 1)
        status = where((status < 0) & solved, like(SOLVED, status), status)
        careful = (status < 0) & (careful | grew(above, last))
        last = above
        if iteration % CERTIFICATE_PERIOD == CERTIFICATE_PERIOD - 1:
            status = find_certificate(work, status, parameters.ray, sizes, team)
        if iteration == parameters.max_iterations or not any_lane(status < 0):
            break
        iterations = where(status < 0, like(iteration + 1, iterations), iterations)
        weigh(qp, at, system, parameters.delta, sizes, team)
        factor_kkt(qp, system, parameters, sizes, team)
        aim_at_boundary(at, step, sizes, team)
        newton(work, careful, parameters, sizes, team)
        mu = aim_at_centre(qp, at, step, mu, sizes, team)
        newton(work, careful, parameters, sizes, team)
        alpha = step_length(at, step, like(parameters.shorten, mu), sizes, team)
        broken = (status < 0) & negate(is_finite(step, sizes, team))
        status = where(broken, like(NUMERICAL_ERROR, status), status)
        move(qp, at, step, alpha, status < 0, sizes, team)
    status = where(status < 0, like(MAX_ITERATIONS, status), status)
    to_original(at, scale, sizes, team)
    certify_crossed(qp, at, sizes, team)
    normalise_certificate(at, status, sizes, team)
    outcome[0], outcome[1] = status, iterations
    barrier(team)


@kernel(inline=True)
def grew(now, before):
    """Whether a linear residual above the tolerance has grown, which exact steps would shrink."""
    return ((now.dual > 1) & (now.dual > before.dual)) | (
        (now.primal > 1) & (now.primal > before.primal)
    )


@kernel
def examine(work, parameters, sizes, team):
    """The status that the data alone decide, or RUNNING."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    fix_equal_limits(qp, sizes, team)
    running = like(RUNNING, qp.q[0])
    convex = is_convex(qp, system, parameters.convexity, sizes, team)
    status = where(convex, running, like(NOT_CONVEX, running))
    status = where(crossed(qp, sizes, team), like(PRIMAL_INFEASIBLE, running), status)
    sound = scale.flaw[0] + scale.flaw[1] == 0
    return where(sound, status, like(NONFINITE_INPUT, running))


# ---- start ---------------------------------------------------------------------------------------


@kernel
def start(work, status, parameters, sizes, team):
    """Least squares for the slacks, then slacks and multipliers moved into the orthant (12)."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    place_at_zero(qp, at, residual, step, sizes, team)
    weigh(qp, at, system, parameters.delta, sizes, team)
    factor_kkt(qp, system, parameters, sizes, team)
    everywhere = status < 0
    newton(work, everywhere, parameters, sizes, team)
    move(qp, at, step, like(1, qp.q[0]), everywhere, sizes, team)
    enter_orthant(qp, at, step, sizes, team)


@kernel
def place_at_zero(qp, at, residual, step, sizes, team):
    """Zero variables and slacks, whose residuals are the data; weight one on every side."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = zero
        residual.dual[j] = qp.q[j]
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = zero
        residual.equality[i] = qp.b[i]
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = zero
        for side in range(2):
            at.s[side, i] = one
            at.z[side, i] = qp.present[side, i]
            step.target[side, i] = zero
            residual.sides[side, i] = qp.present[side, i] * outward(side, qp.limit[side, i])
        residual.sides[0, i] += qp.fixed[i] * qp.limit[0, i]
    barrier(team)


@kernel
def enter_orthant(qp, at, step, sizes, team):
    """s = slack + shift, z = shift - slack, each shifted so far that it is well positive (12)."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    least, close = like(-OVERFLOW, zero), like(-CLOSE, zero)
    short, long = least, least
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            slack = outward(side, qp.limit[side, i] - step.Cx[i])  # x = dx: C x = C dx
            at.s[side, i] = slack
            short = larger(short, where(qp.present[side, i] > 0, -slack, least))
            long = larger(long, where(qp.present[side, i] > 0, slack, least))
    short = team_max(short, team)
    long = team_max(long, team)
    primal = where(short > close, one + short, zero)
    dual = where(long > close, one + long, zero)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            slack, present = at.s[side, i], qp.present[side, i] > 0
            at.s[side, i] = where(present, primal + slack, one)
            at.z[side, i] = where(present, dual - slack, zero)
    barrier(team)  # the rows of a side go round the lanes from its first one
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(qp.fixed[i] > 0, at.v[i], at.z[0, i] - at.z[1, i])
    barrier(team)


# ---- one iteration -------------------------------------------------------------------------------


@kernel(inline=True)
def outward(side, number):
    """The sign of a side: + for the upper one, - for the lower one."""
    return number if side == 0 else -number


@kernel
def residuals(qp, at, residual, sizes, team):
    """What is left of the optimality conditions (4), from the data and not from updates."""
    multiply_symmetric(residual.Qx, qp.K, qp.Q_diagonal, at.x, team)
    multiply(residual.Ay, qp.At, at.y, team)
    multiply_transposed(residual.Ax, qp.At, at.x, team)
    multiply_C(at.Cx, qp, at.x, team)
    multiply_C_transposed(residual.Cv, qp, at.v, team)
    for j in range(team.lane, sizes.n, team.width):
        residual.dual[j] = residual.Qx[j] + qp.q[j] + residual.Cv[j] + residual.Ay[j]
    for i in range(team.lane, sizes.p, team.width):
        residual.equality[i] = qp.b[i] - residual.Ax[i]
    for i in range(team.lane, sizes.rows, team.width):
        Cx = at.Cx[i]
        for side in range(2):
            slack = outward(side, qp.limit[side, i] - Cx)
            residual.sides[side, i] = qp.present[side, i] * (slack - at.s[side, i])
        residual.sides[0, i] += qp.fixed[i] * (qp.limit[0, i] - Cx)
    barrier(team)


@kernel
def aim_at_boundary(at, step, sizes, team):
    """Predictor: ask for s z = 0 (11)."""
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            step.target[side, i] = -at.s[side, i] * at.z[side, i]
    barrier(team)


@kernel
def aim_at_centre(qp, at, step, last_mu, sizes, team):
    """Corrector: ask for s z = σ μ, less what the predictor's step left over (11); return μ."""
    zero = like(0, qp.q[0])
    alpha = step_length(at, step, like(1, zero), sizes, team)
    count, mu, mu_aff = zero, zero, zero
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            s, z = at.s[side, i], at.z[side, i]
            ahead_s, ahead_z = s + alpha * step.s[side, i], z + alpha * step.z[side, i]
            count += qp.present[side, i]
            mu += s * z
            mu_aff += ahead_s * ahead_z
    count = team_sum(count, team)
    mu = team_sum(mu, team) / count
    ratio = team_sum(mu_aff, team) / (count * mu)
    sigma = ratio * ratio * ratio
    slow = mu > like(SLOW, mu) * last_mu
    sigma = where(slow, larger(sigma, like(LEAST_CENTERING, mu)), sigma)
    sigma_mu = where(count > 0, sigma * mu, zero)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            beyond = step.s[side, i] * step.z[side, i]
            step.target[side, i] += qp.present[side, i] * (sigma_mu - beyond)
    barrier(team)
    return mu


@kernel
def newton(work, careful, parameters, sizes, team):
    """The Newton step towards the target: eliminate slacks and rows, solve, recover (7, 8)."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    n = sizes.n
    for i in range(team.lane, sizes.rows, team.width):
        pull = like(0, qp.q[0])
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                r, z = residual.sides[side, i], at.z[side, i]
                pull += outward(side, (step.target[side, i] - z * r) / at.s[side, i])
        equality = -system.weight[i] * residual.sides[0, i]
        system.push[i] = where(qp.fixed[i] > 0, equality, system.damp[i] * pull)
    for j in range(team.lane, n, team.width):
        system.right[j] = -residual.dual[j]
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = residual.equality[i]
    barrier(team)
    solve_kkt(qp, system, step, sizes, team)
    if any_lane(careful):
        refine(work, careful, parameters, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        moved, dv = step.Cx[i] - parameters.delta * step.v[i], step.v[i]
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                ds = qp.present[side, i] * (residual.sides[side, i] - outward(side, moved))
                dz = (step.target[side, i] - at.z[side, i] * ds) / at.s[side, i]
                step.s[side, i], step.z[side, i] = ds, dz
                dv -= outward(side, dz)
        share_rounding(qp, at, step, dv, i, sizes)
    barrier(team)


@kernel
def refine(work, careful, parameters, sizes, team):
    """Iterative refinement of dx, dv, dy on the regularised Newton system, where asked for (10)."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    n = sizes.n
    for i in range(team.lane, sizes.rows, team.width):
        system.push[i] = like(0, qp.q[0])
    for _ in range(REFINEMENTS):
        multiply_kkt(system.right, work, step, sizes, team)
        for j in range(team.lane, n, team.width):
            known = system.right[j] + parameters.rho * step.x[j]
            system.right[j] = -residual.dual[j] - known
        for i in range(team.lane, sizes.p, team.width):
            known = system.right[n + i] - parameters.delta * step.y[i]
            system.right[n + i] = residual.equality[i] - known
        barrier(team)
        solve_kkt(qp, system, fix, sizes, team)
        add_where(careful, step, fix, sizes, team)


@kernel(inline=True)
def share_rounding(qp, at, step, excess, i, sizes):
    """Make dz₊ - dz₋ equal dv to the last bit, as stationarity wants; the binding side yields.

    Close to the answer dz comes from a tiny ds over a tiny s and has few correct digits; dv, which
    the KKT matrix gave, has them all. Without this float32 loses the dual residual it had.
    """
    zero = like(0, excess)
    upper, lower = qp.present[0, i] > 0, qp.present[1, i] > 0
    one_sided = upper & negate(lower)
    if sizes.first[1] <= i < sizes.last[1]:
        if sizes.first[0] <= i < sizes.last[0]:
            closer = at.z[0, i] * at.s[1, i] > at.z[1, i] * at.s[0, i]
            to_upper = one_sided | (upper & closer)
            step.z[0, i] += where(to_upper, excess, zero)
            step.z[1, i] -= where(lower & negate(to_upper), excess, zero)
        else:
            step.z[1, i] -= where(lower, excess, zero)
    elif sizes.first[0] <= i < sizes.last[0]:
        step.z[0, i] += where(upper, excess, zero)


@kernel
def step_length(at, step, share, sizes, team):
    """The longest step, at most 1, that takes this share of the way to s = 0 or z = 0 (11)."""
    fastest = like(0, share)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            fastest = larger(fastest, -step.s[side, i] / at.s[side, i])
            fastest = larger(fastest, -step.z[side, i] / at.z[side, i])
    fastest = team_max(fastest, team)
    return where(fastest > share, share / fastest, like(1, share))


@kernel
def is_finite(step, sizes, team):
    """Whether the step is made of ordinary numbers."""
    size = like(0, step.x[0])
    for j in range(team.lane, sizes.n, team.width):
        size += abs(step.x[j])
    for i in range(team.lane, sizes.rows, team.width):
        size += abs(step.v[i])
    return team_sum(size, team) < like(OVERFLOW, size)


@kernel
def move(qp, at, step, alpha, running, sizes, team):
    """Take the step, where the problem is still running."""
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = where(running, at.x[j] + alpha * step.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(running, at.y[i] + alpha * step.y[i], at.y[i])
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            s, z = at.s[side, i], at.z[side, i]
            at.s[side, i] = where(running, s + alpha * step.s[side, i], s)
            at.z[side, i] = where(running, z + alpha * step.z[side, i], z)
    barrier(team)
    for i in range(team.lane, sizes.rows, team.width):
        net = at.z[0, i] - at.z[1, i]
        net = where(qp.fixed[i] > 0, at.v[i] + alpha * step.v[i], net)
        at.v[i] = where(running, net, at.v[i])
    barrier(team)
