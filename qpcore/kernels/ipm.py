"""The primal-dual interior-point method, on one problem (or one pack of problems).

Mehrotra's predictor-corrector with a proximal regularisation of primal and dual (PIQP: Schwan,
Jiang, Kuhn, Jones 2023, arXiv 2304.00290). Numbers in brackets are equations of derivation.md.

Every quantity that decides anything is a number per problem. A problem that is finished is frozen:
its iterate is written back unchanged, so what its neighbours in the pack do never touches it.
"""

from collections import namedtuple

from qpcore.kernels.certificate import (
    DESCENT_RAY,
    FARKAS_RAY,
    MINIMUM,
    RUNNING,
    UNDECIDED,
    normalise_certificate,
    pose,
    stiffen,
)
from qpcore.kernels.dense import multiply, multiply_transposed
from qpcore.kernels.kkt import (
    factor_kkt,
    multiply_C,
    multiply_C_transposed,
    multiply_Q,
    regularise,
    weigh,
)
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
from qpcore.kernels.newton import move, newton, outward
from qpcore.kernels.presolve import certify_crossed, crossed, fix_equal_limits, is_convex
from qpcore.kernels.progress import Course, copy_iterate, judge, set_out
from qpcore.kernels.scaling import to_original
from qpcore.kernels.start import start
from qpcore.kernels.stopping import OVERFLOW
from qpcore.kernels.trace import note_iterate, note_step
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
NOT_CONVEX = int(Status.NOT_CONVEX)
NONFINITE_INPUT = int(Status.NONFINITE_INPUT)

# Where mu fell by less than a fifth, the corrector stays near the central path: without this the
# method cycled on 5 of 8064 easy random problems (11).
SLOW = 0.8
LEAST_CENTERING = 0.5

# How a step that is not finite is tried again: with so many times the regularisation, and no more
# than so often.
FIRMER, FIRMEST = 100.0, 1e7

# One stage of a solve. sought: MINIMUM or a ray. max_iterations: of all stages; steps: of this one.
# patience, leave: iterations without progress after which an acceptable iterate is taken, and a
# problem left to the next stage. keep: the iteration from which on the best iterate is kept. tol:
# SOLVED (5). reach: residuals aimed at, as multiples of tol. ray: certificates (6). rho, delta,
# floor: regularisation (7). convexity: what rounding may take from Q's eigenvalues; from 1 on
# nobody asks. shorten: share
# of the step to the boundary that is taken (11). careful: refine every step. stiff: weight of x'Qx
# where a direction is sought that Q does not feel (6). pull: weight of the rows at the start (12).
# clear: mass of a residual, as a multiple of 1 + its size, up to which SOLVED is beyond doubt (5).
WHOLE = ("sought", "max_iterations", "steps", "patience", "leave", "keep")
REAL = (
    "tol",
    "reach",
    "ray",
    "rho",
    "delta",
    "floor",
    "convexity",
    "shorten",
    "careful",
    "stiff",
    "pull",
    "clear",
)
Parameters = namedtuple("Parameters", WHOLE + REAL)


@kernel
def solve_problem(work, parameters, sizes, team):
    """Take the problem in `work.qp` through a stage; answer in `work.at`, status in `work.outcome`.

    On entry the outcome holds a negative status and the iterations of earlier stages. A problem
    that keeps a negative status is left to a later stage.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    status = examine(work, parameters, sizes, team)
    pose(qp, best, system, parameters, sizes, team)
    start(work, status, parameters, sizes, team)
    course = set_out(status, like(parameters.careful, status) > 0)
    iterations, mu, firm = outcome.iterations[0], like(OVERFLOW, status), like(1, status)
    for iteration in range(parameters.steps + 1):
        residuals(qp, at, residual, system.soft[0], sizes, team)
        note_iterate(work, iteration, course.status == RUNNING, sizes, team)
        course = judge(work, course, iteration, iterations, parameters, sizes, team)
        running = course.status == RUNNING
        if not any_lane(running):
            break
        iterations = where(running, iterations + like(1, iterations), iterations)
        if parameters.sought == DESCENT_RAY:
            stiffen(work, course.last, sizes, team)
        adapt(at, system, parameters, firm, sizes, team)
        weigh(qp, at, system, sizes, team)
        factor_kkt(qp, system, sizes, team)
        aim_at_boundary(at, step, sizes, team)
        newton(work, course.careful, sizes, team)
        mu, sigma = aim_at_centre(qp, at, step, system.per_s, mu, sizes, team)
        newton(work, course.careful, sizes, team)
        share = like(parameters.shorten, mu)
        alpha = step_length(at, step, system.per_s, share, sizes, team)
        broken = running & negate(is_finite(step, sizes, team))
        firm = where(broken, firm * like(FIRMER, firm), like(1, firm))
        course = give_up(course, broken & (firm > like(FIRMEST, firm)))
        running = running & negate(broken)
        note_step(outcome, iteration, sigma, alpha, running, team)
        move(qp, at, step, alpha, running, sizes, team)
    decide(work, course, iterations, parameters.sought, sizes, team)


@kernel(inline=True)
def give_up(course, lost):
    """Leave a problem without finite steps to the next stage."""
    status, careful, acceptable, kept, least, waited, last = course
    status = where(lost, like(UNDECIDED, status), status)
    return Course(status, careful, acceptable, kept, least, waited, last)


@kernel
def decide(work, course, iterations, sought, sizes, team):
    """Best iterate or certificate as the answer, in the units of the data, and the outcome."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    status, one = course.status, like(1, course.status)
    if sought == MINIMUM:
        gave_up = (status == MAX_ITERATIONS) | (status < 0)
        status = where(gave_up & course.acceptable, like(SOLVED, status), status)
        copy_iterate(at, best, course.kept & (gave_up | (status == SOLVED)), sizes, team)
    per_cost = where(status == like(PRIMAL_INFEASIBLE, one), one, one / scale.cost[0])
    to_original(at, scale, per_cost, sizes, team)
    certify_crossed(qp, at, sizes, team)
    normalise_certificate(at, status, sizes, team)
    if team.lane == 0:
        outcome.status[0], outcome.iterations[0] = status, iterations
    barrier(team)


