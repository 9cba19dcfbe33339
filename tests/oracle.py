"""A plain judge: solves one small dense QP and differentiates its answer, in NumPy, without tricks.

Nothing here imports qpcore. Every function takes one problem, unbatched, as the dictionary of
arguments that ``solve`` takes; ``one`` picks it out of a batch.
"""

from typing import NamedTuple

import numpy as np

# Number of core (unbatched) axes of each argument.
CORE = {"Q": 2, "q": 1, "G": 2, "h": 1, "A": 2, "b": 1, "lb": 1, "ub": 1, "h_lower": 1}
LARGE = 1e20  # the contract: a limit of this magnitude drops its side


class Point(NamedTuple):
    """What a solver returns, or one array of the same shape for each of it (a cotangent)."""

    x: np.ndarray
    z: np.ndarray
    y: np.ndarray
    z_box: np.ndarray


class Active(NamedTuple):
    """Which sides hold with equality: +1 the upper one, -1 the lower one, 0 neither."""

    rows: np.ndarray
    box: np.ndarray


def batch_shape(data):
    """Shape that the leading axes of all arguments broadcast to."""
    return np.broadcast_shapes(
        *(np.shape(value)[: max(np.ndim(value) - CORE[name], 0)] for name, value in data.items())
    )


def one(data, index):
    """Arguments of the problem at ``index`` (a tuple) of the batch."""
    batch, picked = batch_shape(data), {}
    for name, value in data.items():
        value = np.asarray(value)
        core = value.shape[max(value.ndim - CORE[name], 0) :]
        picked[name] = np.broadcast_to(value, batch + core)[index]
    return picked


def full(data, dtype=np.float64):
    """All nine arguments in one dtype: absent blocks have no rows, absent sides are infinite."""
    given = {name: np.asarray(value, dtype) for name, value in data.items()}
    n = given["q"].size
    G, A = given.get("G", np.zeros((0, n), dtype)), given.get("A", np.zeros((0, n), dtype))
    sizes = {"h": (len(G), np.inf), "h_lower": (len(G), -np.inf), "ub": (n, np.inf)}
    limits = {}
    for name, (size, absent) in {**sizes, "lb": (n, -np.inf)}.items():
        limit = np.broadcast_to(given.get(name, absent), size)
        limits[name] = np.where(np.abs(limit) >= LARGE, absent, limit)
    Q = (given["Q"] + given["Q"].T) / 2
    return {
        "Q": Q,
        "q": given["q"],
        "G": G,
        "A": A,
        "b": given.get("b", np.zeros(0, dtype)),
        **limits,
    }


def weighted(upper, lower, z):
    """Sum of the limits that the signs of z choose: upper' max(z, 0) + lower' min(z, 0)."""
    return sum(v * (upper[i] if v > 0 else lower[i]) for i, v in enumerate(z) if v != 0)


def active_system(data, active):
    """Matrix and right-hand side of the KKT system in (x, z of active rows, y, active z_box)."""
    d = full(data)
    rows, box = active.rows != 0, active.box != 0
    N = np.vstack([d["G"][rows], d["A"], np.eye(len(d["q"]))[box]])
    limits = np.where(active.rows > 0, d["h"], d["h_lower"])[rows]
    bounds = np.where(active.box > 0, d["ub"], d["lb"])[box]
    K = np.block([[d["Q"], N.T], [N, np.zeros((len(N), len(N)))]])
    return K, np.concatenate([-d["q"], limits, d["b"], bounds])


def sensitivity(data, active):
    """Max-norm of the inverse of ``active_system``: how far the answer moves per unit of error."""
    try:
        return np.abs(np.linalg.inv(active_system(data, active)[0])).sum(axis=1).max()
    except np.linalg.LinAlgError:
        return np.inf


