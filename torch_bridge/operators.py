"""The entries to qpcore as PyTorch operators, which tracers put into their graphs unopened.

They compute on plain memory; derivatives are made of them in `autograd.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
import torch

import qpcore
from qpcore import Settings, devices
from qpcore.problem_there import problem_of
from torch_bridge import saved
from torch_bridge.arguments import CORE_AXES

OUTPUTS = ("x", "z", "y", "z_box", "status", "iterations")
TRUST = tuple(field.name for field in fields(qpcore.Trust))

# What `solve` is told beside the settings.
KEEP = "keep_factors"

Tensors = Sequence["torch.Tensor | None"]

library = torch.library.Library("qpcore", "DEF")
library.define(
    "solve(str settings, bool throw, Tensor?[] problem) "
    "-> (Tensor x, Tensor z, Tensor y, Tensor z_box, Tensor status, Tensor iterations)"
)
library.define(
    "kkt_solve(str settings, Tensor?[] right, Tensor?[] problem, Tensor[] answer) "
    "-> (Tensor x, Tensor z, Tensor y, Tensor z_box)"
)
library.define(
    "gradients(str settings, bool[] wanted, Tensor?[] cotangents, Tensor?[] problem, "
    "Tensor[] answer) -> (Tensor[] gradients, Tensor[] trust)"
)


@lru_cache(maxsize=64)
def encoded(settings: Settings, keep_factors: bool = False) -> str:
    """Settings, and what else a solve is told, as text: operators take that, numbers and tensors.

    Whether factors are kept concerns nobody but the solve itself, and changes last digits only.
    """
    return json.dumps(asdict(settings) | {KEEP: keep_factors}, default=as_plain)


@lru_cache(maxsize=64)
def decoded(text: str) -> Settings:
    """The settings that `encoded` wrote."""
    fields, defaults = json.loads(text), asdict(Settings())
    del fields[KEEP]
    choices = {name: type(value) for name, value in defaults.items() if isinstance(value, Enum)}
    return Settings(**fields | {name: kind(fields[name]) for name, kind in choices.items()})


@lru_cache(maxsize=64)
def keeps_factors(text: str) -> bool:
    """Whether a solve is told to keep factors for derivatives."""
    return json.loads(text)[KEEP]


def as_plain(value: Any) -> Any:
    """The value of a choice, or the number in a NumPy scalar."""
    return value.value if isinstance(value, Enum) else value.item()


def solve(settings: str, throw: bool, problem: Tensors) -> tuple[torch.Tensor, ...]:
    """`qpcore.solve`: x, z, y, z_box, status, iterations."""
    arrays = dict(zip(CORE_AXES, to_arrays(problem), strict=True))
    how = {"settings": decoded(settings), "throw": throw, "keep_factors": keeps_factors(settings)}
    solution = qpcore.solve(**arrays, **how)
    saved.remember(solution)
    return tuple([to_tensor(getattr(solution, name)) for name in OUTPUTS])


def kkt_solve(
    settings: str, right: Tensors, problem: Tensors, answer: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """`qpcore.solve_at_answer`, for right-hand sides of the batch shape of the answer."""
    solution = solution_of(settings, problem, answer)
    found = qpcore.solve_at_answer(solution, *to_arrays(right))
    return tuple(map(to_tensor, found))


def gradients(
    settings: str,
    wanted: Sequence[bool],
    cotangents: Tensors,
    problem: Tensors,
    answer: Sequence[torch.Tensor],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """`qpcore.vjp`: the gradients of those arguments that are wanted, and the fields of `Trust`."""
    solution = solution_of(settings, problem, answer)
    names = [name for name, want in zip(CORE_AXES, wanted, strict=True) if want]
    found = qpcore.vjp(solution, *to_arrays(cotangents), wanted=names)
    result = []
    for name, argument, want in zip(CORE_AXES, problem, wanted, strict=True):
        if want and argument is not None:
            gradient = getattr(found, name)  # None where there are no rows
            empty = gradient is None
            result.append(torch.zeros_like(argument) if empty else to_tensor(gradient))
    return result, [to_tensor(getattr(found.trust, name)) for name in TRUST]


def solution_of(settings: str, problem: Tensors, answer: Sequence[torch.Tensor]) -> Any:
    """The Solution that an answer was, with the batch shape of the answer."""
    given = dict(zip(CORE_AXES, problem, strict=True))
    q, batch = given["q"], answer[4].shape
    assert q is not None
    lead = q.shape[:-1]
    if lead != batch and np.broadcast_shapes(batch, lead) != lead:
        # Under vmap the right-hand sides alone may be batched. Expanded axes are not copied.
        given["q"] = q.expand(*batch, q.shape[-1])
    arrays = dict(zip(given, to_arrays(given.values()), strict=True))
    parts = dict(zip(OUTPUTS, to_arrays(answer), strict=True))
    chosen = decoded(settings)
    if devices.is_on_gpu(answer[0]):
        parsed = problem_of(arrays)
        return qpcore.Solution(**parts, problem=parsed, settings=chosen, device="cuda")
    parsed = qpcore.Problem.parse(**arrays)
    factors = saved.recall(parts["x"], parsed)
    return qpcore.Solution(**parts, problem=parsed, settings=chosen, saved=factors)


def to_arrays(tensors: Iterable[torch.Tensor | None]) -> list[Any]:
    """View CPU tensors as NumPy arrays, CUDA tensors as such without a history: same memory.

    All of them lie where the first one does; to ask each of them would take a tenth of a call.
    """
    tensors = list(tensors)
    first = next((tensor for tensor in tensors if tensor is not None), None)
    if devices.is_on_gpu(first):
        return [None if tensor is None else plain(tensor) for tensor in tensors]
    return [None if tensor is None else tensor.numpy(force=True) for tensor in tensors]


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A CUDA tensor without a history.

    A lazy negation is carried out, and so are the zeros without memory which forward mode makes;
    whoever reads the memory would read those from wherever they happen to point.
    """
    plain = tensor.detach()
    if plain._is_zerotensor():
        return torch.zeros(plain.shape, dtype=plain.dtype, device=plain.device)
    return plain.resolve_neg()


