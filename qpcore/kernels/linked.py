"""Compile kernels for the CPU as what they are: code that drivers link in, never run by itself.

Numba optimises every function as soon as it is compiled, with all that it calls, and makes machine
code of it. A driver's function has the intermediate code of its kernels linked into it and is then
optimised as a whole, so that the kernels need neither. Without, a first solve compiles in three
fifths of the time: 138 seconds of the processor instead of 232 for twelve loops. Answers and
gradients have the same bits, and small problems take up to 5 % less. (To leave out the passes over
single functions before linking as well gains nothing: then the driver's take longer.)
"""

from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

# It leans on insides of Numba: versions that it was not tried with compile in the usual way.
TRIED = ((0, 68),)


class LinkedLibrary(JITCodeLibrary):
    """Intermediate code of a kernel and of what it calls, without machine code."""

    def _optimize_final_module(self) -> None:
        """Do nothing: the driver's own library optimises all that is linked into it."""

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


class Linked(Compiler):
    """Numba's compiler with another library to put the code into."""

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *rest: Any) -> None:
        library = library or LinkedLibrary(targetctx.codegen(), "kernel")
        super().__init__(typingctx, targetctx, library, *rest)


PIPELINE = Linked if numba.version_info.short in TRIED else Compiler
