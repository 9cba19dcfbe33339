"""The disk cache: used by later processes, stamped by all kernels; a long wait is announced."""

import subprocess
import sys
import time

from qpcore import compilation, cpu

START = """
import numpy as np, qpcore, time
qpcore.solve(np.eye(3), np.ones((9, 3)), lb=0.0)
print(time.process_time())
"""

FIRST_SOLVE = """
import numpy as np, qpcore
from qpcore import cpu
solution = qpcore.solve(np.eye(3), np.ones((9, 3)), lb=0.0)
qpcore.vjp(solution, dx=np.ones((9, 3)))
print(solution.solved.all(), sum(cpu.solve_range.stats.cache_misses.values()))
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


def test_the_cache_knows_all_sources():
    stamp = compilation.source_stamp("cpu.py")
    kernels = cpu.solve_range, cpu.differentiate_range, cpu.relax_range, cpu.outer_products
    for dispatcher in kernels:
        assert dispatcher._cache._cache_file._source_stamp == stamp


def test_a_long_compilation_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(compilation, "PATIENCE", 0.01)
    for _ in range(2):
        with compilation.announced(("a test", "float64")):
            time.sleep(0.1)
    assert capsys.readouterr().err.count("compiling its kernels") == 1
