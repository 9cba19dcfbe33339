"""How far a problem has come in a stage: solved, proved, stalled, spent; and its best iterate.

Numbers in brackets are equations of derivation.md.
"""

from collections import namedtuple

from qpcore.kernels.certificate import (
    MINIMUM,
    PLAUSIBLE,
    RUNNING,
    UNDECIDED,
    learned,
    prove,
    vanishes,
)
from qpcore.kernels.machine import any_lane, barrier, kernel, like, where
from qpcore.kernels.stopping import OVERFLOW, Excess, excess
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)

# careful: refine steps. acceptable: the best iterate is SOLVED. kept: it is noted in `best`. least:
# its aim; waited: iterations since that was last halved. last: residuals of the iterate before.
Course = namedtuple("Course", "status careful acceptable kept least waited last")


@kernel(inline=True)
def set_out(status, careful):
    """The course of a problem before its first iterate."""
    never, most = like(0, status) > like(1, status), like(OVERFLOW, status)
    return Course(
        status, careful, never, never, most, like(0, status), Excess(most, most, most, most, most)
    )


@kernel
def judge(work, course, iteration, iterations, parameters, sizes, team):
    """Look at an iterate: note it if it is the best, and see whether the stage is over (5, 6)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    status, careful, acceptable, kept, least, waited, last = course
    zero, one = like(0, status), like(1, status)
    above = excess(work, parameters.tol, parameters.reach, sizes, team)
    better = (status == RUNNING) & (above.aim < least)
    waited = where(above.aim + above.aim < least, zero, waited + one)
    acceptable = where(better, above.good <= 1, acceptable)
    least = where(better, above.aim, least)
    late = like(iteration, one) >= like(parameters.keep, one)
    note = better & (acceptable | late)
    if parameters.sought == MINIMUM and any_lane(note):
        keep_best(best, at, note, sizes, team)
        kept = kept | note
    enough = acceptable & ((least <= 1) | (waited >= like(parameters.patience, one)))
    over = enough | (waited >= like(parameters.leave, one))
    if iteration == parameters.steps:
        over = over | (status == RUNNING)
    if parameters.sought == MINIMUM:
        status = where((status == RUNNING) & enough, like(SOLVED, status), status)
        left = where(above.primal <= 1, like(PLAUSIBLE, status), like(UNDECIDED, status))
    else:
        vanished = vanishes(work, parameters.sought, sizes, team)
        over, left = over | vanished, learned(outcome.status[0], vanished, parameters.sought)
        status = prove(work, status, over, above, parameters, sizes, team)
    spent = (status == RUNNING) & (iterations >= like(parameters.max_iterations, one))
    status = where(spent, like(MAX_ITERATIONS, status), status)
    status = where((status == RUNNING) & over, left, status)
    careful = (status == RUNNING) & (careful | grew(above, last))
    return Course(status, careful, acceptable, kept, least, waited, above)


@kernel(inline=True)
def grew(now, before):
    """Whether a linear residual above the tolerance has grown, which exact steps would shrink."""
    return ((now.dual > 1) & (now.dual > before.dual)) | (
        (now.linear > 1) & (now.linear > before.linear)
    )


@kernel
def keep_best(best, at, better, sizes, team):
    """Note the iterate where it is better than those before."""
    for j in range(team.lane, sizes.n, team.width):
        best.x[j] = where(better, at.x[j], best.x[j])
    for i in range(team.lane, sizes.p, team.width):
        best.y[i] = where(better, at.y[i], best.y[i])
    for i in range(team.lane, sizes.rows, team.width):
        best.v[i] = where(better, at.v[i], best.v[i])
    barrier(team)


@kernel
def restore_best(best, at, wanted, sizes, team):
    """Return to the best iterate."""
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = where(wanted, best.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(wanted, best.y[i], at.y[i])
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(wanted, best.v[i], at.v[i])
    barrier(team)
