"""The GPU's kernels compile without a GPU, to what the committed table says they need of one."""

import csv
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from benchmarks.gpu_needs import ARCHITECTURES, HEADER, KERNELS, PTX_FOR, TABLE

needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: make gpu-env"
)

# The rest takes minutes.
FIRST = [("differentiate", True, "float64"), ("solve", True, "float64")]
EACH = [
    pytest.param(*kernel, marks=() if kernel in FIRST else pytest.mark.slow) for kernel in KERNELS
]

# The hardware's limits: registers of a thread; static and dynamic shared memory together are
# chosen by `plans`, so static memory must leave nearly all of 48 KiB.
MOST_REGISTERS, MOST_STATIC = 255, 4096


@cache
def compiled(task, shared, dtype):
    """PTX of a kernel."""
    from qpcore.ptx import compile_ptx

    return compile_ptx(task, shared, dtype, PTX_FOR)


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
@pytest.mark.parametrize(("task", "shared", "dtype"), EACH)
def test_a_kernel_is_whole_and_in_its_own_precision(task, shared, dtype):
    ptx = compiled(task, shared, dtype)
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


@needs_numba_cuda
@pytest.mark.parametrize(("task", "shared", "dtype"), EACH)
def test_a_kernel_needs_no_more_than_the_table_says(task, shared, dtype):
    from qpcore.ptx import link

    for cc in ARCHITECTURES:
        cubin, needs = link(compiled(task, shared, dtype), cc)
        assert cubin.startswith(b"\x7fELF")
        key = task, "shared" if shared else "global", dtype, f"{cc[0]}{cc[1]}"
        allowed = table()[key]
        found = dict(zip(needs._fields, needs, strict=True))
        assert all(a <= b for a, b in zip(needs, allowed, strict=True)), (key, found, allowed)
        assert 0 < needs.registers <= MOST_REGISTERS
        assert 0 < needs.shared <= MOST_STATIC


@needs_numba_cuda
def test_a_kernel_is_kept_on_disk_under_the_sources_of_all_kernels():
    from qpcore import gpu
    from qpcore.compilation import source_stamp

    for kernel in KERNELS:
        cache = gpu.compiled(*kernel[:2])._cache
        assert cache._cache_file._source_stamp == source_stamp("blocks.py", "plans.py")


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
        "sys.exit(any(f'qpcore.{m}' in sys.modules for m in ('gpu', 'blocks', 'ptx')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
