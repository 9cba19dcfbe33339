"""What the operators do where autograd or a transform meets one bare, in a traced graph.

`solve_qp` calls them inside its autograd functions, which hand them plain tensors. The graph of a
compiled or exported function has the operators alone, and PyTorch would take an operator of which
it knows no derivative for a constant: gradients lost, tangents zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from torch_bridge.autograd import Solve
from torch_bridge.operators import call, library

Tensors = Sequence["torch.Tensor | None"]


def solve(settings: str, throw: bool, problem: Tensors) -> tuple[torch.Tensor, ...]:
    """Solve, with a derivative where one is wanted."""
    if not any(map(wants_derivative, problem)):
        return call("solve", settings, throw, problem)
    if torch._C._are_functorch_transforms_active():
        raise refusal("solve")
    return Solve.apply(settings, throw, *problem)


def final(name: str) -> Callable:
    """Make the rule of an operator that ends in numbers: it refuses to be differentiated."""

    def compute(*inputs: Any) -> Any:
        groups = (value for value in inputs if isinstance(value, (list, tuple)))
        if any(wants_derivative(tensor) for group in groups for tensor in group):
            raise refusal(name)
        return call(name, *inputs)

    return compute


def wants_derivative(tensor: Any) -> bool:
    """Whether autograd records what becomes of a tensor, or it has a tangent."""
    if not isinstance(tensor, torch.Tensor):
        return False
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    if not forward_ad._is_fwd_grad_enabled():
        return False
    return forward_ad.unpack_dual(tensor, level=0).tangent is not None


def unbatched(name: str) -> Callable:
    """Make the rule of an operator under vmap, which the autograd functions keep away from it."""

    def refuse(*inputs: Any) -> Any:
        raise refusal(name)

    return refuse


def refusal(name: str) -> NotImplementedError:
    """Say what cannot be done with a bare operator, and what can instead."""
    return NotImplementedError(
        f"The operator qpcore::{name} cannot be transformed by itself; torch_bridge.solve_qp can. "
        "Usual causes: torch.func around an exported function, where it belongs inside; or "
        "torch.autograd.functional with vectorize=True, in place of which torch.func.jacrev, "
        "jacfwd and hessian work."
    )


library.impl("solve", solve, "Autograd")
for _name in ("kkt_solve", "gradients"):
    library.impl(_name, final(_name), "Autograd")
for _name in ("solve", "kkt_solve", "gradients"):
    library.impl(_name, unbatched(_name), "Batched")
    library.impl(_name, unbatched(_name), "FuncTorchBatched")
