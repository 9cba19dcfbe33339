"""`solve_qp` under `torch.compile`: one call in the graph, which Dynamo does not look into.

Dynamo cannot trace an autograd function that has forward mode. What it leaves alone is traced by
AOTAutograd in the next step, operators, derivatives, transforms and all. Imported by functions that
are being compiled, and by nobody else: it imports Dynamo, which takes as long as PyTorch itself.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import guard_scalar

from qpcore import Settings
from torch_bridge.autograd import Solve
from torch_bridge.operators import encoded

FIELDS = tuple(field.name for field in fields(Settings))


def values_of(settings: Settings) -> tuple[Any, ...]:
    """The fields of the settings as constants that the compiled function is guarded by.

    Traced with dynamic shapes, floats would be symbols, of which no text could be made.
    """
    values = (getattr(settings, name) for name in FIELDS)
    return tuple(guard_scalar(v) if isinstance(v, (int, float)) else v for v in values)


@torch.compiler.allow_in_graph
def solve_in_graph(
    settings: tuple[Any, ...], throw: bool, dual_level: int, *problem: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """`Solve`, from values that a graph can hold: the fields of the settings in their order."""
    if dual_level >= 0 and not torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "A compiled function that calls solve_qp cannot be differentiated in forward mode from "
            "outside: the compiled code would drop the tangents. Use torch.func.jvp inside of it, "
            "or do not compile."
        )
    return Solve.apply(encoded(Settings(*settings)), throw, *problem)
