"""Judgements on answers, written from the contract and not from qpcore.

Residuals are plain formulas on the original data of one problem at a time. They are measured in
extended precision, since a judge has to be more exact than what he judges: beside large numbers the
rounding errors of float64 alone can reach the tolerance, with either sign, and would acquit and
convict at random. (Where long double is no wider than double this is float64 after all.)
"""

from typing import NamedTuple

import numpy as np
from oracle import Point, full, one, sensitivity, weighted

# Numbers of the contract, on purpose not imported from what is judged.
SOLVED, MAX_ITERATIONS, PRIMAL_INFEASIBLE, DUAL_INFEASIBLE = 0, 1, 2, 3
NOT_CONVEX, NUMERICAL_ERROR, NONFINITE_INPUT = 4, 5, 6

WIDEST = np.longdouble


class Residuals(NamedTuple):
    """The three residuals of one problem and the sizes of the terms in them."""

    primal: float
    dual: float
    gap: float
    primal_scale: float
    dual_scale: float
    gap_scale: float

    def worst(self):
        """Largest of residual / (1 + scale): SOLVED means that it is at most tol."""
        pairs = zip(self[:3], self[3:], strict=True)
        return max(residual / (1 + scale) for residual, scale in pairs)


def residuals(data, point):
    """KKT residuals of one problem, in extended precision until the last."""
    d, (x, z, y, z_box) = full(data, WIDEST), (np.asarray(part, WIDEST) for part in point)
    primal, sizes = [0.0], [0.0]
    bounded = np.isfinite(d["lb"]) | np.isfinite(d["ub"])
    for value, lower, upper in (
        *zip(d["G"] @ x, d["h_lower"], d["h"], strict=True),
        *zip(d["A"] @ x, d["b"], d["b"], strict=True),
        *zip(x[bounded], d["lb"][bounded], d["ub"][bounded], strict=True),
    ):
        primal += [value - upper, lower - value]
        sizes += [abs(value)] + [abs(side) for side in (lower, upper) if np.isfinite(side)]
    terms = np.array([d["Q"] @ x, d["q"], d["G"].T @ z, d["A"].T @ y, z_box])
    sums = [x @ d["Q"] @ x, d["q"] @ x, d["b"] @ y]
    sums += [weighted(d["h"], d["h_lower"], z), weighted(d["ub"], d["lb"], z_box)]
    found = [_largest(primal), np.abs(terms.sum(axis=0)).max(), abs(sum(sums))]
    found += [max(sizes), np.abs(terms).max(), np.abs(sums).max()]
    return Residuals(*map(float, found))


def _largest(values):
    """Maximum that NaN does not slip through."""
    return np.max(values)


def answers(solution, data):
    """Yield (index, data, answer) of each problem of the batch."""
    outputs = (solution.x, solution.z, solution.y, solution.z_box)
    for index in np.ndindex(solution.x.shape[:-1]):
        yield index, one(data, index), Point(*(out[index] for out in outputs))


def assert_solved(solution, data, tol):
    """Every problem is SOLVED, and is so by the definition of the contract."""
    status = np.asarray(solution.status)
    assert (status == SOLVED).all(), f"statuses {np.unique(status, return_counts=True)}"
    for index, problem, point in answers(solution, data):
        assert_optimal(problem, point, tol, f"problem {index}")


def assert_optimal(data, point, tol, name=""):
    """One answer: no NaN, residuals within tol, each multiplier on a side that exists."""
    for part in point:
        assert np.isfinite(part).all(), f"{name}: not finite: {point}"
    found = residuals(data, point)
    assert found.worst() <= tol, f"{name}: {found}"
    assert_signs(full(data), point, name)


def assert_signs(d, point, name=""):
    """Multipliers are positive only where an upper side exists, negative only where a lower one."""
    for z, upper, lower in (
        (point.z, d["h"], d["h_lower"]),
        (point.z_box, d["ub"], d["lb"]),
    ):
        assert np.isfinite(upper[z > 0]).all(), f"{name}: positive multiplier without upper side"
        assert np.isfinite(lower[z < 0]).all(), f"{name}: negative multiplier without lower side"


def assert_answers(solution, known, tol, parts=Point._fields):
    """Outputs equal the known ones as far as residuals of ``tol`` can tell.

    A residual r moves the answer by at most sensitivity * r; the sizes of the terms and a factor
    for what the small complementarity products add are granted on top.
    """
    for index, data, answer, active in known:
        found = residuals(data, answer)
        scale = 1 + max(found.primal_scale, found.dual_scale, found.gap_scale)
        bound = min(10 * tol * scale * max(1.0, sensitivity(data, active)), 1e-2)
        for part in parts:
            error = getattr(solution, part)[index] - getattr(answer, part)
            worst = np.abs(error).max(initial=0)
            assert worst <= bound, f"problem {index}: {part} off by {worst:.1e} > {bound:.1e}"


