"""How good a derivative is, and the answer that it belongs to: probe, polish, certify (13)."""

from qpcore.kernels.activity import SMALL, size_of
from qpcore.kernels.kkt import add_where
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, where
from qpcore.kernels.refine import Target, aim, aim_from_zero, refine, set_zero
from qpcore.kernels.system import solve_system
from qpcore.kernels.workspace import Certificate

# A Newton step from the answer is refined if the share of it that regularisation puts wrong may be
# larger than this, relative to the answer.
ROUGH = 1e-8

# The matrix counts as singular if a solve repeats so much of the one before: then regularisation
# alone answers. Growth beyond this share of one over the regularisation raises the suspicion.
REPEATS, SUSPICIOUS = 0.7, 1e-3

# The golden section of a turn: multiples of it, less whole turns, are spread evenly. Integers,
# which are the same in every precision.
GOLDEN, TURN = 40503, 65536


@kernel
def probe(work, rules, sizes, team):
    """Solve for a right-hand side like no other: whether the matrix is singular, and the growth.

    Where rows that bind are dependent, or x is not unique, part of it lies outside of the range of
    (13), and the regularisation alone answers for that part: a refinement then gives it again.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n, zero = sizes.n, like(0, qp.q[0])
    for j in range(team.lane, n, team.width):
        best.x[j] = scattered(j, zero)
    for i in range(team.lane, sizes.p, team.width):
        best.y[i] = scattered(n + i, zero)
    for i in range(team.lane, sizes.rows, team.width):
        # bounds first: their numbers do not change with the rows of G that are left out
        place = i - sizes.m if i >= sizes.m else sizes.rows - sizes.m + i
        best.v[i] = scattered(n + sizes.p + place, zero)
    barrier(team)
    target = Target(best.x, best.y, best.v)
    set_zero(step, sizes, team)
    aim_from_zero(work, target, sizes, team)
    solve_system(qp, system, fix, sizes, team)
    growth = size_of(fix, sizes, team)
    suspect = growth * larger(rules.rho, rules.delta) > like(SUSPICIOUS, growth)
    singular = growth < zero
    if any_lane(suspect):
        add_where(suspect, step, fix, sizes, team)
        aim(work, step, target, sizes, team)
        solve_system(qp, system, fix, sizes, team)
        again = size_of(fix, sizes, team)
        singular = suspect & (again > like(REPEATS, growth) * growth)
    return singular, growth


@kernel(inline=True)
def scattered(i, element):
    """The i-th of numbers between -1 and 1 without a pattern: multiples of the golden section."""
    return like(GOLDEN * (i + 1) % TURN - TURN // 2, element) / like(TURN // 2, element)


@kernel
def polish(work, rules, rough, doubt, growth, sizes, team):
    """Refine the answer where its last step was rough, each row being bound or free for good.

    Returned is the relative error of the answer to be feared: `doubt`, or what refinement leaves.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    if not any_lane(rough):
        return doubt
    zero = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        best.x[j] = qp.q[j]
    for i in range(team.lane, sizes.p, team.width):
        best.y[i] = -qp.b[i]
    for i in range(team.lane, sizes.rows, team.width):
        binding = where(at.v[i] > 0, qp.limit[0, i], qp.limit[1, i])
        binding = where(qp.fixed[i] > 0, qp.limit[0, i], binding)
        best.v[i] = where(system.damp[i] > 0, zero, -binding)
        at.v[i] = where(rough & (system.damp[i] > 0), zero, at.v[i])
    barrier(team)
    target = Target(best.x, best.y, best.v)
    left = aim(work, at, target, sizes, team)
    enough = like(ROUGH, left) / larger(like(1, left), growth)
    enough = larger(enough, rules.rounding * like(1, left))
    found = refine(work, at, target, left, enough, rough, sizes, team)
    left = found.left + rules.rounding * found.terms
    growth = larger(growth, found.growth)
    return where(rough, growth * left / (like(1, left) + found.size), doubt)


@kernel
def certify(outcome, margin, condition, doubt, found, rules, team):
    """Write the certificate where the driver finds it."""
    left, terms, size, growth = found
    one = like(1, left)
    accuracy = where(terms > 0, left / terms, left)
    lost = where(size > 0, condition * (left + rules.rounding * terms) / size, size)
    # A step as large as SMALL was not taken: the answer itself is unknown.
    doubt = where(doubt > like(SMALL, doubt), one, doubt)
    row = Certificate(margin, accuracy, condition, doubt + lost)
    if team.lane == 0:
        for place in range(len(row)):
            outcome.certificate[place] = row[place]
    barrier(team)
