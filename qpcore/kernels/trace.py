"""What is noted of every iterate if the caller asks for it: residuals, μ, and the step taken.

A driver asks by giving `carve` more memory than `elements`: a row of `Note` for each iterate.
Without that there are no rows, and the loop pays for one comparison an iteration.
"""

import numpy as np

from qpcore.kernels.machine import kernel, like, team_sum, where
from qpcore.kernels.packed import as_floats
from qpcore.kernels.stopping import measure_dual, measure_gap, measure_primal
from qpcore.kernels.workspace import NOTES, Note

SIGMA, ALPHA = Note._fields.index("sigma"), Note._fields.index("alpha")


@kernel
def note_iterate(work, iteration, running, sizes, team):
    """Residuals (5) and μ (11) of the iterate in the units of the data, where it is still sought.

    Measured once more than the loop does, so that the loop need not know.
    """
    outcome = work.outcome
    if outcome.trace.shape[0] == 0:
        return
    row = notes_of(work, sizes, team)
    if team.lane == 0:
        for column in range(NOTES):
            none = like(np.nan, row[column])
            outcome.trace[iteration, column] = where(running, row[column], none)


@kernel
def note_again(work, last, changed, sizes, team):
    """The same of an iterate that was noted already, each problem's last, where it has changed."""
    trace = work.outcome.trace
    if trace.shape[0] == 0:
        return
    row = notes_of(work, sizes, team)
    if team.lane == 0:
        for iteration in range(trace.shape[0]):
            here = changed & (last == like(iteration, last))
            for column in range(NOTES):
                trace[iteration, column] = where(here, row[column], trace[iteration, column])


@kernel(inline=True)
def notes_of(work, sizes, team):
    """What is noted of the iterate; of the step nothing yet."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    dual = measure_dual(qp, scale, at, residual, sizes, team)
    primal = measure_primal(qp, scale, at, residual, system.soft[0], sizes, team)
    gap = measure_gap(qp, scale, at, residual, system.soft[0], sizes, team)
    mu = mean_product(qp, at, sizes, team) / scale.cost[0]
    none = like(np.nan, mu)
    return Note(primal.residual, dual.residual, gap.residual, mu, none, none)


@kernel
def note_step(outcome, iteration, sigma, alpha, running, team):
    """Centring and length of the step (11) from this iterate, where it is taken."""
    if outcome.trace.shape[0] > 0 and team.lane == 0:
        none = like(np.nan, alpha)
        outcome.trace[iteration, SIGMA] = where(running, sigma, none)
        outcome.trace[iteration, ALPHA] = where(running, alpha, none)


@kernel
def mean_product(qp, at, sizes, team):
    """μ, the mean of s z over the sides that are present (11); NaN if there are none."""
    count, total = like(0, qp.q[0]), like(0, qp.q[0])
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            count += qp.present[side, i]
            total += at.s[side, i] * at.z[side, i]
    return team_sum(total, team) / team_sum(count, team)


@kernel
def store_trace(out, outcome, slot, team):
    """One problem's rows from the iterate on where this stage began; NaN beyond its end."""
    trace, before = as_floats(outcome.trace), as_floats(outcome.before)
    begun, end = int(before[0, slot]), int(as_floats(outcome.iterations)[0, slot])
    for iteration in range(begun + team.lane, out.shape[0], team.width):
        for column in range(NOTES):
            if iteration <= end:
                out[iteration, column] = trace[iteration - begun, column, slot]
            else:
                out[iteration, column] = np.nan