def assert_certificate(data, solution, index, tol=1e-6, rounding=0.0):
    """Verify the ray of a problem called infeasible or unbounded, on the original data.

    The ray, of norm 1, has a residual of at most ``tol`` times what it improves by, in the units of
    the data: no feasible point (no improving bound) exists within a one-norm of 1/tol. Nor, where
    the rows of a Farkas ray are far away, within 1/tol times their distance: a far limit alone
    contradicts nothing. For directions the unit of the cost is that in which q has norm 1: a steep
    cost lifts no bound. ``rounding`` excuses a residual of that share of its terms, for data of
    very different sizes.
    """
    data = one(data, index)
    d = full(data, WIDEST)
    x, z, y, z_box = (np.asarray(part[index], WIDEST) for part in _outputs(solution))
    verdict = int(np.asarray(solution.status)[index])
    if verdict == PRIMAL_INFEASIBLE:
        assert np.isnan(x).all(), "x has no meaning beside a Farkas ray"
        ray = np.concatenate([z, y, z_box])
        assert_signs(d, Point(x, z, y, z_box))
        rows, box = _chosen(d["h"], d["h_lower"], z), _chosen(d["ub"], d["lb"], z_box)
        limits = np.concatenate([rows, box, d["b"]])
        C = np.vstack([d["G"], np.eye(len(z_box)), d["A"]])
        v = np.concatenate([z, z_box, y])
        terms = C.T * v
        residual = terms.sum(axis=1)
        improvement = -(limits @ v) / max(1, _distance(C, limits, v))
    else:
        assert verdict == DUAL_INFEASIBLE, f"status {verdict} has no certificate"
        ray, others = x, np.concatenate([z, y, z_box])
        assert np.isnan(others).all(), "multipliers have no meaning beside a ray of x"
        cost = np.abs(d["q"]).max()
        terms = np.vstack([d["Q"] / cost, d["A"], d["G"], np.eye(len(x))]) * x
        residual = terms.sum(axis=1)
        blocked = np.isfinite(np.concatenate([d["h"], d["ub"], d["h_lower"], d["lb"]]))
        above, below = blocked.reshape(2, -1)
        rows = residual[-len(above) :]
        rows[:] = np.maximum(rows, 0) * above + np.minimum(rows, 0) * below
        improvement = -(d["q"] / cost) @ x
    # float32 rounds the entries of the ray
    np.testing.assert_allclose(float(np.abs(ray).max()), 1, rtol=1e-6)
    assert improvement > 0, f"the ray does not improve: {improvement}"
    worst = (np.abs(residual) - rounding * np.abs(terms).sum(axis=1)).max()
    assert worst <= tol * improvement, f"residual {worst:.1e}, improvement {improvement:.1e}"


def _chosen(upper, lower, v):
    """The limits that the signs of v choose, zero beside zeros."""
    return np.where(v > 0, upper, np.where(v < 0, lower, 0))


def _distance(C, limits, v):
    """How far away the rows of C are that matter to v: their limits over their largest entries."""
    size = np.abs(C).max(axis=1)
    matter = (size > 0) & (np.abs(v) * size >= 1e-3 * (np.abs(v) * size).max())
    return (np.abs(limits)[matter] / size[matter]).max(initial=0)


def _outputs(solution):
    return solution.x, solution.z, solution.y, solution.z_box


def fields(result, index=...):
    """Arrays of a Solution or of Gradients at one index, by name; absent ones are left out."""
    names = ("x", "z", "y", "z_box", "status", "iterations")
    if not hasattr(result, "status"):
        names = ("Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower")
    found = {name: getattr(result, name) for name in names}
    return {name: np.asarray(v)[index] for name, v in found.items() if v is not None}


def assert_same_bits(a, b, name=""):
    """Two results of ``fields`` agree in every bit; NaN equals NaN whatever its payload."""
    assert a.keys() == b.keys()
    for field in a:
        one_side, other = np.asarray(a[field]), np.asarray(b[field])
        assert one_side.shape == other.shape, f"{name}: shapes of {field}"
        assert one_side.dtype == other.dtype, f"{name}: dtypes of {field}"
        if one_side.dtype.kind == "f":
            assert (np.isnan(one_side) == np.isnan(other)).all(), f"{name}: NaN in {field}"
            one_side, other = (np.where(np.isnan(v), 0, v) for v in (one_side, other))
        same = one_side.tobytes() == other.tobytes()
        assert same, f"{name}: {field} differs by {np.abs(one_side - other).max():.1e}"