def to_tensor(array: Any) -> torch.Tensor:
    """View what came back as a tensor."""
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(np.asarray(array))


def fake_solve(settings: str, throw: bool, problem: Tensors) -> tuple[torch.Tensor, ...]:
    """Shapes and dtypes of `solve`."""
    Q, _, G, _, A, *_ = problem
    assert Q is not None
    leads = [
        tensor.shape[: max(0, tensor.ndim - axes)]
        for tensor, axes in zip(problem, CORE_AXES.values(), strict=True)
        if tensor is not None
    ]
    batch, n = torch.broadcast_shapes(*leads), Q.shape[-1]
    m, p = (0 if M is None else M.shape[-2] for M in (G, A))
    vectors = [Q.new_empty((*batch, size)) for size in (n, m, p, n)]
    return *vectors, Q.new_empty(batch, dtype=torch.int8), Q.new_empty(batch, dtype=torch.int32)


def fake_kkt_solve(
    settings: str, right: Tensors, problem: Tensors, answer: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Shapes and dtypes of `kkt_solve`."""
    return tuple(part.new_empty(part.shape) for part in answer[:4])


def fake_gradients(
    settings: str,
    wanted: Sequence[bool],
    cotangents: Tensors,
    problem: Tensors,
    answer: Sequence[torch.Tensor],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Shapes and dtypes of `gradients`."""
    pairs = zip(problem, wanted, strict=True)
    found = [t.new_empty(t.shape) for t, want in pairs if want and t is not None]
    x, *_, status, _ = answer
    trust = [x.new_empty(status.shape) for _ in TRUST[:-1]]
    return found, [*trust, x.new_empty(status.shape, dtype=torch.bool)]


def call(name: str, *inputs: Any) -> Any:
    """Call an operator from within an autograd function, which has seen to its derivatives.

    Where nobody watches, its function itself: PyTorch's dispatcher takes 25 microseconds to find
    it, a fifth of what it does for one small problem.
    """
    if is_unwatched(inputs):
        return COMPUTES[name](*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return getattr(torch.ops.qpcore, name)(*inputs)


def is_unwatched(inputs: Sequence[Any]) -> bool:
    """Whether tensors are plain ones, and no mode, tracer or profiler wants to see operators."""
    groups = [value for value in inputs if isinstance(value, (list, tuple))]
    plain = all(type(t) in PLAIN for group in groups for t in group)
    return (
        plain
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
        and not torch.autograd.profiler._is_profiler_enabled
    )


PLAIN = (torch.Tensor, torch.nn.Parameter, type(None), bool)

COMPUTES = {"solve": solve, "kkt_solve": kkt_solve, "gradients": gradients}
SHAPES = {"solve": fake_solve, "kkt_solve": fake_kkt_solve, "gradients": fake_gradients}

for _name, _computes in COMPUTES.items():
    for _device in ("CPU", "CUDA"):
        library.impl(_name, _computes, _device)
    torch.library.register_fake(f"qpcore::{_name}", SHAPES[_name], lib=library)
