"""The disk cache: filled once by processes that start together, used by later ones, stamped by all
kernels; a long wait is announced.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from numba import njit

from qpcore import compilation, gradient_loops, loops
from qpcore.kernels import linked
from qpcore.kernels.machine import kernel

START = """
import numpy as np, qpcore, time
qpcore.solve(np.eye(3), np.ones((9, 3)), lb=0.0)
print(time.process_time())
"""

FIRST_SOLVE = """
import numpy as np, qpcore
from qpcore import gradient_loops, loops
solution = qpcore.solve(np.eye(3), np.ones((9, 3)), lb=0.0)
qpcore.vjp(solution, dx=np.ones((9, 3)))
misses = [loops.solve_active_sets.stats, gradient_loops.differentiate_range.stats]
print(solution.solved.all(), sum(sum(stats.cache_misses.values()) for stats in misses))
"""


def test_a_later_process_compiles_nothing():
    command = [sys.executable, "-c", FIRST_SOLVE]
    subprocess.run(command, check=True, capture_output=True)
    second = subprocess.run(command, check=True, capture_output=True, text=True)
    assert second.stdout.split() == ["True", "0"]
    assert "compiling" not in second.stderr


def test_import_and_first_solve_take_a_second_and_a_half():
    # Seconds of the processor, interpreter included: those of the clock tell who else is at work.
    command = [sys.executable, "-c", START]
    subprocess.run(command, check=True, capture_output=True)
    seconds = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 1.5


# As with a version of Numba that `kernels/linked.py` was not tried with.
UNTRIED = """
import warnings
from types import SimpleNamespace
import numba, numpy as np
numba.version_info = SimpleNamespace(short=(0, 61))
warnings.simplefilter("error")
from qpcore import cpu_gradients, gradient_loops
from qpcore.kernels import linked
out, ones = np.empty((3, 2, 2)), np.ones((3, 2))
cpu_gradients.outer([(out, cpu_gradients.Factors(0.5, ones, ones, ones, ones))], 1)
stats = gradient_loops.outer_products.stats
print(linked.KERNELS.__name__, (out == 1).all(), len(stats.cache_hits), len(stats.cache_misses))
"""


def test_code_compiled_in_the_usual_way_is_cached_too(tmp_path):
    # a loop is handed to `crew.together`; where its address was read, Numba cached nothing
    command = [sys.executable, "-c", UNTRIED]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for hits, misses in (("0", "1"), ("1", "0")):
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert ran.stdout.split() == ["Compiler", "True", hits, misses]


SMALL = """
from qpcore.compilation import compiled

@compiled
def twice(x):
    return x + x
"""

# Processes wait for each other, then call the function for all types.
TOGETHER = """
import sys, time
from pathlib import Path
import numpy as np
from small import twice
number, count = map(int, sys.argv[1:])
Path(f"ready{number}").touch()
while len(list(Path().glob("ready*"))) < count:
    time.sleep(0.001)
types = [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64]
shift = 3 * (number % 2)  # of half of the processes, which thus save at the same time as the others
print(*(twice(t(number)) == 2 * number for t in types[shift:] + types[:shift]))
print(*twice.stats.cache_misses.values())
"""


@pytest.mark.skipif(os.name == "nt", reason="on Windows processes do not wait for each other")
def test_processes_that_start_together_compile_once(tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": path}

    def lines(number):
        command = [sys.executable, "-c", TOGETHER, str(number), "4"]
        kept = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "text": True}
        return subprocess.run(command, check=True, timeout=120, **kept).stdout.splitlines()

    with ThreadPoolExecutor(4) as callers:
        rights, misses = zip(*callers.map(lines, range(4)), strict=True)
    assert set(rights) == {"True True True True True True"}
    assert sum(len(missed.split()) for missed in misses) == 6
    assert lines(4) == [rights[0], ""]  # nothing was lost


def test_a_lock_is_given_back_and_not_waited_for_forever(tmp_path, monkeypatch):
    lock = tmp_path / "new folder" / "lock"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), compilation.alone(lock):
            raise ZeroDivisionError
    with compilation.alone(lock):
        monkeypatch.setattr(compilation, "LONGEST_WAIT", 0.2)
        start = time.monotonic()
        with compilation.alone(lock):
            waited = time.monotonic() - start
    assert (waited > 0.2) == (compilation.fcntl is not None)


def test_work_is_done_where_no_lock_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    done = []
    with compilation.alone(tmp_path / "file" / "lock"):
        done.append(True)
    assert done


def test_kernels_have_no_machine_code_and_drivers_have_theirs():
    @kernel
    def square(x):
        return x * x

    @kernel
    def polynomial(x):
        return square(x) + x + 1

    @njit
    def driver(x):
        return polynomial(x)

    assert driver(3.0) == 13
    for function, has_code in ((square, False), (polynomial, False), (driver, True)):
        (result,) = function.overloads.values()
        engine = driver.targetctx.codegen()._engine
        assert engine.is_symbol_defined(result.fndesc.llvm_func_name) == has_code


def test_other_code_does_not_call_a_kernel_as_a_driver_made_it_for_itself(monkeypatch):
    # a driver drops the first argument, and is told to copy no function; others find this one long
    chain = "abs(x * " * 80 + "x" + ")" * 80
    long = kernel(eval(f"lambda unused, x: {chain}"))

    def call(x):
        return long(100.0, x) - long(100.0, 2 * x)

    monkeypatch.setattr(linked, "LARGE", 0)
    driver, other = njit(call, pipeline_class=linked.DRIVERS), njit(call)
    expected = 0.9**81 - 1.8**81
    assert [driver(0.9), other(0.9)] == pytest.approx([expected] * 2)


def test_the_cache_knows_all_sources():
    stamp = compilation.source_stamp(*compilation.LOOPS)
    solves = loops.solve_range, loops.relax_range
    kernels = *solves, gradient_loops.differentiate_sifted, gradient_loops.outer_products
    for dispatcher in kernels:
        assert dispatcher._cache._cache_file._source_stamp == stamp


def test_a_long_compilation_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(compilation, "PATIENCE", 0.01)
    for _ in range(2):
        with compilation.announced(("a test", "float64")):
            time.sleep(0.1)
    assert capsys.readouterr().err.count("compiling its kernels") == 1
