"""Bounds as rows, for solvers that know none, and their multipliers and gradients as bounds again.

[G; I; -I] x <= [h; ub; -lb], where the last two blocks stand only if the bound is given. What the
batch shares stays shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.workloads import Data


def rows(data: Data) -> Data:
    """The same problems without lb and ub."""
    I = np.eye(data.q.shape[1])  # noqa: E741
    blocks = [] if data.G is None or data.h is None else [(data.G, data.h)]
    blocks += [] if data.ub is None else [(I, data.ub)]
    blocks += [] if data.lb is None else [(-I, -data.lb)]
    if not blocks:
        return data
    G, h = (
        join(parts, -axes) for parts, axes in zip(zip(*blocks, strict=True), (2, 1), strict=True)
    )
    return data._replace(G=G, h=h, lb=None, ub=None)


def join(parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Concatenate along the axis, counted from the end, arrays that do or do not have a batch."""
    lead = np.broadcast_shapes(*(part.shape[:axis] for part in parts))
    return np.concatenate([np.broadcast_to(p, lead + p.shape[axis:]) for p in parts], axis)


def split(data: Data, values: np.ndarray, axis: int = -1) -> tuple[np.ndarray, ...]:
    """Cut an array over the rows into its part for G, for ub and for lb; absent ones are empty."""
    n = data.q.shape[1]
    m = 0 if data.h is None else data.h.shape[-1]
    return tuple(np.split(values, [m, m + n * (data.ub is not None)], axis))


def multipliers(data: Data, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make (z, z_box) of the multipliers (B, ·) of the rows."""
    z, above, below = split(data, values)
    z_box = np.zeros_like(data.q)
    z_box += above if above.size else 0
    z_box -= below if below.size else 0
    return z, z_box


def gradients(data: Data, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gradients of the arguments of `data` from those of `rows(data)`."""
    out = {name: found[name] for name in ("Q", "q", "A", "b") if name in found}
    if "h" in found:
        h, ub, lb = split(data, found["h"])
        out |= {"h": h, "ub": ub, "lb": -lb}
    if "G" in found:
        out["G"] = split(data, found["G"], -2)[0]
    return {name: value for name, value in out.items() if name in data.given()}
