"""What a GPU keeps apart: phases of a solve that are not inlined into each other's code.

As one piece a kernel keeps the addresses of some sixty arrays in registers, through code that needs
ten of them at a time, and has not enough registers for that. A phase takes no arrays of the
workspace: it makes them anew, from sizes that the block keeps at the head of its shared memory, and
so has only those that it uses. It also knows shared memory from global, which an address that is
handed over does not say.

Kernels are written as if nothing of this were there. Needs numba-cuda.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from numba import cuda, types
from numba.core import config
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from qpcore import instead
from qpcore.blocks import shared_of, team_of, work_of
from qpcore.counting import counting
from qpcore.kernels import (
    activity,
    adjoint,
    certificate,
    company,
    factor,
    ipm,
    kkt,
    newton,
    presolve,
    progress,
    quality,
    refine,
    scaling,
    sharpen,
    start,
    stopping,
    trace,
    transfer,
)
from qpcore.kernels.machine import FASTMATH
from qpcore.kernels.workspace import Work
from qpcore.notes import parameters_noted, rules_noted, sizes_noted

PHASES = (
    transfer.load,
    transfer.load_Q,
    company.load_elements,
    transfer.note_coupling,
    transfer.load_progress,
    transfer.store,
    transfer.load_cotangents,
    adjoint.store_derivative,
    adjoint.scale_answer,
    presolve.flaw_of_matrices,
    presolve.flaw_of_vectors,
    presolve.is_convex,
    presolve.fix_equal_limits,
    scaling.equilibrate,
    scaling.scale_vectors,
    ipm.solve_problem,
    ipm.examine,
    ipm.adapt,
    ipm.residuals,
    ipm.aim_at_boundary,
    ipm.aim_at_centre,
    ipm.step_length,
    ipm.is_finite,
    ipm.decide,
    newton.newton,
    newton.move,
    kkt.weigh,
    kkt.factor_kkt,
    kkt.solve_kkt,
    kkt.multiply_kkt,
    kkt.add_where,
    company.factor,
    company.solve_factored,
    progress.judge,
    stopping.measure_dual,
    stopping.measure_primal,
    stopping.measure_gap,
    start.start,
    certificate.pose,
    certificate.stiffen,
    trace.note_iterate,
    trace.note_step,
    adjoint.differentiate,
    sharpen.sharpen,
    sharpen.step_from_answer,
    sharpen.is_as_guessed,
    sharpen.move_answer,
    sharpen.relative_step,
    activity.guess_activity,
    activity.keep_ratios,
    activity.largest_terms,
    activity.size_of,
    refine.aim,
    refine.aim_from_zero,
    refine.set_zero,
    refine.refine,
    activity.weigh_answer,
    activity.weigh_relaxed,
    quality.probe,
    quality.polish,
    quality.certify,
)
"""Functions that are kept apart. Parameters with a name in `MADE_ANEW` are not handed over."""

MADE_ANEW = {name: f"work.{name}" for name in Work._fields} | {
    "work": "work",
    "team": "team",
    "per_s": "work.system.per_s",
    "K": "work.qp.K",
    "diagonal": "work.system.diagonal",
    "Gt": "work.qp.Gt",
    "weight": "work.system.weight",
    "v": "work.system.right",
    "sizes": "sizes",
    "parameters": "parameters_noted(shared)",
    "rules": "rules_noted(shared)",
}
"""What such a parameter is, wherever the function is called; `tests/test_phases.py` checks that."""

# ---- keeping apart -------------------------------------------------------------------------------


@intrinsic
def apart(typing_context):
    """Keep the function that says so out of its callers' code."""

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


CALLED = (
    apart,
    shared_of,
    team_of,
    work_of,
    sizes_noted,
    parameters_noted,
    rules_noted,
)

SOURCE = """
def phase({given}):
    return {name}({handed})

def {name}({taken}):
    apart()
    shared = shared_of(memory)
    team, sizes = team_of(shared, memory), sizes_noted(shared)
    work = work_of(shared, memory, sizes)
    return body({known})
"""


def keep_apart(function: Any) -> None:
    """Let a GPU call a function of the kernels apart."""
    names, name = list(inspect.signature(function.py_func).parameters), function.__name__
    kept = [n for n in names if n not in MADE_ANEW]
    source = SOURCE.format(
        name=f"{name}_apart",
        given=", ".join(names),
        handed=", ".join([*kept, "team.memory"]),
        taken=", ".join([*kept, "memory"]),
        known=", ".join(MADE_ANEW.get(n, n) for n in names),
    )
    body = on_device(counting(function.py_func), forceinline=True)
    scope: Any = {f.__name__: f for f in CALLED} | {"body": body}
    exec(source, scope)
    scope[f"{name}_apart"] = on_device(scope[f"{name}_apart"])
    replace(function, scope["phase"])


def on_device(function: Any, **options: Any) -> Any:
    """Make a device function, with the options of kernels."""
    return cuda.jit(function, device=True, error_model="numpy", fastmath=FASTMATH, **options)


def replace(function: Any, other: Any, inline: bool = True) -> None:
    """Let numba-cuda take another function for one of the kernels.

    It makes a device function of each CPU function that it meets, and keeps it in an attribute of
    that; here it finds one that was put there before.
    """
    function._CUDATypingContext__dispatcher = on_device(other, forceinline=inline)


# ---- all of it -----------------------------------------------------------------------------------


def all_kernels() -> Iterator[Any]:
    """Every function of the kernels that numba-cuda may meet."""
    for name, module in list(sys.modules.items()):
        if name in ("qpcore.blocks", "qpcore.notes") or name.startswith("qpcore.kernels."):
            for value in vars(module).values():
                if isinstance(value, Dispatcher) and value.py_func.__module__ == name:
                    yield value


@lru_cache(maxsize=1)
def keep_all_apart() -> None:
    """Tell numba-cuda of all this, before the first kernel is compiled.

    Not so in the simulator, where kernels are plain Python.
    """
    if config.ENABLE_CUDASIM:
        return
    for function in all_kernels():
        inline = function.targetoptions.get("forceinline", False)
        replace(function, counting(function.py_func), inline)
    replace(factor.inverse_root, instead.inverse_root)
    for function in PHASES:
        keep_apart(function)
