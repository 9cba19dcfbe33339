"""The derivative of an answer in torch's arithmetic, around a solution d of the KKT system.

A change of the data changes the optimality conditions at p = (x, z, y, z_box) by `perturbation`,
a bilinear form in the data's tangents and p, and the answer by d = -M⁻¹ of that (13). Transposed,
the gradients of the data are `gradients`, the same form read the other way (14). As both are made
of ordinary products of tensors, autograd differentiates them further by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from string import ascii_lowercase
from typing import NamedTuple

import torch

from qpcore import Status
from torch_bridge.arguments import CORE_AXES

Tensors = Sequence["torch.Tensor | None"]


class Vectors(NamedTuple):
    """A point or a solution of the KKT system."""

    x: torch.Tensor
    z: torch.Tensor
    y: torch.Tensor
    z_box: torch.Tensor


def point_of(answers: Sequence[torch.Tensor]) -> Vectors:
    """x, z, y, z_box, with zeros for NaN and rays where there is no answer to differentiate."""
    *parts, status, _ = answers
    usable = (status == Status.SOLVED) | (status == Status.MAX_ITERATIONS)
    return Vectors(*(torch.where(usable[..., None], part, 0.0) for part in parts))


def perturbation(tangents: Tensors, p: Vectors) -> list[torch.Tensor | None]:
    """Change of Qx + q + Gᵀz + Aᵀy, Gx - limit, Ax - b, x - bound with the data; None is zero."""
    Q, q, G, h, A, b, lb, ub, h_lower = tangents
    half = None if Q is None else 0.5 * Q
    x = [times(half, p.x), times(half, p.x, transposed=True), q]
    x += [times(G, p.z, transposed=True), times(A, p.y, transposed=True)]
    z, y = [times(G, p.x), side(p.z, h, h_lower)], [times(A, p.x), negative(b)]
    changes = (x, z, y, [side(p.z_box, ub, lb)])
    return [total(terms, part) for terms, part in zip(changes, p, strict=True)]


def matrices_of(arguments: Tensors) -> Tensors:
    """The arguments on which the KKT matrix depends, None in the places of all others."""
    pairs = zip(CORE_AXES, arguments, strict=True)
    return [value if name in "QGA" else None for name, value in pairs]


def times(M: torch.Tensor | None, v: torch.Tensor, transposed: bool = False) -> torch.Tensor | None:
    """Mv or Mᵀv of every problem; einsum makes one product of a matrix that the batch shares."""
    if M is None:
        return None
    return torch.einsum("...ij,...i->...j" if transposed else "...ij,...j->...i", M, v)


def negative(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Minus a tensor that may be absent."""
    return None if tensor is None else -tensor


def side(
    v: torch.Tensor, upper: torch.Tensor | None, lower: torch.Tensor | None
) -> torch.Tensor | None:
    """Minus the tangent of the limit that a multiplier points to: the upper one where v >= 0."""
    if upper is None and lower is None:
        return None
    return -torch.where(v >= 0, 0.0 if upper is None else upper, 0.0 if lower is None else lower)


def total(terms: Tensors, like: torch.Tensor) -> torch.Tensor | None:
    """Sum of the terms that are there, in the shape of `like`."""
    present = [term for term in terms if term is not None]
    return reduce(torch.add, present).expand_as(like) if present else None


def gradients(
    arguments: Tensors, wanted: Sequence[bool], d: Vectors, p: Vectors
) -> list[torch.Tensor | None]:
    """dᵀ perturbation(tangents, p) as a gradient of each argument that is wanted."""
    pairs = {"Q": (0.5 * d.x, p.x, 0.5 * p.x, d.x)}
    pairs |= {"G": (p.z, d.x, d.z, p.x), "A": (p.y, d.x, d.y, p.x)}
    vectors = {"q": d.x, "b": -d.y}
    # Not `where(v >= 0, ...)`: in a failed problem 0 * NaN has to stay NaN.
    vectors |= {"h": -d.z * (p.z >= 0), "h_lower": -d.z * (p.z < 0)}
    vectors |= {"ub": -d.z_box * (p.z_box >= 0), "lb": -d.z_box * (p.z_box < 0)}
    found: list[torch.Tensor | None] = []
    for name, argument, want in zip(CORE_AXES, arguments, wanted, strict=True):
        if argument is None or not want:
            found.append(None)
        elif name in pairs:
            found.append(outer_products(argument.shape, *pairs[name]))
        else:
            found.append(vectors[name].sum_to_size(argument.shape))
    return found


def outer_products(
    shape: torch.Size, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
) -> torch.Tensor:
    """a bᵀ + c dᵀ, summed over the problems that share an entry: no matrix per problem there."""
    batch = a.shape[:-1]
    axes = ascii_lowercase[: len(batch)]
    lead = (1,) * (len(batch) + 2 - len(shape)) + shape[:-2]
    kept = "".join(axes[i] for i in range(len(batch)) if lead[i] != 1 or batch[i] == 1)
    formula = f"{axes}y,{axes}z->{kept}yz"
    return (torch.einsum(formula, a, b) + torch.einsum(formula, c, d)).reshape(shape)
