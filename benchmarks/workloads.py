"""What the solvers are timed on: named families of QPs, made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SEED = 0

CORES = {"Q": 2, "q": 1, "G": 2, "h": 1, "A": 2, "b": 1, "lb": 1, "ub": 1}
"""Axes of one problem's arguments."""


class Data(NamedTuple):
    """A batch of min 0.5 x'Qx + q'x subject to Gx <= h, Ax = b, lb <= x <= ub, as users give it.

    float64, C-contiguous. What the batch shares comes without a batch axis; None is absent. q
    always has its batch axis.
    """

    Q: np.ndarray
    """(B, n, n) or (n, n)"""
    q: np.ndarray
    """(B, n)"""
    G: np.ndarray | None = None
    h: np.ndarray | None = None
    A: np.ndarray | None = None
    b: np.ndarray | None = None
    lb: np.ndarray | None = None
    ub: np.ndarray | None = None

    def given(self) -> dict[str, np.ndarray]:
        """Arguments that are not absent."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def shared(self) -> set[str]:
        """Arguments that the batch shares."""
        return {name for name, value in self.given().items() if value.ndim == CORES[name]}

    def first(self, count: int) -> Data:
        """The first problems alone."""
        shared = self.shared()
        cut = {k: v if k in shared else v[:count] for k, v in self.given().items()}
        return Data(**cut)

    def full(self) -> Data:
        """Every argument with a batch axis, no rows or infinite bounds for None; nothing copied."""
        batch, n = self.q.shape
        inf = np.full(n, np.inf)
        none = {"G": np.zeros((0, n)), "h": np.zeros(0), "A": np.zeros((0, n)), "b": np.zeros(0)}
        arrays = none | {"lb": -inf, "ub": inf} | self.given()
        shapes = {name: (batch, *v.shape[v.ndim - CORES[name] :]) for name, v in arrays.items()}
        return Data(**{name: np.broadcast_to(v, shapes[name]) for name, v in arrays.items()})

    def problems(self) -> list[Data]:
        """One Data a problem, without batch axes; of `full`."""
        return [Data(*one) for one in zip(*self.full(), strict=True)]


@dataclass(frozen=True)
class Workload:
    """A batch that every peer solves."""

    name: str
    make: Callable[[np.random.Generator, int, int, int, int], Data]
    """(generator, batch, n, m, p) -> Data; its docstring says what the problems are."""
    batch: int
    n: int
    m: int = 0
    p: int = 0

    def data(self) -> Data:
        """Make the problems: the same ones at every call."""
        rng = np.random.default_rng(SEED)
        return self.make(rng, self.batch, self.n, self.m, self.p)

    def cotangent(self) -> np.ndarray:
        """(B, n) gradient of some loss with respect to x, N(0, 1)."""
        return np.random.default_rng(SEED + 1).standard_normal((self.batch, self.n))


def paper(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """Q = LL' + 0.001 I with L ~ U(0, 1), G, A, q, z0 ~ N(0, 1), h = G z0 + U(0, 1), b = A z0.

    The timing experiment of OptNet (Amos & Kolter 2017, arXiv 1703.00443), as in the published
    `prof-gurobi.py` of qpth.
    """
    L = rng.random((batch, n, n))
    G = rng.standard_normal((batch, m, n))
    z0, s0 = rng.standard_normal((batch, n, 1)), rng.random((batch, m))
    Q = L @ L.swapaxes(1, 2) + 1e-3 * np.eye(n)
    data = Data(Q, rng.standard_normal((batch, n)), G, (G @ z0)[..., 0] + s0)
    if p == 0:
        return data
    A = rng.standard_normal((batch, p, n))
    return data._replace(A=A, b=(A @ z0)[..., 0])


def sudoku(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """OptNet's Sudoku layer as it starts: Q = 0.1 I, q = -puzzle, Ax = A 1, x >= 0, A ~ U(0, 1).

    Q, A, b and lb are shared. A puzzle is one-hot in groups of n^(1/3), half of them empty.
    """
    size = round(n ** (1 / 3))
    hot = rng.integers(size, size=(batch, n // size))
    shown = rng.random((batch, n // size, 1)) < 0.5
    puzzle = (np.eye(size)[hot] * shown).reshape(batch, n)
    A = rng.random((p, n))
    return Data(0.1 * np.eye(n), -puzzle, A=A, b=A.sum(axis=1), lb=np.zeros(n))


def control(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """Model predictive control, states eliminated: |u| <= 1, one plant, its state by problem.

    Two inputs over n/2 steps of a random stable plant of six states, Q = B'B + 0.1 I for the states
    and inputs alike, q = B'A x0 with x0 ~ 4 N(0, 1). Q, lb and ub are shared.
    """
    states, inputs, steps = 6, 2, n // 2
    plant = rng.standard_normal((states, states))
    plant *= 0.95 / np.abs(np.linalg.eigvals(plant)).max()
    push = rng.standard_normal((states, inputs))
    powers = [np.linalg.matrix_power(plant, k) for k in range(steps + 1)]
    effect = np.zeros((steps, states, steps, inputs))
    for i in range(steps):
        for j in range(i + 1):
            effect[i, :, j] = powers[i - j] @ push
    effect = effect.reshape(steps * states, n)
    free = np.concatenate(powers[1:])
    x0 = 4 * rng.standard_normal((batch, states))
    bound = np.ones(n)
    return Data(effect.T @ effect + 0.1 * np.eye(n), x0 @ free.T @ effect, lb=-bound, ub=bound)


def portfolio(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """Long-only mean-variance portfolio: 1'x = 1, x >= 0; the covariance has five factors.

    Q = FF'/5 + D with F ~ N(0, 1) and D ~ U(0.1, 0.5) diagonal, expected returns -q ~ 0.3 N(0, 1),
    all of them by problem; the constraints are shared.
    """
    F = rng.standard_normal((batch, n, 5))
    D = rng.uniform(0.1, 0.5, (batch, n, 1)) * np.eye(n)
    returns = 0.3 * rng.standard_normal((batch, n))
    A, b = np.ones((p, n)), np.ones(p)
    return Data(F @ F.swapaxes(1, 2) / 5 + D, -returns, A=A, b=b, lb=np.zeros(n))


def singular(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """Q = LL'/n of rank n/2, and a unique answer: 3n/4 rows are active, multipliers U(0.1, 1).

    L, G, x ~ N(0, 1); the other rows have slack U(0.1, 1).
    """
    L = rng.standard_normal((batch, n, n // 2))
    G, x = rng.standard_normal((batch, m, n)), rng.standard_normal((batch, n, 1))
    active = np.arange(m) < 3 * n // 4
    z, s = rng.uniform(0.1, 1, (batch, m)) * active, rng.uniform(0.1, 1, (batch, m)) * ~active
    Q = L @ L.swapaxes(1, 2) / n
    q = -(Q @ x + G.swapaxes(1, 2) @ z[..., None])[..., 0]
    return Data(Q, q, G, (G @ x)[..., 0] + s)


def layer(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> Data:
    """An OptNet layer in training: `paper` with Q, G and h shared, q ~ N(0, 1) by problem."""
    one = paper(rng, 1, n, m, p)
    shared = {name: value[0] for name, value in one.given().items() if name != "q"}
    return one._replace(**shared, q=rng.standard_normal((batch, n)))


def by_name(*workloads: Workload) -> dict[str, Workload]:
    """Workloads by their names."""
    return {workload.name: workload for workload in workloads}


WORKLOADS = by_name(
    *(Workload(f"paper-100x100-{batch}", paper, batch, n=100, m=100) for batch in (1, 64, 128)),
    *(Workload(f"paper-10x10-{batch}", paper, batch, n=10, m=10) for batch in (1, 128, 8192)),
    Workload("paper-32x64x8", paper, 1024, n=32, m=64, p=8),
    Workload("paper-200x200x50", paper, 16, n=200, m=200, p=50),
    Workload("sudoku", sudoku, 128, n=64, p=40),
    Workload("control", control, 1024, n=30),
    Workload("portfolio", portfolio, 512, n=50, p=1),
    Workload("singular", singular, 256, n=40, m=80),
    Workload("paper-500x500", paper, 4, n=500, m=500),
    Workload("layer", layer, 128, n=100, m=100),
)

SWEEPS = {
    "batch": [
        Workload(f"10x10, batch {batch}", paper, batch, n=10, m=10)
        for batch in (1, 4, 16, 64, 256, 1024, 4096, 16384)
    ],
    "n": [
        Workload(f"n = m = {n}", paper, 64 if n <= 80 else 16, n=n, m=n)
        for n in (5, 10, 20, 40, 80, 160, 320)
    ],
    "m": [
        Workload(f"n = 40, m = {m}", paper, 64, n=40, m=m) for m in (10, 20, 40, 80, 160, 320, 640)
    ],
}
"""Series in which one quantity grows: an attribute of Workload."""
