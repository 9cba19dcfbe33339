"""A loop and its helpers: compiled code that hands its work to other threads, and takes it back.

Nothing here asks for the interpreter lock, so that to share work takes less than a microsecond with
a helper that is awake. What a helper is handed lies in its box: where the code is and where its
arguments lie, on the stack of whoever offers it and waits until it is done.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from qpcore.kernels.counters import reserve
from qpcore.kernels.linked import LOCAL
from qpcore.kernels.machine import kernel

# What a box holds, a line of the cache: what may be done with it, the job, and the worker's number.
STATE, CODE, ARGUMENTS, WORKER, FIELDS = 0, 1, 2, 3, 8

# States of a box. Its helper goes to sleep where it is free, and takes what is offered; the caller
# who holds it offers, and takes back.
ASLEEP, FREE, HELD, OFFERED, TAKEN, DONE = range(6)

# What the parts of a loop are counted by: the next one that nobody has begun, and how many.
NEXT, COUNT = 0, 1

# A thread that waits looks so many times, 0.16 microseconds each, or what others make of a core
# that they are offered; then it looks every so many microseconds, or goes to sleep.
LOOKS, REST = 2000, 20

SYMBOLS = {name for name in ("sched_yield", "usleep") if binding.address_of_symbol(name)}


# Workspaces in one block, (elements, slots) or, for one slot, (elements,): so many elements belong
# to one, and so many lie between the beginnings of two. There is one for each worker; or, to be
# kept, one for each part.
Workspaces = namedtuple("Workspaces", "block size stride kept")


# ---- numbers that several threads read and write -------------------------------------------------


def pointer_to(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Where numbers[place] lies."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    place = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.gep(array.data, [place])


@intrinsic
def load_anew(typing_context: Any, numbers: Any, place: Any) -> Any:
    """numbers[place] as memory has it now, and all that was written before it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer_to(context, builder, sig, args), "acquire", 8)

    return types.int64(numbers, place), codegen


@intrinsic
def publish(typing_context: Any, numbers: Any, place: Any, number: Any) -> Any:
    """Write a number behind all that was written before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.cast(builder, args[2], sig.args[2], types.int64)
        builder.store_atomic(number, pointer_to(context, builder, sig, args), "release", 8)
        return context.get_dummy_value()

    return types.void(numbers, place, number), codegen


@intrinsic
def replace(typing_context: Any, numbers: Any, place: Any, old: Any, new: Any) -> Any:
    """Write the new number if the old one is there; whether it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        old, new = (context.cast(builder, args[i], sig.args[i], types.int64) for i in (2, 3))
        pointer = pointer_to(context, builder, sig, args)
        pair = builder.cmpxchg(pointer, old, new, "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(numbers, place, old, new), codegen


@intrinsic
def exchange(typing_context: Any, numbers: Any, place: Any, number: Any) -> Any:
    """Write a number, and say which one was there."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw(
            "xchg", pointer_to(context, builder, sig, args), number, "acq_rel"
        )

    return types.int64(numbers, place, number), codegen


@kernel(inline=True)
def claim(parts):
    """A part that nobody has begun; none is left if it is not less than their count."""
    return reserve(parts, NEXT, 1)  # pyright: ignore[reportCallIssue]


# ---- waiting -------------------------------------------------------------------------------------


def call_symbol(builder: Any, name: str, *numbers: int) -> None:
    """Call a function of the system that takes and returns ints, if the system has it."""
    if name in SYMBOLS:
        word = ir.IntType(32)
        kind = ir.FunctionType(word, [word] * len(numbers))
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [ir.Constant(word, number) for number in numbers])


@intrinsic
def let_others(typing_context: Any) -> Any:
    """Offer the core to whoever waits for one; without others it takes 0.3 microseconds at most."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        call_symbol(builder, "sched_yield")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def rest(typing_context: Any) -> Any:
    """Sleep for a moment."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        call_symbol(builder, "usleep", REST)
        return context.get_dummy_value()

    return types.void(), codegen


# ---- jobs ----------------------------------------------------------------------------------------


@intrinsic
def job_of(typing_context: Any, loop: Any, arguments: Any) -> Any:
    """Where code lies that calls loop(*arguments, worker), and the arguments, as numbers.

    They are good for as long as the function that asks has not returned.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        types_of_loop = (*arguments.types, types.int64)
        found = loop.dispatcher.get_compile_result(types.void(*types_of_loop))
        context.add_linking_libs([found.library])
        place = cgutils.alloca_once_value(builder, args[1])
        code = job_code(context, builder, found, place.type)
        numbers = [builder.ptrtoint(pointer, ir.IntType(64)) for pointer in (code, place)]
        return context.make_tuple(builder, sig.return_type, numbers)

    return types.UniTuple(types.int64, 2)(loop, arguments), codegen


def job_code(context: Any, builder: Any, found: Any, kind: Any) -> Any:
    """A function of where arguments lie and of the worker's number, which calls what was found."""
    name = LOCAL + "job." + found.fndesc.mangled_name
    number = ir.IntType(64)
    code = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [number, number]), name)
    code.linkage = "internal"
    inside = ir.IRBuilder(code.append_basic_block())
    place, worker = code.args
    arguments = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(place, kind)))
    context.call_internal_no_propagate(inside, found.fndesc, found.signature, [*arguments, worker])
    inside.ret_void()
    return code


