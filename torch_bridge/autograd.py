"""What autograd must know of a QP, in every mode and to every order.

`Solve` is the map from the data to the answer. Its derivatives, forwards and backwards, are torch's
arithmetic (`algebra.py`) around one more function, `KKTSolve`, whose derivatives are the same
arithmetic around itself: so all orders are there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import Function, forward_ad

from qpcore import Untrusted
from torch_bridge import operators
from torch_bridge.algebra import Vectors, gradients, matrices_of, perturbation, point_of, total
from torch_bridge.arguments import CORE_AXES
from torch_bridge.batching import batch_first, filled, spread_numbers, unmapped_shape

Tensors = Sequence["torch.Tensor | None"]

CORES = tuple(CORE_AXES.values())
ARGUMENTS, VECTORS, OUTPUTS = len(CORE_AXES), len(Vectors._fields), len(operators.OUTPUTS)


class Solve(Function):
    """(settings, throw; problem) -> (x, z, y, z_box, status, iterations)."""

    @staticmethod
    def forward(settings: str, throw: bool, *problem: torch.Tensor | None) -> tuple:
        """Solve."""
        return operators.call("solve", settings, throw, problem)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        """Keep the problem and the answer; nothing of the solver."""
        ctx.settings, _, *problem = inputs
        ctx.trust = None
        # An output that the loss does not use has cotangent None instead of an array of zeros.
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[VECTORS:])
        save(ctx, *problem, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple:
        """Gradients of the problem (14): in one call, or so that they can be differentiated."""
        saved = ctx.saved_tensors  # once: checkpoints do not unpack again
        problem, answer = saved[:ARGUMENTS], saved[ARGUMENTS:]
        given, wanted = cotangents[:VECTORS], ctx.needs_input_grad[2:]
        if is_plain():
            wanted = [w and t is not None for w, t in zip(wanted, problem, strict=True)]
            inputs = (ctx.settings, wanted, given, problem, answer)
            computed, ctx.trust = operators.call("gradients", *inputs)
            found = iter(computed)
            return None, None, *(next(found) if want else None for want in wanted)
        ctx.trust = None  # what an earlier pass left is not about this one
        with differentiable(answer):
            d = kkt_solve(ctx.settings, given, (*problem, *answer))
            return None, None, *gradients(problem, wanted, d, point_of(answer))

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor | None) -> tuple:
        """Tangents of the answer (13)."""
        with differentiable(ctx.saved_tensors):
            saved = primals(ctx.saved_tensors)
            right = perturbation(tangents[2:], point_of(saved[ARGUMENTS:]))
            return *kkt_solve(ctx.settings, right, saved), None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple, settings: str, throw: bool, *problem: torch.Tensor | None
    ) -> tuple:
        """Solve a batch with one more axis, in front."""
        dims = in_dims[2:]
        moved = batch_first(spread_numbers(problem, dims), dims, CORES)
        return Solve.apply(settings, throw, *moved), (0,) * OUTPUTS


class KKTSolve(Function):
    """(settings; r; problem, answer) -> d = -M⁻¹ r, M being the KKT matrix at the answer (13).

    M depends on Q, G, A and on which rows bind. At strictly complementary points the latter is
    locally constant, so that d does not change with the answer and the rest of the problem, which
    decide it. With w = -M⁻¹ d̄ the cotangents of r are w, those of Q, G, A the products of w and d
    that (14) makes of d and the answer; the tangent of d is -M⁻¹ (ṙ + Ṁ d).
    """

    @staticmethod
    def forward(settings: str, *tensors: torch.Tensor | None) -> tuple:
        """Solve, in every problem of the batch."""
        return operators.call("kkt_solve", settings, *split(tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        """Keep all but the right-hand sides."""
        ctx.settings = inputs[0]
        ctx.set_materialize_grads(False)
        save(ctx, *inputs[1 + VECTORS :], *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple:
        """Cotangents of the right-hand sides and of Q, G, A."""
        saved = ctx.saved_tensors
        fixed, d = saved[:-VECTORS], Vectors(*saved[-VECTORS:])
        needs_right, wanted, _ = split(ctx.needs_input_grad[1:])
        with differentiable(fixed):
            w = kkt_solve(ctx.settings, cotangents, fixed)
            right = (part if want else None for part, want in zip(w, needs_right, strict=True))
            found = gradients(matrices_of(fixed[:ARGUMENTS]), wanted, w, d)
        return None, *right, *found, *(None,) * OUTPUTS

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor | None) -> tuple:
        """Tangents of the solution."""
        right, problem, _ = split(tangents[1:])
        with differentiable(ctx.saved_tensors):
            saved = primals(ctx.saved_tensors)
            d = Vectors(*saved[-VECTORS:])
            change = zip(right, perturbation(matrices_of(problem), d), d, strict=True)
            right = [total((given, moved), like) for given, moved, like in change]
            return kkt_solve(ctx.settings, right, saved[:-VECTORS])

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple, settings: str, *tensors: torch.Tensor | None
    ) -> tuple:
        """Solve for a batch with one more axis, in front, of all but the matrices if need be."""
        right, problem, answer = split(tensors)
        batch = (info.batch_size, *unmapped_shape(answer[-1], in_dims[-1]))
        tensors = (*right, *spread_numbers(problem, split(in_dims[1:])[1]), *answer)
        cores = (1,) * VECTORS + CORES + (1,) * VECTORS + (0, 0)
        right, problem, answer = split(batch_first(tensors, in_dims[1:], cores))
        vectors = filled(answer[:VECTORS], batch)
        counts = (tensor.expand(batch) for tensor in answer[VECTORS:])
        found = KKTSolve.apply(settings, *filled(right, batch), *problem, *vectors, *counts)
        return found, (0,) * VECTORS


def trust_of(answer: Tensors) -> list[torch.Tensor] | None:
    """What the latest backward pass through an answer noted of its gradients, if it was plain.

    The node of the graph that made the answer is the context of `Solve`, which keeps the note.
    Autocast puts one more node, the conversion of dtypes, behind it.
    """
    nodes = [tensor.grad_fn for tensor in answer if tensor is not None]
    behind = [node.next_functions[0][0] for node in nodes if node and node.next_functions]
    for node in (*nodes, *behind):
        if isinstance(node, Solve._backward_cls):
            return getattr(node, "trust", None)
    return None


# PyTorch asks for the signature of `forward` in every call; found here, it costs a third of that.
for _function in (Solve, KKTSolve):
    setattr(_function.forward, "__signature__", inspect.signature(_function.forward))  # noqa: B010


def kkt_solve(settings: str, right: Tensors, fixed: Sequence) -> Vectors:
    """`KKTSolve` for a problem and its answer; zero, without a solve, if there is nothing right."""
    if operators.decoded(settings).untrusted is Untrusted.SMOOTH:
        raise NotImplementedError(
            "Settings(untrusted=Untrusted.SMOOTH) has gradients by a plain backward pass only, at "
            "the relaxed problem's own answer. Forward mode, torch.func and create_graph=True "
            "differentiate at the answer that solve_qp gave; choose another value of untrusted."
        )
    if operators.decoded(settings).infeasible == "closest":
        raise NotImplementedError(
            'Settings(infeasible="closest") has gradients by a plain backward pass only. Forward '
            "mode, torch.func and create_graph=True would miss how the shift of the limits moves; "
            "leave infeasible at its default there."
        )
    if all(part is None for part in right):
        return Vectors(*map(torch.zeros_like, fixed[ARGUMENTS : ARGUMENTS + VECTORS]))
    return Vectors(*KKTSolve.apply(settings, *right, *fixed))


def split(values: Sequence) -> tuple[Sequence, Sequence, Sequence]:
    """What belongs to right-hand sides, problem and answer."""
    end = VECTORS + ARGUMENTS
    return values[:VECTORS], values[VECTORS:end], values[end:]


def save(ctx: Any, *tensors: torch.Tensor | None) -> None:
    """Keep tensors for both modes. As such, so that autograd sees if one is changed in place."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def primals(tensors: Tensors) -> list:
    """The tensors without the tangents of this level of forward mode.

    PyTorch has dual numbers of level 0 only. In a traced graph `forward_ad` does not know of it.
    """
    duals = (None if t is None else forward_ad.unpack_dual(t, level=0) for t in tensors)
    return [None if dual is None else dual.primal for dual in duals]


def is_plain() -> bool:
    """Whether a backward pass is all there is: nobody differentiates, maps or compiles *it*."""
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return not (torch.is_grad_enabled() or transformed)


@contextmanager
def differentiable(tensors: Tensors) -> Iterator[None]:
    """A region whose arithmetic keeps its dtype, and which forward mode sees.

    PyTorch turns forward mode off around `jvp`. Under `torch.func` an outer level, as in
    ``jacfwd(jacfwd(f))``, would then find no tangents and take its derivative to be zero.
    """
    device = next(tensor.device.type for tensor in tensors if tensor is not None)
    with forward_ad._set_fwd_grad_enabled(True), torch.autocast(device, enabled=False):
        yield