@kernel
def examine(work, parameters, sizes, team):
    """The status that the data alone decide, or RUNNING."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    fix_equal_limits(qp, sizes, team)
    running = like(RUNNING, qp.q[0])
    if parameters.sought == FARKAS_RAY or parameters.sought == DESCENT_RAY:
        return running
    status = running
    if parameters.convexity < 1:
        convex = is_convex(qp, scale, system, parameters.convexity, sizes, team)
        status = where(convex, running, like(NOT_CONVEX, running))
    status = where(crossed(qp, sizes, team), like(PRIMAL_INFEASIBLE, running), status)
    sound = scale.flaw[0] + scale.flaw[1] == 0
    return where(sound, status, like(NONFINITE_INPUT, running))


# ---- one iteration -------------------------------------------------------------------------------


@kernel
def adapt(at, system, parameters, firm, sizes, team):
    """Regularise in proportion: δ dy beside A dx, ρ dx beside Aᵀdy."""
    one = like(1, at.x[0])
    x, y = one, one
    for j in range(team.lane, sizes.n, team.width):
        x = larger(x, abs(at.x[j]))
    for i in range(team.lane, sizes.p, team.width):
        y = larger(y, abs(at.y[i]))
    for i in range(team.lane, sizes.rows, team.width):
        y = larger(y, abs(at.v[i]))
    x, y = team_max(x, team), team_max(y, team)
    floor = like(parameters.floor, one)
    rho = larger(floor, parameters.rho * where(y < x, y / x, one))
    delta = larger(floor, parameters.delta * where(x < y, x / y, one))
    regularise(system, firm * rho, firm * delta, team)


@kernel
def residuals(qp, at, residual, soft, sizes, team):
    """What is left of the optimality conditions (4), from the data and not from updates."""
    multiply_Q(residual.Qx, qp, at.x, team)
    multiply(residual.Ay, qp.At, at.y, team)
    multiply_transposed(residual.Ax, qp.At, at.x, team)
    multiply_C(at.Cx, qp, at.x, team)
    multiply_C_transposed(residual.Cv, qp, at.v, team)
    for j in range(team.lane, sizes.n, team.width):
        residual.dual[j] = residual.Qx[j] + qp.q[j] + residual.Cv[j] + residual.Ay[j]
    for i in range(team.lane, sizes.p, team.width):
        residual.equality[i] = qp.b[i] - residual.Ax[i] + soft * at.y[i]
    for i in range(team.lane, sizes.rows, team.width):
        Cx = at.Cx[i] - soft * at.v[i]
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
def aim_at_centre(qp, at, step, per_s, last_mu, sizes, team):
    """Corrector: ask for s z = σ μ, less what the predictor's step left over (11); return μ, σ."""
    zero = like(0, qp.q[0])
    alpha = step_length(at, step, per_s, like(1, zero), sizes, team)
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
    return mu, sigma


@kernel
def step_length(at, step, per_s, share, sizes, team):
    """The longest step, at most 1, that takes this share of the way to s = 0 or z = 0 (11)."""
    fastest = like(0, share)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            fastest = larger(fastest, -step.s[side, i] * per_s[side, i])
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
