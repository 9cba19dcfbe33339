"""What the solvers are timed on: named families of QPs, made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SEED = 0


class Data(NamedTuple):
    """A batch of problems min 0.5 x'Qx + q'x subject to Gx <= h; float64, C-contiguous."""

    Q: np.ndarray
    """(B, n, n)"""
    q: np.ndarray
    """(B, n)"""
    G: np.ndarray
    """(B, m, n)"""
    h: np.ndarray
    """(B, m)"""


@dataclass(frozen=True)
class Workload:
    """A batch that every peer solves."""

    name: str
    n: int
    m: int
    batch: int
    make: Callable[[np.random.Generator, int, int, int], Data]
    """(generator, n, m, batch) -> Data; its docstring says what the problems are."""

    def data(self) -> Data:
        """Make the problems: the same ones at every call."""
        return self.make(np.random.default_rng(SEED), self.n, self.m, self.batch)

    def cotangent(self) -> np.ndarray:
        """(B, n) gradient of some loss with respect to x, N(0, 1)."""
        return np.random.default_rng(SEED + 1).standard_normal((self.batch, self.n))


def paper(rng: np.random.Generator, n: int, m: int, batch: int) -> Data:
    """Q = LL' + 0.001 I with L ~ U(0, 1), G ~ N(0, 1), h = G z0 + s0 with s0 ~ U(0, 1), q, z0 ~ N.

    The timing experiment of OptNet (Amos & Kolter 2017, arXiv 1703.00443), as in the published
    `prof-gurobi.py` of qpth.
    """
    L = rng.random((batch, n, n))
    G = rng.standard_normal((batch, m, n))
    z0, s0 = rng.standard_normal((batch, n, 1)), rng.random((batch, m))
    Q = L @ L.swapaxes(1, 2) + 1e-3 * np.eye(n)
    return Data(Q, rng.standard_normal((batch, n)), G, (G @ z0)[..., 0] + s0)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("paper-100x100", n=100, m=100, batch=128, make=paper),
        Workload("paper-10x10", n=10, m=10, batch=8192, make=paper),
    )
}
