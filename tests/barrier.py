"""The barrier-relaxed problem by plain Newton steps in x and y: neither slacks nor qpcore."""

import numpy as np
from oracle import Point, full


def relaxed(data, inside, mu):
    """Minimise the objective less mu times the logarithms of all slacks, from a point inside.

    The barrier's weight shrinks from 1 to mu by steps of ten; Ax = b is kept by every step.
    """
    d, x, y = full(data), np.array(inside, float), None
    weight = max(1.0, mu)
    while True:
        x, y = centred(d, x, weight)
        if weight == mu:
            break
        weight = max(mu, weight / 10)
    up, down, above, below = pushes(d, x, mu)
    return Point(x, up - down, y, above - below)


def pushes(d, x, mu):
    """mu / slack for the limits h, h_lower, ub, lb; zero for those that are not there."""
    Gx = d["G"] @ x
    return (
        mu / (d["h"] - Gx),
        mu / (Gx - d["h_lower"]),
        mu / (d["ub"] - x),
        mu / (x - d["lb"]),
    )


def centred(d, x, mu):
    """Newton's method with the step cut short where it would leave the inside."""
    G, A, p = d["G"], d["A"], len(d["b"])
    for _ in range(200):
        up, down, above, below = pushes(d, x, mu)
        gradient = d["Q"] @ x + d["q"] + G.T @ (up - down) + above - below
        curvature = d["Q"] + G.T @ np.diag(up**2 + down**2) @ G / mu
        curvature += np.diag(above**2 + below**2) / mu
        K = np.block([[curvature, A.T], [A, np.zeros((p, p))]])
        step = np.linalg.solve(K, np.concatenate([-gradient, d["b"] - A @ x]))
        dx, y = step[: len(x)], step[len(x) :]
        alpha = 1.0
        while not all((side >= 0).all() for side in pushes(d, x + alpha * dx, mu)):
            alpha /= 2
        slow = np.abs(dx).max() > 1e-3 * (1 + np.abs(x).max())
        x = x + (0.5 * alpha if slow and alpha < 1 else alpha) * dx
        if alpha == 1 and np.abs(dx).max() <= 1e-14 * (1 + np.abs(x).max()):
            break
    return x, y


def differences(data, inside, mu, name):
    """Central differences of the relaxed solution by every entry of an argument.

    It bends within a distance of mu, so the step is a small share of that.
    """
    argument, step = np.asarray(data[name], float), 2e-4 * mu
    center = relaxed(data, inside, mu)
    jacobian = Point(*(np.zeros(out.shape + argument.shape) for out in center))
    for i in np.ndindex(argument.shape):
        low, high = argument.copy(), argument.copy()
        low[i], high[i] = argument[i] - step, argument[i] + step
        below, above = (relaxed({**data, name: v}, inside, mu) for v in (low, high))
        for target, minus, plus in zip(jacobian, below, above, strict=True):
            target[(slice(None), *i)] = (plus - minus) / (high[i] - low[i])
    return jacobian
