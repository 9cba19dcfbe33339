"""Where `torch.vmap` puts its batch axis: in front of all others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from torch_bridge.arguments import CORE_AXES

Tensors = Sequence["torch.Tensor | None"]
Dims = Sequence["int | None"]


def batch_first(tensors: Tensors, dims: Dims, cores: Sequence[int]) -> list[torch.Tensor | None]:
    """Bring the mapped axis of each tensor to the front of its batch axes, `cores` not being such.

    A tensor that is not mapped stays as it is: it is shared by all, and is not expanded.
    """
    triples = list(zip(tensors, dims, cores, strict=True))
    rank = max(0 if t is None else t.ndim - (dim is not None) - core for t, dim, core in triples)
    rank = max(rank, 0)  # a number has less than no batch axes
    moved = []
    for tensor, dim, core in triples:
        if tensor is not None and dim is not None:
            front = tensor.movedim(dim, 0)
            ones = (1,) * (rank + 1 + core - front.ndim)
            tensor = front.reshape(len(front), *ones, *front.shape[1:])
        moved.append(tensor)
    return moved


def spread_numbers(problem: Tensors, dims: Dims) -> list[torch.Tensor | None]:
    """Make a vector of a limit that is one number for all entries, but another in each problem."""
    (Q, _, G, *_), (Q_dim, _, G_dim, *_) = problem, dims
    assert Q is not None
    n = unmapped_shape(Q, Q_dim)[-1]
    m = 0 if G is None else unmapped_shape(G, G_dim)[-2:][0]
    spread = []
    for name, tensor, dim in zip(CORE_AXES, problem, dims, strict=True):
        if tensor is not None and dim is not None and tensor.ndim == 1:
            tensor = tensor[:, None].expand(-1, n if name in ("lb", "ub") else m)
        spread.append(tensor)
    return spread


def unmapped_shape(tensor: torch.Tensor, dim: int | None) -> tuple[int, ...]:
    """The shape that a mapped function sees."""
    return tuple(size for axis, size in enumerate(tensor.shape) if axis != dim)


def filled(tensors: Tensors, batch: Sequence[int]) -> list[torch.Tensor | None]:
    """Vectors, (*, ·), expanded to all batch axes."""
    return [None if t is None else t.expand(*batch, t.shape[-1]) for t in tensors]
