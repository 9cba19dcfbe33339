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
        copy_iterate(best, at, note, sizes, team)
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
def copy_iterate(into, source, wanted, sizes, team):
    """Note an iterate as the best one, or return to that, where wanted."""
    for j in range(team.lane, sizes.n, team.width):
        into.x[j] = where(wanted, source.x[j], into.x[j])
    for i in range(team.lane, sizes.p, team.width):
        into.y[i] = where(wanted, source.y[i], into.y[i])
    for i in range(team.lane, sizes.rows, team.width):
        into.v[i] = where(wanted, source.v[i], into.v[i])
    barrier(team)
