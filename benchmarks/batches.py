"""Solvers that take a whole batch, outside PyTorch."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer
from benchmarks.rows import gradients, join, multipliers, rows
from benchmarks.workloads import Data


class Qpcore(Peer):
    """qpcore.solve and qpcore.vjp on NumPy arrays."""

    packages = ("qpcore",)
    differentiable = True
    precision: Literal["double", "mixed"] = "double"

    def forward(self, ready: Data) -> tuple:  # noqa: D102
        return self._solve(ready), None

    def forward_backward(self, ready: Data, dx: np.ndarray) -> tuple:  # noqa: D102
        import qpcore

        solution = self._solve(ready, keep_factors=True)
        return solution, qpcore.vjp(solution, dx)

    @cached_property
    def settings(self) -> Any:
        """As whoever solves in a loop makes them: once."""
        import qpcore

        return qpcore.Settings(tol=TOLERANCE, threads=self.threads, precision=self.precision)

    def _solve(self, data: Data, keep_factors: bool = False) -> Any:
        import qpcore

        return qpcore.solve(*data, settings=self.settings, throw=False, keep_factors=keep_factors)

    def read(self, data: Data, found: tuple) -> Answer:  # noqa: D102
        solution, pulled = found
        if pulled is not None:
            pulled = {name: getattr(pulled, name) for name in data.given()}
        parts = solution.z, solution.y, solution.z_box
        return Answer(solution.x, solution.solved, *parts, pulled, solution.iterations)


class QpcoreMixed(Qpcore):
    """The same with Settings(precision="mixed")."""

    precision = "mixed"


class ProxsuiteBatch(Peer):
    """proxsuite.proxqp.dense.BatchQP and solve_in_parallel, set up anew each time."""

    packages = ("proxsuite",)

    def prepare(self, data: Data) -> list:  # noqa: D102
        return [self._arguments(one) for one in data.problems()]

    def _arguments(self, one: Data) -> tuple:
        n, m, p = len(one.q), len(one.h), len(one.b)
        bounded = bool(np.isfinite([one.lb, one.ub]).any())
        equalities = (one.A.copy(), one.b.copy()) if p else (None, None)
        low = np.full(m, -1e30)
        inequalities = (one.G.copy(), low, one.h.copy()) if m else (None, None, None)
        bounds = (np.maximum(one.lb, -1e30), np.minimum(one.ub, 1e30)) if bounded else ()
        return (n, p, m, bounded), (one.Q.copy(), one.q.copy(), *equalities, *inequalities, *bounds)

    def forward(self, ready: list) -> Any:  # noqa: D102
        from proxsuite import proxqp

        dense = proxqp.dense
        batch = dense.VectorQP()
        for sizes, arguments in ready:
            problem = dense.QP(*sizes)
            problem.settings.check_duality_gap = True
            for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
                setattr(problem.settings, name, TOLERANCE)
            problem.init(*arguments)
            batch.append(problem)
        dense.solve_in_parallel(batch, self.threads)
        return batch

    def read(self, data: Data, found: Any) -> Answer:  # noqa: D102
        results = [found[i].results for i in range(len(data.q))]
        n, m = data.q.shape[1], data.full().h.shape[1]
        solved = np.array([r.info.status.name == "PROXQP_SOLVED" for r in results])
        x, y, z = (np.array([getattr(r, k) for r in results]) for k in ("x", "y", "z"))
        z_box = z[:, m : m + n] if z.shape[1] > m else np.zeros_like(x)
        return Answer(x, solved, z[:, :m], y, z_box)


class Qpax(Peer):
    """qpax.solve_qp, vmapped and jitted by JAX.

    Its gradients are those of a relaxed problem; the relaxation is set to the tolerance instead of
    the default, 1e-3. Its flag is passed over: it wants 1e-8 in absolute terms, which rounding
    often denies to answers as good as others'.
    """

    packages = ("qpax", "jax")
    differentiable = True

    def prepare(self, data: Data) -> Any:  # noqa: D102
        import jax

        jax.config.update("jax_enable_x64", True)
        names = ("Q", "q", "A", "b", "G", "h")
        plain, n = rows(data), data.q.shape[1]
        absent = {"A": np.zeros((0, n)), "b": np.zeros(0), "G": np.zeros((0, n)), "h": np.zeros(0)}
        given = absent | plain.given()
        axes = tuple(0 if k in plain.given() and k not in plain.shared() else None for k in names)
        arrays = [jax.numpy.asarray(given[name]) for name in names]
        return arrays, *self._functions(axes)

    def _functions(self, axes: tuple) -> tuple:
        """The solver and its pullback for arguments with these batch axes."""
        import jax
        import qpax

        def solve(*one: Any) -> tuple:
            return qpax.solve_qp(*one, solver_tol=TOLERANCE)

        def primal(*one: Any) -> Any:
            return qpax.solve_qp_primal(*one, solver_tol=TOLERANCE, target_kappa=TOLERANCE)

        def pull(dx: Any, *arrays: Any) -> tuple:
            x, back = jax.vjp(jax.vmap(primal, in_axes=axes), *arrays)
            return x, back(dx)

        return jax.jit(jax.vmap(solve, in_axes=axes)), jax.jit(pull)

    def forward(self, ready: Any) -> tuple:  # noqa: D102
        import jax

        arrays, solve, _ = ready
        return jax.block_until_ready(solve(*arrays)), None

    def forward_backward(self, ready: Any, dx: np.ndarray) -> tuple:  # noqa: D102
        import jax

        arrays, _, pull = ready
        x, pulled = jax.block_until_ready(pull(dx, *arrays))
        return (x,), pulled

    def read(self, data: Data, found: tuple) -> Answer:  # noqa: D102
        results, pulled = found
        x = np.asarray(results[0])
        if pulled is None:
            z, y = map(np.asarray, results[2:4])
            z, z_box = multipliers(data, z)
            return Answer(x, np.ones(len(x), bool), z, y, z_box)
        names = ("Q", "q", "A", "b", "G", "h")
        by_name = dict(zip(names, map(np.asarray, pulled), strict=True))
        return Answer(x, np.ones(len(x), bool), gradients=gradients(data, by_name))


class Compiled(NamedTuple):
    """A Moreau solver and what it is called with."""

    solver: Any
    P: np.ndarray
    A: np.ndarray
    q: np.ndarray
    b: np.ndarray


class Moreau(Peer):
    """moreau.CompiledSolver, compiled for the pattern beforehand; matrices are set up in time.

    Bounds are rows with one entry each. What the batch shares is given once, if it shares all.
    """

    packages = ("moreau",)
    differentiable = True

    def __init__(self, method: str, name: str, threads: int, against: str) -> None:
        super().__init__(name, threads, pools=threads, against=against)
        self.method = method

    def prepare(self, data: Data) -> Compiled:  # noqa: D102
        import moreau

        plain = rows(data)
        batch, n = plain.q.shape
        parts = [(M, b) for M, b in ((plain.A, plain.b), (plain.G, plain.h)) if M is not None]
        A, b = (join([part[i] for part in parts], -axes) for i, axes in ((0, 2), (1, 1)))
        self.pattern = (A if A.ndim == 2 else A[0]) != 0  # dense blocks have no zeros of their own
        p = 0 if plain.b is None else plain.b.shape[-1]
        cones = moreau.Cones(num_zero_cones=p, num_nonneg_cones=len(self.pattern) - p)
        settings = moreau.Settings(
            solver=self.method,
            device="cpu",
            batch_size=batch,
            enable_grad=True,
            active_set_settings=moreau.ActiveSetSettings(primal_tol=TOLERANCE),
        )
        solver = moreau.CompiledSolver(
            n,
            len(self.pattern),
            P_row_offsets=np.arange(0, n * n + 1, n),
            P_col_indices=np.tile(np.arange(n), n),
            A_row_offsets=np.r_[0, np.cumsum(self.pattern.sum(axis=1))],
            A_col_indices=np.nonzero(self.pattern)[1],
            cones=cones,
            settings=settings,
        )
        P, values = plain.Q.reshape(*plain.Q.shape[:-2], n * n), A[..., self.pattern]
        if P.ndim != values.ndim:
            P, values = (np.broadcast_to(v, (batch, v.shape[-1])) for v in (P, values))
        b = np.broadcast_to(b, (batch, b.shape[-1]))
        return Compiled(solver, *map(np.ascontiguousarray, (P, values, plain.q, b)))

    def forward(self, ready: Compiled) -> tuple:  # noqa: D102
        ready.solver.setup(ready.P, ready.A)
        return ready, ready.solver.solve(ready.q, ready.b), None

    def forward_backward(self, ready: Compiled, dx: np.ndarray) -> tuple:
        """Shared arguments get the sum, which is part of the work."""
        _, solution, _ = self.forward(ready)
        pulled = ready.solver.backward(dx)
        for name, value in (("dP_values", ready.P), ("dA_values", ready.A)):
            if value.ndim == 1:
                pulled[name] = np.asarray(pulled[name]).sum(axis=0)
        return ready, solution, pulled

    def read(self, data: Data, found: tuple) -> Answer:  # noqa: D102
        ready, solution, pulled = found
        statuses = np.array([int(s) for s in ready.solver.info.status])
        p = data.full().b.shape[1]
        z, z_box = multipliers(data, solution.z[:, p:])
        answer = Answer(solution.x, statuses == 1, z, solution.z[:, :p], z_box)
        if pulled is None:
            return answer
        return answer._replace(gradients=self._gradients(data, pulled))

    def _gradients(self, data: Data, pulled: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Cut Moreau's rows into ours, and add up what the batch shares."""
        n, p = data.q.shape[1], data.full().b.shape[1]
        values, rhs = np.asarray(pulled["dA_values"]), np.asarray(pulled["db"])
        A = np.zeros((*values.shape[:-1], *self.pattern.shape))
        A[..., self.pattern] = values
        P = np.asarray(pulled["dP_values"])
        found = {"Q": P.reshape(*P.shape[:-1], n, n), "q": np.asarray(pulled["dq"])}
        found |= {"A": A[..., :p, :], "b": rhs[..., :p]}
        found |= {"G": A[..., p:, :], "h": rhs[..., p:]}
        found = gradients(data, found)
        for name in data.shared():
            if found[name].ndim > getattr(data, name).ndim:
                found[name] = found[name].sum(axis=0)
        return found
