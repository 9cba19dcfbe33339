"""The solvers that are timed, each behind the same small interface.

Every solver is asked for 1e-8 where it takes a tolerance, and gets the problems in the memory
layout it likes best, before the clock starts. Packages are imported when a peer is used, so that
absent ones harm nobody.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer, cpus
from benchmarks.loops import Daqp, Forked, Piqp, Quadprog
from benchmarks.workloads import Data


class Qpcore(Peer):
    """qpcore.solve and qpcore.vjp on NumPy arrays."""

    packages = ("qpcore",)
    differentiable = True

    def forward(self, ready: Data) -> Answer:  # noqa: D102
        solution = self._solve(ready)
        return Answer(solution.x, solution.z, solution.solved)

    def forward_backward(self, ready: Data, dx: np.ndarray) -> Answer:  # noqa: D102
        import qpcore

        solution = self._solve(ready)
        found = qpcore.vjp(solution, dx)
        gradients = (found.Q, found.q, found.G, found.h)
        return Answer(solution.x, solution.z, solution.solved, gradients)

    def _solve(self, data: Data) -> Any:
        import qpcore

        settings = qpcore.Settings(tol=TOLERANCE, threads=self.threads)
        return qpcore.solve(*data, settings=settings, throw=False)


class Torch(Peer):
    """A differentiable function of tensors (Q, q, G, h)."""

    differentiable = True

    def prepare(self, data: Data) -> Any:  # noqa: D102
        import torch

        torch.set_num_threads(self.pools)
        return [torch.from_numpy(array).requires_grad_() for array in data]

    def forward(self, ready: Any) -> Answer:  # noqa: D102
        import torch

        with torch.no_grad():
            return self._answer(*self._solve(ready))

    def forward_backward(self, ready: Any, dx: np.ndarray) -> Answer:  # noqa: D102
        import torch

        x, z, solved = self._solve(ready)
        gradients = torch.autograd.grad(x, ready, torch.from_numpy(dx))
        return self._answer(x, z, solved)._replace(gradients=tuple(g.numpy() for g in gradients))

    def _solve(self, tensors: Any) -> tuple:
        raise NotImplementedError

    def _answer(self, x: Any, z: Any, solved: Any) -> Answer:
        z = None if z is None else z.detach().numpy()
        return Answer(x.detach().numpy(), z, np.asarray(solved))


class TorchBridge(Torch):
    """torch_bridge.solve_qp, differentiated by autograd."""

    packages = ("qpcore", "torch")

    def _solve(self, tensors: Any) -> tuple:
        import qpcore
        import torch_bridge

        settings = qpcore.Settings(tol=TOLERANCE, threads=self.threads)
        result = torch_bridge.solve_qp(*tensors, settings=settings, throw=False)
        return result.x, result.z, result.status.numpy() == qpcore.Status.SOLVED


class Qpth(Torch):
    """qpth.QPFunction on the whole batch; keeps multipliers to itself, reports no failures."""

    packages = ("qpth", "torch")

    def _solve(self, tensors: Any) -> tuple:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from qpth.qp import QPFunction

            # verbose=-1 silences it, and the check would be one more factorisation of Q.
            function = QPFunction(eps=TOLERANCE, verbose=-1, check_Q_spd=False)
            nothing = torch.empty(0, dtype=torch.float64)
            x = function(*tensors, nothing, nothing)
        return x, None, np.ones(len(x), bool)


def table(cores: int) -> dict[str, Peer]:
    """Every peer by name, on one core or on all of them."""
    peers = (
        Qpcore("qpcore-1"),
        Qpcore("qpcore", threads=cores),
        TorchBridge("torch_bridge-1"),
        TorchBridge("torch_bridge", threads=cores),
        Qpth("qpth-1", against="torch_bridge-1"),
        Qpth("qpth", threads=cores, pools=cores, against="torch_bridge"),
        Piqp("piqp", against="qpcore-1"),
        Forked(Piqp("piqp"), "piqp-forked", threads=cores, against="qpcore"),
        Daqp("daqp", against="qpcore-1"),
        Forked(Daqp("daqp"), "daqp-forked", threads=cores, against="qpcore"),
        Quadprog("quadprog", against="qpcore-1"),
    )
    return {peer.name: peer for peer in peers}


PEERS = table(cpus())
