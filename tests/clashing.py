"""Infeasible problems of every kind of clash, and a judge of what the closest feasible one is."""

import numpy as np
from oracle import Point, full
from problems import Form, known

from qpcore import Settings

CLOSEST = Settings(infeasible="closest")
TIGHT = Settings(infeasible="closest", tol=1e-12)


def answer_of(solution, index=...):
    return Point(*(getattr(solution, k)[index] for k in Point._fields))


def drawn(seed, n):
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((n, n))
    return rng, {"Q": L @ L.T / n + 0.5 * np.eye(n), "q": rng.standard_normal(n)}


def rows_that_fix_x():
    """Half-spaces around a point, none of which holds it: N has full rank, and Q no say."""
    rng, data = drawn(1, 3)
    G = rng.standard_normal((5, 3))
    G[3] = -rng.uniform(0.5, 1.5, 3) @ G[:3]
    return data | {"G": G, "h": [-1.0, -0.7, -0.8, -1.1, 9.0]}


def row_against_bounds():
    """x >= 0.1 and sum(x) <= 0.2: the first three variables give way."""
    _, data = drawn(2, 5)
    return data | {
        "G": [[1.0, 1, 1, 0, 0], [0, 0, 0.3, 1, -1]], "h": [0.2, -1.0],
        "lb": [0.1, 0.1, 0.1, -np.inf, -2], "ub": 3.0,
    }  # fmt: skip


def slabs_apart():
    """Two parallel slabs, an equation, and one more row that binds."""
    _, data = drawn(3, 4)
    G = np.array([[1.0, 2, 0, 0], [0.5, 1, 0, 0], [0, 1, 1, 1]])
    q = np.array([1.0, -2, -3, -2])
    return data | {
        "q": q, "G": G, "h": [5.0, -1.0, 0.3], "h_lower": [1.0, -4.0, -np.inf],
        "A": [[1.0, 0, 1, 0]], "b": [0.4],
    }  # fmt: skip


def equations_that_clash():
    """More equations than variables."""
    rng, data = drawn(4, 3)
    return data | {"A": rng.standard_normal((5, 3)), "b": rng.standard_normal(5), "ub": 9.0}


def crossed_limits():
    """h_lower > h in one row and lb > ub in one variable: both sides of a row give way."""
    _, data = drawn(5, 3)
    G = np.array([[1.0, 0.5, 0.2], [0.3, -1, 1]])
    return data | {
        "G": G, "h": [-0.5, 4.0], "h_lower": [0.5, -4.0],
        "lb": [-3.0, 1.0, -3], "ub": [3.0, 0.4, 3],
    }  # fmt: skip


def fixed_variables():
    """lb = ub in two variables whose sum a row forbids."""
    _, data = drawn(6, 4)
    return data | {
        "G": [[1.0, 1, 0, 0], [0, 0, 1.0, 1.0]], "h": [1.0, -0.5],
        "lb": [0.8, 0.9, -4.0, -4], "ub": [0.8, 0.9, 4, 4],
    }  # fmt: skip


CASES = {
    f.__name__: f()
    for f in (
        rows_that_fix_x, row_against_bounds, slabs_apart, equations_that_clash, crossed_limits,
        fixed_variables,
    )
}  # fmt: skip
CASES = {name: {k: np.asarray(v, float) for k, v in data.items()} for name, data in CASES.items()}

MATRICES_MOVE = {"rows_that_fix_x", "equations_that_clash"}
"""Where N has full column rank; elsewhere rows that clash meet, far away, once G or A moves."""


def assert_closest(data, point, tol=1e-7):
    """The violation is a Farkas ray, hence the least shift; x is optimal for the shifted limits.

    Multipliers of rows that give way are the ones of least norm: in the range of N.
    """
    d, (x, z, y, z_box) = full(data), point
    rows = [(d["G"], d["h"], d["h_lower"], z), (np.eye(len(x)), d["ub"], d["lb"], z_box)]
    ray = [d["A"].T @ (d["A"] @ x - d["b"])]
    N, v_N = [d["A"]], [y]
    for M, upper, lower, v in rows:
        above, below = np.maximum(M @ x - upper, 0), np.maximum(lower - M @ x, 0)
        ray.append(M.T @ (above - below))
        gives = (above > 1e-6) | (below > 1e-6) | (upper == lower)
        N.append(M[gives])
        v_N.append(v[gives])
        free = ~gives
        assert (v[free & (M @ x < upper - tol)] <= tol).all()
        assert (v[free & (M @ x > lower + tol)] >= -tol).all()
    np.testing.assert_allclose(sum(ray), 0, atol=tol)
    N, v = np.concatenate(N), np.concatenate(v_N)
    np.testing.assert_allclose(N @ np.linalg.pinv(N, rcond=1e-9) @ v, v, atol=tol)
    gradient = d["Q"] @ x + d["q"] + d["G"].T @ z + d["A"].T @ y + z_box
    np.testing.assert_allclose(gradient, 0, atol=tol)


def mixed():
    """Feasible, infeasible by bounds, infeasible with a different rank, feasible; G, Q shared."""
    form = Form(4, 3, 1, box="both")
    data = known(form, 11, (5,), shared=("Q", "G")).data
    data = {k: np.array(v) for k, v in data.items()}
    data["h"][1] = data["G"] @ data["lb"][1] - 5  # against bounds
    data["lb"][2, 1], data["ub"][2, 1] = 1.0, 0.5  # crossed
    data["lb"][3] = data["ub"][3] = 0.3  # fixed, beside an equation and rows
    return data
