"""Compile kernels for the CPU as what they are: code that drivers link in, never run by itself.

Numba optimises every function as soon as it is compiled, with all that it calls, and makes machine
code of it. A driver's loop has the intermediate code of its kernels linked into it, so theirs is
never run, and is optimised again with it. Without both, a first solve compiles in 0.6 of the time:
138 seconds of the processor instead of 232 for twelve loops.

Numba also keeps every function in the driver's code such that others may call it, and hands it all
it might be given: a workspace of arrays is some hundred numbers, copied at every call. Nobody else
calls ours. Once LLVM knows, it hands on what a kernel uses: on the paper's profile a solve takes
0.71 of the time with n = m = 10, 0.88 with n = 32 and m = 64, 0.93 with n = m = 100.
"""

from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

# It leans on insides of Numba: versions that it was not tried with compile in the usual way.
TRIED = ((0, 68),)

# Functions of more instructions than this are not copied into those that call them, which LLVM does
# with any that is called in one place only: solves were no faster and took twice as long to compile
# without a limit, and they took up to 7 % longer with a limit of 200.
LARGE = 1000

# What the names of a driver's own kernels begin with. In memory LLVM links all code by one table of
# names, in which those stand too that concern nobody else: code that calls a kernel by its usual
# name would be sent to a driver's, which takes other arguments.
LOCAL = "qpcore.local."


class LinkedLibrary(JITCodeLibrary):
    """Intermediate code of a kernel and of what it calls, without machine code."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the driver's library optimises all that is linked into it."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Null, as where a function has no wrapper that Python could call."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """Who is told of a function's environment, of which code from the cache has none either."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: that would be a place in the machine code."""


class DriverLibrary(JITCodeLibrary):
    """Machine code of a driver's loop, with kernels that it alone calls."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage.name == "linkonce_odr":
                function.linkage, function.name = "internal", LOCAL + function.name
                if not is_inlined(function) and instructions(function) > LARGE:
                    function.add_function_attribute("noinline")
        super()._optimize_final_module()


def is_inlined(function: Any) -> bool:
    """Whether LLVM is told to copy a function into those that call it."""
    return b"alwaysinline" in b" ".join(function.attributes)


def instructions(function: Any) -> int:
    """How many instructions a function of LLVM's has."""
    return sum(1 for block in function.blocks for _ in block.instructions)


class Linked(Compiler):
    """Numba's compiler with another library to put a kernel into."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *rest: Any) -> None:
        library = library or LinkedLibrary(targetctx.codegen(), "kernel")
        super().__init__(typingctx, targetctx, library, *rest)


class Driver(Compiler):
    """Numba's compiler with another library to put a driver's loop into."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *rest: Any) -> None:
        if library is None:
            library = DriverLibrary(targetctx.codegen(), "driver")
            library.enable_object_caching()
        super().__init__(typingctx, targetctx, library, *rest)


KERNELS, DRIVERS = (Linked, Driver) if numba.version_info.short in TRIED else (Compiler, Compiler)
