"""The solvers that are timed: `forward` solves a batch, `backward` differentiates its answer."""

from __future__ import annotations

import importlib.util
import warnings
from importlib import metadata
from typing import Any

import numpy as np
import torch

import qpcore
from benchmarks.scipy_methods import TOLERANCE, Data, with_slsqp
from torch_bridge import solve_qp


class Solver:
    """One way to solve a batch; made once for each batch, from arrays in its own form."""

    name = ""
    package = ""
    differentiable = False
    largest = 10_000
    """Most variables that it can be asked for."""

    most = 10_000
    """Problems of a batch that are timed at most; the time is then multiplied up."""

    def __init__(self, data: Data, threads: int) -> None:
        self.data = data
        self.threads = threads

    @classmethod
    def missing(cls) -> str | None:
        """Why this cannot run here, or None if it can."""
        absent = importlib.util.find_spec(cls.package) is None
        return f"{cls.package} is not installed" if absent else None

    @classmethod
    def version(cls) -> str:
        """Version of the package."""
        return metadata.version(cls.package)

    def forward(self) -> np.ndarray:
        """Solve the batch and return x, (B, n)."""
        raise NotImplementedError

    def backward(self) -> None:
        """Differentiate the answer of the last `forward`, all of Q, q, G and h."""
        raise NotImplementedError


class Torch(Solver):
    """A differentiable function of tensors."""

    differentiable = True

    def __init__(self, data: Data, threads: int) -> None:
        super().__init__(data, threads)
        self.tensors = [torch.from_numpy(array).requires_grad_() for array in data[:4]]
        self.cotangent = torch.ones(data.q.shape, dtype=torch.float64)

    def forward(self) -> np.ndarray:
        """Solve, and keep what `backward` needs."""
        torch.set_num_threads(self.threads)
        self.x = self.solve(*self.tensors)
        return self.x.detach().numpy()

    def backward(self) -> None:
        """Differentiate by autograd."""
        torch.autograd.grad(self.x, self.inputs(), self.cotangent)

    def inputs(self) -> list[torch.Tensor]:
        """What is differentiated with respect to."""
        return self.tensors

    def solve(self, Q: torch.Tensor, q: torch.Tensor, G: torch.Tensor, h: torch.Tensor) -> Any:
        """Return x."""
        raise NotImplementedError


class Qpcore(Torch):
    """torch_bridge.solve_qp."""

    name, package = "qpcore", "qpcore"

    def solve(self, Q: torch.Tensor, q: torch.Tensor, G: torch.Tensor, h: torch.Tensor) -> Any:
        """Solve with the tolerance of all."""
        settings = qpcore.Settings(tol=TOLERANCE, threads=self.threads)
        return solve_qp(Q, q, G, h, settings=settings, throw=False).x


class Qpth(Torch):
    """qpth.QPFunction."""

    name, package = "qpth", "qpth"

    def solve(self, Q: torch.Tensor, q: torch.Tensor, G: torch.Tensor, h: torch.Tensor) -> Any:
        """Solve with the tolerance of all; a check of Q would cost one more factorisation."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from qpth.qp import QPFunction

            nothing = torch.empty(0, dtype=Q.dtype)
            function = QPFunction(eps=TOLERANCE, verbose=-1, check_Q_spd=False)
            return function(Q, q, G, h, nothing, nothing)


class Linear(Torch):
    """A linear layer of the same width: what the paper sets the QP beside."""

    name, package = "linear layer", "torch"

    def __init__(self, data: Data, threads: int) -> None:
        super().__init__(data, threads)
        self.layer = torch.nn.Linear(data.q.shape[1], data.q.shape[1], dtype=torch.float64)

    def inputs(self) -> list[torch.Tensor]:
        """The input and the parameters."""
        return [self.tensors[1], *self.layer.parameters()]

    def solve(self, Q: torch.Tensor, q: torch.Tensor, G: torch.Tensor, h: torch.Tensor) -> Any:
        """Multiply."""
        return self.layer(q)


class Gurobi(Solver):
    """gurobipy, one model after the other; as in the paper, building the models is not timed."""

    name, package = "gurobi", "gurobipy"
    largest = 200
    """The licence that comes with the package refuses more variables with a quadratic objective."""

    def __init__(self, data: Data, threads: int) -> None:
        super().__init__(data, threads)
        import gurobipy

        self.environment = gurobipy.Env(params={"OutputFlag": 0, "Threads": threads})
        self.models = [self._model(data.one(i)) for i in range(len(data.q))]

    def _model(self, problem: Data) -> Any:
        import gurobipy

        model = gurobipy.Model(env=self.environment)
        for name in ("BarConvTol", "FeasibilityTol", "OptimalityTol"):
            model.setParam(name, TOLERANCE)
        x = model.addMVar(len(problem.q), lb=-gurobipy.GRB.INFINITY)
        model.setObjective(0.5 * (x @ problem.Q @ x) + problem.q @ x)
        model.addConstr(problem.G @ x <= problem.h)
        model.update()
        return model, x

    def forward(self) -> np.ndarray:
        """Optimise each model from the start."""
        for model, _ in self.models:
            model.reset()
            model.optimize()
        return np.array([x.X for _, x in self.models])


class Slsqp(Solver):
    """scipy.optimize.minimize with SLSQP and exact gradients, one problem after the other."""

    name, package = "scipy SLSQP", "scipy"
    largest = 100
    most = 4

    def forward(self) -> np.ndarray:
        """Minimise each."""
        return np.array([with_slsqp(self.data.one(i)).x for i in range(len(self.data.q))])


SOLVERS = (Qpcore, Qpth, Gurobi, Slsqp, Linear)
