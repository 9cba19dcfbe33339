"""``python -m qpcore``: what is installed here, and compilation ahead of the first solve."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import product
from time import perf_counter
from typing import Any

import llvmlite.binding as llvm
import numpy as np

import qpcore
from qpcore import cpu
from qpcore.compilation import cache_files, cache_folder
from qpcore.devices import obstacle
from qpcore.kernels.pack import PACK_BYTES
from qpcore.kernels.sift import LEAST_SIFTED
from qpcore.settings import THREADS_VARIABLE

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "torch", "numba-cuda")

# What the processor computes at once, by a feature that LLVM knows; the widest first.
VECTORS = {"avx512f": "AVX-512, 512", "avx2": "AVX2, 256", "sve": "SVE", "neon": "NEON, 128"}

SIZES = {"packs of small problems": 2, "large problems": cpu.MOST_IN_PACKS + 1}
"""Number of variables of a problem of each kind for which code is compiled."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(prog="python -m qpcore", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions, threads, vector width, cache and GPU")
    commands.add_parser("warmup", help="compile for all dtypes and sizes, so that no solve has to")
    command = parser.parse_args(arguments).command
    if command == "info":
        rows = list(info())
        width = max(len(label) for label, _ in rows) + 2
        print("\n".join(f"{label:{width}}{text}" for label, text in rows))
    else:
        warmup()


def info() -> Iterator[tuple[str, str]]:
    """Yield labels and what they say of this installation and machine."""
    yield "qpcore", qpcore.__version__
    yield "python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    for package in PACKAGES:
        yield package, _version(package)
    threads, variable = qpcore.Settings().thread_count(), os.environ.get(THREADS_VARIABLE)
    yield "threads", f"{threads}, {THREADS_VARIABLE} is {variable or 'not set'}"
    features = llvm.get_host_cpu_features()
    vector = next((text for name, text in VECTORS.items() if features.get(name)), "unknown")
    yield "processor", llvm.get_host_cpu_name()
    yield (
        "vectors",
        f"{vector} bits; a pack holds {PACK_BYTES // 8} float64, {PACK_BYTES // 4} float32",
    )
    files = cache_files()
    size = sum(path.stat().st_size for path in files) / 2**20
    yield "cache", f"{cache_folder()}, {len(files)} files, {size:.0f} MB"
    yield "GPU", gpu()


def gpu() -> str:
    """The devices that solve may use, or what is missing for one."""
    missing = obstacle()
    if missing:
        return f"none: {missing}"
    from numba import cuda

    names = [device.name for device in cuda.gpus]  # bytes in some versions of numba-cuda
    return ", ".join(name.decode() if isinstance(name, bytes) else name for name in names)


def warmup() -> None:
    """Compile all that solve and vjp may need, with a line on each part."""
    print(f"Cache: {cache_folder()}")
    parts = list(product((np.float64, np.float32), SIZES.items()))
    for number, (dtype, (kind, n)) in enumerate(parts, 1):
        print(f"{number} of {len(parts)}: {np.dtype(dtype).name}, {kind} ...", end=" ", flush=True)
        start = perf_counter()
        for arguments in ways(n, np.dtype(dtype)):
            solution = qpcore.solve(**arguments)
            qpcore.vjp(solution, dx=np.ones(n, dtype))
        print(f"{perf_counter() - start:.1f} s", flush=True)
    print("Ready: solve and vjp load what they need from the cache.")


def ways(n: int, dtype: np.dtype) -> Iterator[dict[str, Any]]:
    """Yield arguments of solve for every way that a problem of n variables may take.

    Few rows, bounds, and many rows of G: two active set methods, and the interior-point method from
    the start and from a guess in float32. Few and many rows also go different ways backward, and
    so do solves that keep their factors.
    """
    eye, ones, many = np.eye(n, dtype=dtype), np.ones(n, dtype), max(LEAST_SIFTED, 2 * n)
    given = {"Q": eye, "q": -ones}
    rows = {"G": np.resize(eye, (many, n)), "h": np.ones(many, dtype)}
    few = given | {"G": eye[:1], "h": ones[:1]}
    yield few
    yield few | {"keep_factors": True}
    yield given | {"ub": ones}
    yield given | rows
    yield given | rows | {"settings": qpcore.Settings(precision="mixed")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
