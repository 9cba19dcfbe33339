"""Problems by seed that have no answer, each built around the proof of it."""

import numpy as np
from oracle import full, weighted
from problems import known


def _grid(values, steps=16):
    """Round to multiples of 1/steps, so that the sums below are exact, in float32 too."""
    return np.round(np.asarray(values) * steps) / steps


def infeasible(form, seed):
    """One problem around a Farkas ray: rows and bounds, weighted, sum to 0'x <= -1, exactly."""
    rng = np.random.default_rng(seed)
    data = known(form, seed).data
    d = full(data)
    z, z_box = (
        np.where(np.isfinite(upper) & (np.isinf(lower) | (rng.random(len(upper)) < 0.5)), 1, -1)
        * (np.isfinite(upper) | np.isfinite(lower))
        * _grid(rng.uniform(0.2, 1, len(upper)), 8)
        for upper, lower in ((d["h"], d["h_lower"]), (d["ub"], d["lb"]))
    )
    y = _grid(rng.uniform(0.2, 1, form.p), 8)
    block, weight = ("A", y) if form.p else ("G", z)
    closing = np.flatnonzero(weight)[-1]
    weight[closing] = np.sign(weight[closing])
    data |= {name: _grid(d[name]) for name in {"G", "A"} & data.keys()}
    G, A = data.get("G", d["G"]), data.get("A", d["A"])
    data[block][closing] -= (G.T @ z + A.T @ y + z_box) * weight[closing]
    bound = weighted(d["h"], d["h_lower"], z) + weighted(d["ub"], d["lb"], z_box) + d["b"] @ y
    for name in {"b"} if form.p else {"h", "h_lower"} & data.keys():
        data[name] = np.where(
            np.arange(len(weight)) == closing, d[name] - (bound + 1) * weight[closing], d[name]
        )
    return data


def unbounded(form, seed):
    """One feasible problem that falls along a ray of entries -1, 0, 1; all is exact along it."""
    rng = np.random.default_rng(seed)
    problem = known(form, seed)
    data, x, d = dict(problem.data), problem.answer.x, full(problem.data)
    above, below = np.isfinite(d["ub"]), np.isfinite(d["lb"])
    ray = np.where(rng.random(form.n) < 0.5, 1.0, -1.0)
    ray = np.where(above, np.where(below, 0.0, -1.0), np.where(below, 1.0, ray))
    last = np.flatnonzero(ray)[-1]

    def flat(matrix):
        matrix = _grid(matrix)
        matrix[:, last] -= (matrix @ ray) * ray[last]
        return matrix

    L = flat(rng.standard_normal((form.n if form.rank is None else form.rank, form.n)))
    data["Q"], data["q"] = L.T @ L, _grid(d["q"])
    data["q"][last] -= (data["q"] @ ray + 1) * ray[last]
    if form.p:
        data["A"] = flat(d["A"])
        data["b"] = data["A"] @ x
    if form.m:
        G, upper, lower = _grid(d["G"]), np.isfinite(d["h"]), np.isfinite(d["h_lower"])
        blocks = (upper & (G @ ray > 0)) | (lower & (G @ ray < 0))
        G = np.where(blocks[:, None], -G, G)
        data["G"] = np.where((upper & lower)[:, None], flat(d["G"]), G)
        for name in {"h", "h_lower"} & data.keys():
            data[name] = d[name] + (data["G"] - d["G"]) @ x
    return data


def nonconvex(form, seed):
    """One problem whose Q has the eigenvalue -1."""
    data = known(form, seed).data
    v = np.linalg.eigh(data["Q"])[1][:, -1]
    return data | {"Q": data["Q"] - 2 * np.outer(v, v)}
