"""Exact measures: the residuals of an answer on the data as given, in float64, and their masses.

As `Solution` defines them, for single problems of a batch, in one pass over each matrix.
"""

from collections import namedtuple

import numpy as np

from qpcore.kernels.machine import FASTMATH, kernel

# A limit of this magnitude or more is none.
DROPPED = 1e20

# Sums may be taken in any order, which lets lanes share them: that is within what masses allow for.
ANY_ORDER = FASTMATH | {"reassoc"}

# Residuals; sizes, the largest magnitude among their terms; masses, the sums of all magnitudes.
Exact = namedtuple(
    "Exact",
    "primal dual gap primal_size dual_size gap_size primal_mass dual_mass gap_mass objective",
)

# The vectors that `measure` needs room for, each as long as x: x itself, Qx and the sum of its
# magnitudes, G'z, A'y, and the sum of theirs.
VECTORS = 6

# What a row or a variable adds: how far it is beyond a limit, its largest term, a multiplier of a
# limit that is not there, its part of the gap, and the magnitude of that.
Side = namedtuple("Side", "beyond size unowned gap mass")


# The arrays of one problem.
One = namedtuple("One", "Q q G h A b lb ub h_lower")

# What rows, or variables, come to, as a side of them does; unowned: the largest multiplier of a
# limit that is not there.
Total = namedtuple("Total", "residual size row_mass unowned gap mass")


@kernel(fastmath=ANY_ORDER)
def measure(data, answer, room, problem):
    """Exact, of one problem."""
    one = pick(data, problem)
    x, Qx, spread, Gz, Ay, weight = room[0], room[1], room[2], room[3], room[4], room[5]
    room[:] = 0.0
    for j in range(len(x)):
        x[j] = answer.x[problem, j]
    multiply_symmetric_part(one.Q, x, Qx, spread)
    rows = inequalities(one, x, answer.z[problem], Gz, weight)
    equal = equations(one, x, answer.y[problem], Ay, weight)
    box = bounds(one, x, answer.z_box[problem])
    curve = curve_mass = slope = slope_mass = dual = dual_size = dual_mass = 0.0
    for j in range(len(x)):
        q, force = np.float64(one.q[j]), np.float64(answer.z_box[problem, j])
        curve, curve_mass = curve + x[j] * Qx[j], curve_mass + abs(x[j]) * spread[j]
        slope, slope_mass = slope + x[j] * q, slope_mass + abs(x[j] * q)
        dual = max(dual, abs(Qx[j] + q + Gz[j] + Ay[j] + force))
        dual_size = max(dual_size, abs(Qx[j]), abs(q), abs(Gz[j]), abs(Ay[j]), abs(force))
        dual_mass = max(dual_mass, spread[j] + abs(q) + weight[j] + abs(force))
    return Exact(
        max(rows.residual, equal.residual, box.residual),
        max(dual, rows.unowned, box.unowned),
        abs(curve + slope + equal.gap + rows.gap + box.gap),
        max(rows.size, equal.size, box.size),
        dual_size,
        max(abs(curve), abs(slope), abs(equal.gap), abs(rows.gap), abs(box.gap)),
        max(rows.row_mass, equal.row_mass),
        dual_mass,
        curve_mass + slope_mass + equal.mass + rows.mass + box.mass,
        0.5 * curve + slope,
    )


@kernel(inline=True)
def pick(data, problem):
    """The arrays of one problem of the batch."""
    e = data.entry
    return One(
        data.Q[e[0, problem]],
        data.q[e[1, problem]],
        data.G[e[2, problem]],
        data.h[e[3, problem]],
        data.A[e[4, problem]],
        data.b[e[5, problem]],
        data.lb[e[6, problem]],
        data.ub[e[7, problem]],
        data.h_lower[e[8, problem]],
    )


@kernel(fastmath=ANY_ORDER)
def inequalities(one, x, z, pull, weight):
    """Total of the rows of G; adds to G'z and to the sum of its magnitudes."""
    residual = size = row_mass = unowned = gap = mass = 0.0
    for k in range(len(z)):
        value, magnitudes = visit_row(one.G[k], x, z[k], pull, weight)
        side = at_limits(value, one.h[k], one.h_lower[k], z[k])
        residual, size = max(residual, side.beyond), max(size, side.size, abs(value))
        row_mass, unowned = max(row_mass, magnitudes), max(unowned, side.unowned)
        gap, mass = gap + side.gap, mass + side.mass
    return Total(residual, size, row_mass, unowned, gap, mass)


@kernel(fastmath=ANY_ORDER)
def equations(one, x, y, pull, weight):
    """Total of the rows of A; adds to A'y and to the sum of its magnitudes."""
    residual = size = row_mass = gap = mass = 0.0
    for k in range(len(y)):
        value, magnitudes = visit_row(one.A[k], x, y[k], pull, weight)
        b, force = np.float64(one.b[k]), np.float64(y[k])
        residual, size = max(residual, abs(value - b)), max(size, abs(value), abs(b))
        row_mass = max(row_mass, magnitudes)
        gap, mass = gap + b * force, mass + abs(b * force)
    return Total(residual, size, row_mass, 0.0, gap, mass)


@kernel(fastmath=ANY_ORDER)
def bounds(one, x, z_box):
    """Total of the bounds."""
    residual = size = unowned = gap = mass = 0.0
    for j in range(len(x)):
        side = at_limits(x[j], one.ub[j], one.lb[j], z_box[j])
        residual, size = max(residual, side.beyond), max(size, side.size)
        unowned, gap, mass = max(unowned, side.unowned), gap + side.gap, mass + side.mass
    return Total(residual, size, 0.0, unowned, gap, mass)


@kernel(fastmath=ANY_ORDER)
def multiply_symmetric_part(Q, x, product, mass):
    """Add (Q + Q')/2 x to the product, and to the mass the sum of the magnitudes of its terms."""
    for i in range(len(x)):
        right, right_mass = 0.0, 0.0
        left, left_mass = 0.5 * x[i], 0.5 * abs(x[i])
        for j in range(len(x)):
            number = np.float64(Q[i, j])
            right += number * x[j]
            right_mass += abs(number) * abs(x[j])
            product[j] += number * left
            mass[j] += abs(number) * left_mass
        product[i] += 0.5 * right
        mass[i] += 0.5 * right_mass


@kernel(fastmath=ANY_ORDER)
def visit_row(row, x, v, pull, mass):
    """Row times x, and the mass of that; add v times the row to the pull, its magnitude to mass."""
    value, sum_of_row, force = 0.0, 0.0, np.float64(v)
    for j in range(len(x)):
        number = np.float64(row[j])
        value += number * x[j]
        sum_of_row += abs(number) * abs(x[j])
        pull[j] += number * force
        mass[j] += abs(number) * abs(force)
    return value, sum_of_row


@kernel(inline=True)
def at_limits(value, given_upper, given_lower, v):
    """A value beside its limits, with a multiplier: of the upper one if positive, or the lower."""
    upper, lower, force = np.float64(given_upper), np.float64(given_lower), np.float64(v)
    up, down = max(force, 0.0), max(-force, 0.0)
    beyond = size = unowned = gap = mass = 0.0
    if abs(upper) < DROPPED:
        beyond, size = value - upper, max(abs(value), abs(upper))
        gap, mass = upper * up, abs(upper) * up
    else:
        unowned = up
    if abs(lower) < DROPPED:
        beyond, size = max(beyond, lower - value), max(size, abs(value), abs(lower))
        gap, mass = gap - lower * down, mass + abs(lower) * down
    else:
        unowned = max(unowned, down)
    return Side(beyond, size, unowned, gap, mass)