def _extended_solution(data, active):
    """Answer in extended precision: refinement with residuals in long double."""
    K, rhs = active_system(data, active)
    K_long, u = K.astype(np.longdouble), np.zeros(len(rhs), np.longdouble)
    for _ in range(4):
        u += np.linalg.solve(K, (rhs - K_long @ u).astype(np.float64))
    n, (rows, box) = len(active.box), active
    k, p = np.count_nonzero(rows), len(u) - n - np.count_nonzero(rows) - np.count_nonzero(box)
    z, z_box = np.zeros(len(rows), u.dtype), np.zeros(n, u.dtype)
    z[rows != 0], z_box[box != 0] = u[n : n + k], u[n + k + p :]
    return Point(u[:n], z, u[n + k : n + k + p], z_box)


def exact_solution(data, active):
    """Answer for a known active set, exact to the rounding of float64 at these sizes."""
    return Point(*(part.astype(np.float64) for part in _extended_solution(data, active)))


def differences(data, active, name):
    """Central differences of the exact answer by every entry of argument ``name``.

    A ``Point`` of arrays (size of the output, *shape of the argument). Their truncation error is
    about (step * sensitivity)**2 = 1e-8; the long double answers keep rounding far below it.
    """
    step = 1e-4 / max(1.0, sensitivity(data, active))
    argument = np.asarray(data[name], np.float64)
    outputs = exact_solution(data, active)
    jacobian = Point(*(np.zeros(out.shape + argument.shape) for out in outputs))
    for i in np.ndindex(argument.shape):
        if not np.isfinite(argument[i]):
            continue
        low, high = argument.copy(), argument.copy()
        low[i], high[i] = argument[i] - step, argument[i] + step
        below = _extended_solution({**data, name: low}, active)
        above = _extended_solution({**data, name: high}, active)
        for target, minus, plus in zip(jacobian, below, above, strict=True):
            target[(slice(None), *i)] = (plus - minus) / (high[i] - low[i])
    return jacobian


def pull_back(jacobian, cotangent):
    """Gradient of <cotangent, outputs> from the differences of the outputs."""
    return sum(np.tensordot(c, J, 1) for c, J in zip(cotangent, jacobian, strict=True))


def adjoint(data, point, active, cotangent):
    """Gradients of <cotangent, (x, z, y, z_box)> by all nine arguments, as a dictionary.

    Differentiates F(x, z, y, z_box) = 0 with the rows
        Qx + q + G'z + A'y + z_box,   z * (Gx - limit),   Ax - b,   z_box * (x - bound),
    where limit and bound are those of the side that holds: with the whole Jacobian J of F,
    J'w = cotangent, and each gradient is -(dF/dargument)'w.
    """
    d, (x, z, y, z_box) = full(data), point
    n, m, p = len(x), len(z), len(y)
    slack = np.where(active.rows == 0, 1.0, 0.0)  # its size is of no matter: dz = 0 there
    slack_box = np.where(active.box == 0, 1.0, 0.0)
    J = np.zeros((2 * n + m + p, 2 * n + m + p))
    X, Z, Y, B = np.split(np.arange(len(J)), [n, n + m, n + m + p])
    J[np.ix_(X, X)], J[np.ix_(X, Z)] = d["Q"], d["G"].T
    J[np.ix_(X, Y)], J[np.ix_(X, B)] = d["A"].T, np.eye(n)
    J[np.ix_(Z, X)], J[np.ix_(Z, Z)] = z[:, None] * d["G"], np.diag(slack)
    J[np.ix_(Y, X)] = d["A"]
    J[np.ix_(B, X)], J[np.ix_(B, B)] = np.diag(z_box), np.diag(slack_box)
    w = np.linalg.solve(J.T, np.concatenate(cotangent))
    w_x, w_z, w_y, w_box = w[X], z * w[Z], w[Y], z_box * w[B]
    return {
        "Q": -(np.outer(w_x, x) + np.outer(x, w_x)) / 2,
        "q": -w_x,
        "G": -np.outer(z, w_x) - np.outer(w_z, x),
        "h": np.where(active.rows > 0, w_z, 0.0),
        "h_lower": np.where(active.rows < 0, w_z, 0.0),
        "A": -np.outer(y, w_x) - np.outer(w_y, x),
        "b": w_y,
        "ub": np.where(active.box > 0, w_box, 0.0),
        "lb": np.where(active.box < 0, w_box, 0.0),
    }


