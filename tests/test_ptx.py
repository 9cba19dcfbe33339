"""The GPU's kernels compile without a GPU, to what the committed table says they need of one."""

import csv
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from benchmarks.gpu_needs import ARCHITECTURES, HEADER, KERNELS, OLDEST, TABLE

needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: make gpu-env"
)

# The rest takes minutes: some twenty seconds a kernel, and again for each architecture.
FIRST = [("differentiate", True, "float64"), ("solve", True, "float64")]
PTX_FIRST = [("solve", True, "float32")]

# The hardware's limit, and what the workspace must leave beside it.
MOST_REGISTERS, MOST_STATIC = 255, 0


def each(first):
    """Every kernel; all but the first are slow. One process compiles it for all its tests."""
    found = []
    for kernel in KERNELS:
        marks = [] if kernel in first else [pytest.mark.slow]
        found.append(pytest.param(*kernel, marks=[*marks, pytest.mark.xdist_group(str(kernel))]))
    return found


@cache
def ltoir(task, shared, dtype):
    """A kernel for nvJitLink; one of them for all architectures."""
    from qpcore.ptx import compile_ltoir

    return compile_ltoir(task, shared, dtype, OLDEST)


@cache
def table():
    """What each kernel needed when the table was written."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    numbers = ("registers", "stack", "spilled", "shared")
    return {
        (row["task"], row["memory"], row["dtype"], row["sm"]): [int(row[k]) for k in numbers]
        for row in rows
    }


def instructions(ptx):
    """Opcodes of a PTX file, as add.f64."""
    return re.findall(r"^\s+(?:@!?%\w+ )?([a-z]\w*(?:\.\w+)*)\b", ptx, re.MULTILINE)


@needs_numba_cuda
@pytest.mark.parametrize(("task", "shared", "dtype"), each(PTX_FIRST))
def test_a_kernel_is_whole_and_in_its_own_precision(task, shared, dtype):
    from qpcore.ptx import compile_ptx

    ptx = compile_ptx(task, shared, dtype, OLDEST)
    opcodes = instructions(ptx)
    assert ptx.count(".entry") == 1
    # Nothing is left to be found at run time.
    assert not re.findall(r"^\.extern \.func", ptx, re.MULTILINE)
    assert "bar.sync" in opcodes
    own, other = (".f32", ".f64") if dtype == "float32" else (".f64", ".f32")
    assert {f"fma.rn{own}", f"sqrt.rn{own}"} <= set(opcodes)
    # Not even a conversion or a comparison in the other precision.
    assert not {opcode for opcode in opcodes if other in opcode}
    assert ("ld.shared" + own in opcodes) or not shared
    # A GPU has no instruction to divide integers: a loop by the width of a team once began so.
    assert not {opcode for opcode in opcodes if re.match(r"(div|rem)\.[us]", opcode)}


@needs_numba_cuda
@pytest.mark.parametrize("cc", ARCHITECTURES)
@pytest.mark.parametrize(("task", "shared", "dtype"), each(FIRST))
def test_a_kernel_needs_no_more_than_the_table_says(task, shared, dtype, cc):
    from qpcore.ptx import link

    cubin, needs = link(ltoir(task, shared, dtype), cc)
    assert cubin.startswith(b"\x7fELF")
    key = task, "shared" if shared else "global", dtype, f"{cc[0]}{cc[1]}"
    allowed, found = table()[key], dict(zip(needs._fields, needs, strict=True))
    assert all(a <= b for a, b in zip(needs, allowed, strict=True)), (key, found, allowed)


def test_no_kernel_spills():
    assert len(table()) == len(ARCHITECTURES) * len(KERNELS)
    for key, (registers, _, spilled, static) in table().items():
        assert 0 < registers <= MOST_REGISTERS, key
        assert spilled == 0, key
        assert static <= MOST_STATIC, key


@needs_numba_cuda
def test_a_kernel_is_kept_on_disk_under_the_sources_of_all_kernels():
    from qpcore import gpu
    from qpcore.compilation import source_stamp

    assert {f"{name}.py" for name in ("blocks", "counting", "instead", "phases")} < set(gpu.SOURCES)
    stamp = source_stamp(*gpu.SOURCES)
    for kernel in KERNELS:
        assert gpu.compiled(*kernel[:2])._cache._cache_file._source_stamp == stamp


NEEDS_LOG = """
ptxas info    : Function properties for phase
ptxas         .     0 bytes stack frame, 8 bytes spill stores, 24 bytes spill loads
ptxas info    : Compiling entry function 'solve' for 'sm_90'
ptxas info    : Function properties for solve
ptxas         .     96 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 240 registers, used 1 barriers, 112 bytes cumulative stack size, 64 bytes smem
"""


@needs_numba_cuda
def test_every_spill_of_every_function_counts():
    from qpcore.ptx import Needs, needs

    assert needs(NEEDS_LOG) == Needs(registers=240, stack=112, spilled=36, shared=64)


class Kernel:
    """A kernel as far as `permit` looks at it."""

    def __init__(self):
        function = SimpleNamespace(handle="handle")
        self._codelibrary = SimpleNamespace(get_cufunc=lambda: function)

    def typeof_pyval(self, value):
        return type(value)

    def compile(self, signature):
        assert signature == (int, float)
        return self


@needs_numba_cuda
def test_the_driver_is_asked_for_more_shared_memory_when_more_is_needed(monkeypatch):
    from cuda.bindings import driver

    from qpcore import gpu

    asked, kernel = [], Kernel()
    answers = [driver.CUresult.CUDA_SUCCESS] * 2 + [driver.CUresult.CUDA_ERROR_INVALID_VALUE]

    def set_attribute(attribute, size, handle, number):
        assert attribute.name == "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES"
        asked.append((size, handle, number))
        return (answers[len(asked) - 1],)

    monkeypatch.setattr(driver, "cuKernelSetAttribute", set_attribute)
    for size in (1000, 48 * 1024, 60_000, 50_000, 90_000, 60_000):
        gpu.permit(kernel, 1, size, (3, 4.0))
    assert asked == [(60_000, "handle", 1), (90_000, "handle", 1)]
    with pytest.raises(RuntimeError, match="200000 bytes"):
        gpu.permit(kernel, 1, 200_000, (3, 4.0))


def test_the_table_has_every_kernel_on_every_architecture():
    memory = {True: "shared", False: "global"}
    expected = {
        (task, memory[shared], dtype, f"{cc[0]}{cc[1]}")
        for task, shared, dtype in KERNELS
        for cc in ARCHITECTURES
    }
    assert set(table()) == expected


def test_qpcore_does_not_import_its_gpu_part():
    program = (
        "import sys, qpcore; "
        "sys.exit(any(f'qpcore.{m}' in sys.modules for m in ('gpu', 'blocks', 'phases', 'ptx')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
