"""Waiting for a number to change, without the interpreter lock and without going to sleep."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# A thread that yields lets others have the core; one without others returns after 0.3 microseconds.
CAN_YIELD = binding.address_of_symbol("sched_yield") is not None


@intrinsic
def load_anew(typing_context: Any, numbers: Any) -> Any:
    """numbers[0] as memory has it now, and not as it was when the loop began."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.load_atomic(array.data, "acquire", 8)

    return types.int64(numbers), codegen


@intrinsic
def let_others(typing_context: Any) -> Any:
    """Offer the core to whoever waits for one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if CAN_YIELD:
            kind = ir.FunctionType(ir.IntType(32), [])
            function = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(cache=True, nogil=True)
def watch(counter: np.ndarray, seen: int, looks: int) -> bool:
    """Whether counter[0] changes from what was seen while so many looks are taken."""
    for _ in range(looks):
        if load_anew(counter) != seen:  # pyright: ignore[reportCallIssue]
            return True
        let_others()  # pyright: ignore[reportCallIssue]
    return False