def _stacked(d):
    """Inequalities C x <= e and equalities E x = f, each with the sign it gives its multiplier."""
    rows, identity = d["G"], np.eye(len(d["q"]))
    C, e, E, f = [], [], [d["A"]], [d["b"]]
    source = {"C": [], "E": []}
    for block, matrix, upper, lower in (
        ("z", rows, d["h"], d["h_lower"]),
        ("z_box", identity, d["ub"], d["lb"]),
    ):
        equal = upper == lower
        E.append(matrix[equal])
        f.append(upper[equal])
        source["E"].append((block, np.flatnonzero(equal)))
        for sign, limit in ((1, upper), (-1, lower)):
            exists = np.isfinite(limit) & ~equal
            C.append(sign * matrix[exists])
            e.append(sign * limit[exists])
            source["C"].append((block, np.flatnonzero(exists), sign))
    return np.vstack(C), np.concatenate(e), np.vstack(E), np.concatenate(f), source


def interior_point(data, tol=1e-11, max_iterations=60):
    """Path-following with a tenfold smaller target each step, on the full KKT matrix."""
    d = full(data)
    Q, q, (C, e, E, f, source) = d["Q"], d["q"], _stacked(d)
    n, m, p = len(q), len(e), len(f)
    x, s, z, y = np.zeros(n), np.maximum(e, 1.0), np.ones(m), np.zeros(p)
    cuts = np.cumsum([n, m, m])
    for _ in range(max_iterations):
        residual = np.concatenate([Q @ x + q + C.T @ z + E.T @ y, s * z, C @ x + s - e, E @ x - f])
        if np.abs(residual).max() <= tol * (1 + max(np.abs(u).max(initial=0) for u in (q, e, f))):
            return _unstacked(d, x, z, y, source)
        J = np.zeros((n + 2 * m + p, n + 2 * m + p))
        X, S, Z, Y = np.split(np.arange(len(J)), cuts)
        J[np.ix_(X, X)], J[np.ix_(X, Z)], J[np.ix_(X, Y)] = Q, C.T, E.T
        J[np.ix_(S, S)], J[np.ix_(S, Z)] = np.diag(z), np.diag(s)
        J[np.ix_(Z, X)], J[np.ix_(Z, S)], J[np.ix_(Y, X)] = C, np.eye(m), E
        residual[S] -= 0.1 * (s @ z) / max(m, 1)
        dx, ds, dz, dy = np.split(np.linalg.solve(J, -residual), cuts)
        alpha = min(1.0, 0.99 * _step_length(s, ds, z, dz))
        x, s, z, y = x + alpha * dx, s + alpha * ds, z + alpha * dz, y + alpha * dy
    raise ArithmeticError(f"the oracle did not converge, residual {np.abs(residual).max():.1e}")


def _step_length(s, ds, z, dz):
    """Largest alpha that keeps s + alpha ds and z + alpha dz nonnegative."""
    u, du = np.concatenate([s, z]), np.concatenate([ds, dz])
    return (-u[du < 0] / du[du < 0]).min(initial=np.inf)


def _unstacked(d, x, z, y, source):
    """Multipliers of the stacked form, back where they belong."""
    found = {"z": np.zeros(len(d["G"])), "z_box": np.zeros(len(x))}
    start = 0
    for block, where, sign in source["C"]:
        found[block][where] += sign * z[start : start + len(where)]
        start += len(where)
    start = p = len(d["b"])
    for block, where in source["E"]:
        found[block][where] = y[start : start + len(where)]
        start += len(where)
    return Point(x, found["z"], y[:p], found["z_box"])
