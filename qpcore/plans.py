"""How a batch is launched on a GPU: blocks, threads of each, and where its workspace is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qpcore.kernels.workspace import Data, Sizes, elements

# The most threads that a block may have.
MOST_LANES = 256

# How many lanes add up parts of a reduction; every lane then adds these.
PARTS = 8

# At the head of a block's dynamic shared memory: 64-bit integers, sizes and whole parameters; then
# numbers of the problem's dtype, other parameters; then scratch for reductions, a value of each
# lane and the parts. The workspace follows if it fits.
HEADER, NUMBERS, SCRATCH = 16, 16, MOST_LANES + PARTS

# Threads of a block, for problems of up to so many variables and equations together. By reasoning,
# not yet by measurement (benchmarks/results/gpu-model.md): enough lanes for a row each, as few
# idle ones as possible in triangular solves.
THREADS = ((16, 32), (48, 64), (80, 128), (float("inf"), MOST_LANES))

# Threads at a time on a multiprocessor, whose 65536 registers give each of them the most it may
# have. Only how many blocks are resident in global memory, or share matrices, depends on it.
RESIDENT_THREADS = 256

# What a kernel may have of shared memory without asking.
UNASKED = 48 * 1024


class Device(NamedTuple):
    """What a choice depends on."""

    multiprocessors: int
    shared: int
    """Bytes of shared memory that a block may ask for."""


class Plan(NamedTuple):
    """How a batch is launched."""

    grid: int
    threads: int
    fits: bool
    """Whether the workspace is in shared memory."""
    shared: int
    """Bytes of dynamic shared memory."""
    elements: int
    """Size of a block's workspace."""


def plan(data: Data, sizes: Sizes, traced: int, device: Device) -> Plan:
    """Workspace in shared memory while it fits; a block for each problem.

    Blocks take several problems, one after another, where they have memory of their own in global
    memory, or where the batch shares its matrices, which a block then scales once.
    """
    itemsize, batch = np.dtype(data.q.dtype).itemsize, data.entry.shape[1]
    threads = next(threads for most, threads in THREADS if sizes.n + sizes.p <= most)
    count = elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced)
    head = places_of(itemsize)[2] * itemsize
    need = count * itemsize + head
    fits = need <= device.shared
    resident = max(1, RESIDENT_THREADS // threads)
    if fits:
        resident = max(1, min(resident, device.shared // need))
    shares = max(len(M) for M in (data.Q, data.G, data.A)) == 1
    grid = min(batch, resident * device.multiprocessors) if shares or not fits else batch
    return Plan(grid, threads, fits, need if fits else head, count)


def places_of(itemsize: int) -> tuple[int, int, int]:
    """Where numbers, scratch and workspace begin in shared memory, counted in numbers."""
    first = 8 * HEADER // itemsize
    return first, first + NUMBERS, first + NUMBERS + SCRATCH
