"""The GPU's kernels compile to PTX on a machine without a GPU."""

import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from qpcore.stages import STAGES

needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install qpcore[cuda]"
)

# Factoring a matrix alone takes thousands of instructions.
LEAST_LINES = 5000


@cache
def compiled(kernel, dtype, cc):
    """PTX of a kernel; the second capability takes half as long as the first."""
    from qpcore.gpu import compile_ptx

    return compile_ptx(kernel, dtype, cc, stages=len(STAGES[np.dtype(dtype)]))


def instructions(ptx):
    """Opcodes of a PTX file, as add.f64."""
    return re.findall(r"^\s+(?:@!?%\w+ )?([a-z]\w*(?:\.\w+)*)\b", ptx, re.MULTILINE)


@needs_numba_cuda
@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "kernel", ["differentiate_block", pytest.param("solve_block", marks=pytest.mark.slow)]
)
def test_a_kernel_compiles_whole_and_in_its_own_precision(kernel, dtype, cc):
    ptx = compiled(kernel, dtype, cc)
    opcodes = instructions(ptx)
    assert f".target sm_{cc[0]}{cc[1]}" in ptx
    assert ptx.count(".entry") == 1
    assert len(opcodes) > LEAST_LINES
    assert "bar.sync" in opcodes
    own, other = (".f32", ".f64") if dtype == "float32" else (".f64", ".f32")
    assert {f"fma.rn{own}", f"sqrt.rn{own}"} <= set(opcodes)
    # Not even a conversion or a comparison in the other precision.
    assert not {opcode for opcode in opcodes if other in opcode}


def test_qpcore_does_not_import_its_gpu_part():
    program = "import sys, qpcore; sys.exit('qpcore.gpu' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