@intrinsic
def do_job(typing_context: Any, code: Any, arguments: Any, worker: Any) -> Any:
    """Call what `job_of` has found."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number, number]).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@kernel(inline=True)
def together(loop, arguments, boxes, hired):
    """Call loop(*arguments, worker) here, as worker 0, and in the helpers of the boxes hired.

    The loop claims parts until none is left. A helper that has not begun by then will not. Inline,
    as Numba hands over an address of the loop, which nobody uses, and caches no code that reads
    one.
    """
    code, place = 0, 0
    if len(hired) > 0:
        code, place = job_of(loop, arguments)  # pyright: ignore[reportCallIssue]
    for i in range(len(hired)):
        box = boxes[hired[i]]
        box[CODE], box[ARGUMENTS], box[WORKER] = code, place, i + 1
        publish(box, STATE, OFFERED)  # pyright: ignore[reportCallIssue]
    loop(*arguments, 0)
    for i in range(len(hired)):
        box = boxes[hired[i]]
        if not replace(box, STATE, OFFERED, HELD):  # pyright: ignore[reportCallIssue]
            wait_for(box)
            publish(box, STATE, HELD)  # pyright: ignore[reportCallIssue]


@kernel(makes_arrays=True)
def workspace_of(memory, worker):
    """The workspace of one worker, or of one part."""
    begin = worker * memory.stride
    return memory.block[begin : begin + memory.size]


@kernel
def wait_for(box):
    """Wait until a helper has done what it took."""
    looks = 0
    while load_anew(box, STATE) != DONE:  # pyright: ignore[reportCallIssue]
        looks += 1
        if looks < LOOKS:
            let_others()  # pyright: ignore[reportCallIssue]
        else:
            rest()  # pyright: ignore[reportCallIssue]


@njit(cache=True)
def hold(box: np.ndarray) -> bool:
    """Keep its helper from going to sleep; whether it sleeps already."""
    return exchange(box, STATE, HELD) == ASLEEP  # pyright: ignore[reportCallIssue]


@njit(cache=True, nogil=True)
def serve(box: np.ndarray, looks: int) -> None:
    """Do what is offered in a box, until it was free for so many looks."""
    left = looks
    while True:
        state = load_anew(box, STATE)  # pyright: ignore[reportCallIssue]
        if state == OFFERED and replace(box, STATE, OFFERED, TAKEN):  # pyright: ignore
            do_job(box[CODE], box[ARGUMENTS], box[WORKER])  # pyright: ignore[reportCallIssue]
            publish(box, STATE, DONE)  # pyright: ignore[reportCallIssue]
            left = looks
        elif left > 0:
            let_others()  # pyright: ignore[reportCallIssue]
            left -= 1
        elif state != FREE:
            rest()  # pyright: ignore[reportCallIssue]
        elif replace(box, STATE, FREE, ASLEEP):  # pyright: ignore[reportCallIssue]
            return
