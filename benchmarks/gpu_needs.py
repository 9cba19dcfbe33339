"""What the GPU's kernels need of a GPU: registers, stack, spills, shared memory, instructions.

``python -m benchmarks.gpu_needs`` compiles them, without a GPU, and writes the table that
`tests/test_ptx.py` holds later versions to. Needs qpcore[cuda].
"""

from __future__ import annotations

import argparse
import csv
from itertools import product
from pathlib import Path
from time import perf_counter

TABLE = Path(__file__).parent / "results" / "gpu-needs.csv"

# What is compiled for the oldest serves all: later ones are linked from it.
OLDEST = (8, 0)
ARCHITECTURES = ((8, 0), (9, 0), (12, 0))

KERNELS = tuple(product(("differentiate", "solve"), (True, False), ("float64", "float32")))
"""Task, whether the workspace is in shared memory, dtype."""

HEADER = ("task", "memory", "dtype", "sm", "registers", "stack", "spilled", "shared", "bytes")


def main() -> None:
    """Compile and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_needs", description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write (%(default)s)")
    out = parser.parse_args().out
    table = []
    for kernel in KERNELS:
        start = perf_counter()
        table += rows(*kernel)
        print(*kernel, f"{perf_counter() - start:.0f} s", flush=True)
        with out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *table])


def rows(task: str, shared: bool, dtype: str) -> list[tuple]:
    """A row of the table for each architecture."""
    from qpcore.ptx import compile_ltoir, link

    code, found = compile_ltoir(task, shared, dtype, OLDEST), []
    for cc in ARCHITECTURES:
        cubin, needs = link(code, cc)
        memory = "shared" if shared else "global"
        found.append((task, memory, dtype, f"{cc[0]}{cc[1]}", *needs, len(cubin)))
    return found


if __name__ == "__main__":
    main()
