"""Clipping per problem: no single QP decides where the batch goes.

A vertex solves B x = b, with B the columns of A whose x is not held at zero. A gradient through it
grows like 1/σ, with σ the smallest singular value of B, and as σ vanishes so does the distance in A
over which it is right. Lengths have a tail of exponent 1.4 to 2, hence no variance: a larger batch
does not help, a limit does. `gradients.py` measures this.
"""

from __future__ import annotations

from functools import partial

import torch

FACTOR = 3.0
"""In medians of the batch. All gradients of an untrained layer are below it; without clipping, 6 %
of those at the end are above. Not tuned: the README has a table."""


def per_problem(parameter: torch.Tensor, count: int, factor: float) -> torch.Tensor:
    """View a parameter as `count` copies whose gradients are clipped before they are summed."""
    copies = parameter.expand(count, *parameter.shape)
    if copies.requires_grad:
        copies.register_hook(partial(clip, factor=factor))
    return copies


def clip(gradients: torch.Tensor, factor: float) -> torch.Tensor:
    """Shorten each problem's gradient, (B, ...), to at most `factor` times their median length."""
    lengths = gradients.flatten(1).norm(dim=1)
    limit = factor * lengths.median()
    scale = torch.where(lengths > limit, limit / lengths, 1.0)
    return gradients * scale.view(-1, *[1] * (gradients.ndim - 1))
