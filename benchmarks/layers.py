"""Differentiable functions of PyTorch tensors. Gradients come in the shapes of the arguments."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer
from benchmarks.rows import gradients, join, rows
from benchmarks.workloads import Data


class Torch(Peer):
    """A differentiable function of the tensors that `arrange` makes."""

    differentiable = True

    def prepare(self, data: Data) -> Any:  # noqa: D102
        import torch

        torch.set_num_threads(self.pools)
        arrays = {k: np.require(v, float, "CW") for k, v in self.arrange(data).items()}
        return {name: torch.from_numpy(v).requires_grad_() for name, v in arrays.items()}

    def arrange(self, data: Data) -> dict[str, np.ndarray]:
        """Arguments of the function by their names."""
        return data.given()

    def forward(self, ready: dict) -> tuple:  # noqa: D102
        import torch

        with torch.no_grad():
            return self.solve(ready), None

    def forward_backward(self, ready: dict, dx: np.ndarray) -> tuple:  # noqa: D102
        import torch

        found = self.solve(ready)
        pulled = torch.autograd.grad(found[0], list(ready.values()), torch.from_numpy(dx))
        return found, dict(zip(ready, pulled, strict=True))

    def solve(self, tensors: dict) -> tuple:
        """Return x, and whatever else `answer` needs."""
        raise NotImplementedError

    def read(self, data: Data, found: tuple) -> Answer:  # noqa: D102
        results, pulled = found
        numbers = [np.asarray(r.detach().numpy()) for r in results]
        answer = self.answer(data, *numbers)
        if pulled is None:
            return answer
        pulled = {name: np.asarray(v.numpy(), float) for name, v in pulled.items()}
        return answer._replace(gradients=self.pulled(data, pulled))

    def answer(self, data: Data, x: np.ndarray, *rest: np.ndarray) -> Answer:
        """Make an Answer of what `solve` returned; most keep multipliers and failures secret."""
        return Answer(x, np.ones(len(x), bool))

    def pulled(self, data: Data, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gradients of the arguments from those of the tensors."""
        return found


class TorchBridge(Torch):
    """torch_bridge.solve_qp, differentiated by autograd."""

    packages = ("qpcore", "torch")

    def solve(self, tensors: dict) -> tuple:  # noqa: D102
        import qpcore
        import torch_bridge

        settings = qpcore.Settings(tol=TOLERANCE, threads=self.threads)
        return torch_bridge.solve_qp(**tensors, settings=settings, throw=False)

    def answer(self, data: Data, x: np.ndarray, *rest: np.ndarray) -> Answer:  # noqa: D102
        z, y, z_box, status, iterations = rest[:5]
        return Answer(x, status == 0, z, y, z_box, iterations=iterations)


class Qpth(Torch):
    """qpth.QPFunction on the whole batch; keeps multipliers to itself, reports no failures."""

    packages = ("qpth", "torch")

    def arrange(self, data: Data) -> dict[str, np.ndarray]:  # noqa: D102
        return rows(data).given()

    def solve(self, tensors: dict) -> tuple:  # noqa: D102
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from qpth.qp import QPFunction

            # verbose=-1 silences it, and the check would be one more factorisation of Q.
            function = QPFunction(eps=TOLERANCE, verbose=-1, check_Q_spd=False)
            nothing = torch.empty(0, dtype=torch.float64)
            return (function(*(tensors.get(k, nothing) for k in ("Q", "q", "G", "h", "A", "b"))),)

    def pulled(self, data: Data, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Sums for what the batch shares, of which qpth takes means."""
        shared = rows(data).shared()
        sums = {k: v * len(data.q) if k in shared else v for k, v in found.items()}
        return gradients(data, sums)


class QPLayer(Torch):
    """proxsuite.torch.qplayer.QPFunction: ProxQP problem by problem, with its own adjoint."""

    packages = ("proxsuite", "torch")

    def prepare(self, data: Data) -> Any:  # noqa: D102
        import torch

        torch.set_default_dtype(torch.float64)  # or its gradients are float32
        return super().prepare(data)

    def arrange(self, data: Data) -> dict[str, np.ndarray]:
        """Two-sided rows l <= Cx <= u; bounds are one row a variable."""
        full, parts = data.full(), []
        if data.G is not None and data.h is not None:
            parts.append((data.G, np.full_like(data.h, -1e30), data.h))
        if data.lb is not None or data.ub is not None:
            low, high = np.maximum(full.lb[0], -1e30), np.minimum(full.ub[0], 1e30)
            parts.append((np.eye(data.q.shape[1]), low, high))
        C, low, high = (
            join([part[i] for part in parts], -axes) for i, axes in enumerate((2, 1, 1))
        )
        kept = {k: v for k, v in data.given().items() if k in ("Q", "q", "A", "b")}
        return kept | {"C": C, "l": low, "u": high}

    def solve(self, tensors: dict) -> tuple:  # noqa: D102
        import torch
        from proxsuite.torch.qplayer import QPFunction

        function, nothing = QPFunction(eps=TOLERANCE, eps_backward=TOLERANCE), torch.empty(0)
        batch = len(tensors["q"])
        ready = {k: self._with_batch(v, batch, k) for k, v in tensors.items()}
        return function(*(ready.get(k, nothing) for k in ("Q", "q", "A", "b", "C", "l", "u")))

    def _with_batch(self, tensor: Any, batch: int, name: str) -> Any:
        """Autograd adds up what comes back for each problem; QPLayer itself does not."""
        single = 2 if name in "QAC" else 1
        return tensor.expand(batch, *tensor.shape) if tensor.ndim == single else tensor

    def answer(self, data: Data, x: np.ndarray, *rest: np.ndarray) -> Answer:  # noqa: D102
        y, z = rest
        m = data.full().h.shape[1]
        bounded = data.lb is not None or data.ub is not None
        z_box = z[:, m:] if bounded else np.zeros_like(x)
        return Answer(x, np.ones(len(x), bool), z[:, :m], y, z_box)

    def pulled(self, data: Data, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:  # noqa: D102
        m = data.full().h.shape[1]
        u, low = found.pop("u"), found.pop("l")
        found["G"], found["h"] = found.pop("C")[..., :m, :], u[..., :m]
        found["ub"], found["lb"] = u[..., m:], low[..., m:]
        return {name: value for name, value in found.items() if name in data.given()}


class Cvxpylayers(Torch):
    """cvxpylayers.torch.CvxpyLayer, through diffcp and Clarabel.

    Q enters by a factor, Q = R'R, because the modelling rules want it so; R is made beforehand.
    """

    packages = ("cvxpylayers", "cvxpy", "torch")
    probed = True

    def prepare(self, data: Data) -> Any:  # noqa: D102
        return self._layer(data), super().prepare(data)

    def _layer(self, data: Data) -> Any:
        import cvxpy as cp
        from cvxpylayers.torch import CvxpyLayer

        single = {k: v[0] if k not in data.shared() else v for k, v in self.arrange(data).items()}
        given = {name: cp.Parameter(v.shape) for name, v in single.items()}
        x = cp.Variable(data.q.shape[1])
        limits = [given["G"] @ x <= given["h"]] if "G" in given else []
        limits += [given["A"] @ x == given["b"]] if "A" in given else []
        limits += [x >= given["lb"]] if "lb" in given else []
        limits += [x <= given["ub"]] if "ub" in given else []
        objective = 0.5 * cp.sum_squares(given["Q"] @ x) + given["q"] @ x
        problem = cp.Problem(cp.Minimize(objective), limits)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return CvxpyLayer(problem, parameters=list(given.values()), variables=[x])

    def arrange(self, data: Data) -> dict[str, np.ndarray]:
        """A symmetric root in the place of Q: it exists for singular Q too."""
        values, vectors = np.linalg.eigh(data.Q)
        values = np.sqrt(np.maximum(values, 0))[..., None, :]
        return data.given() | {"Q": vectors * values @ vectors.swapaxes(-1, -2)}

    def forward(self, ready: Any) -> tuple:
        """The same work with and without gradients, but for the derivative operator."""
        self.layer, tensors = ready
        return super().forward(tensors)

    def forward_backward(self, ready: Any, dx: np.ndarray) -> tuple:  # noqa: D102
        self.layer, tensors = ready
        return super().forward_backward(tensors, dx)

    def solve(self, tensors: dict) -> tuple:  # noqa: D102
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), TOLERANCE)
        arguments = {"solve_method": "Clarabel"} | tolerances
        return self.layer(*tensors.values(), solver_args=arguments)

    def pulled(self, data: Data, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All but the gradient of Q, which is not that of its root."""
        return {name: value for name, value in found.items() if name != "Q"}
