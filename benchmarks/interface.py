"""What the benchmark asks of a solver, and what it gets."""

from __future__ import annotations

import importlib
import os
from importlib import metadata, util
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workloads import Data

TOLERANCE = 1e-8


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Answer(NamedTuple):
    """What a solver returns for a batch; multipliers in the signs of `qpcore.Solution`."""

    x: np.ndarray
    """(B, n)"""
    solved: np.ndarray
    """(B) bool, what the solver says of itself."""
    z: np.ndarray | None = None
    """(B, m) multipliers of Gx <= h; this and the next two None where the solver keeps them."""
    y: np.ndarray | None = None
    """(B, p) multipliers of Ax = b."""
    z_box: np.ndarray | None = None
    """(B, n) multipliers of the bounds: >= 0 at ub, <= 0 at lb."""
    gradients: dict[str, np.ndarray] | None = None
    """By the name of the argument, in the shapes of `Data`; what a solver does not offer is not
    there."""
    iterations: np.ndarray | None = None
    """(B) iterations, of ours."""


class Packaged:
    """What runs only where some packages are installed."""

    packages: tuple[str, ...] = ()
    """What must be importable, and whose versions are reported."""

    def missing(self) -> str | None:
        """Why this cannot run here, or None if it can."""
        absent = [name for name in self.packages if util.find_spec(name) is None]
        return f"{', '.join(absent)} not installed" if absent else None

    def versions(self) -> dict[str, str]:
        """Version of each package."""
        return {name: _version(name) for name in self.packages}


class Peer(Packaged):
    """A solver as the benchmark sees it: prepare once, then forward or forward_backward, timed."""

    differentiable = False

    probed = False
    """Whether one batch may take it minutes; it then gets only as many problems as it can do in
    seconds."""

    def __init__(self, name: str, threads: int = 1, pools: int = 1, against: str = "") -> None:
        self.name = name
        self.threads = threads
        """Threads or processes that work on the batch."""
        self.pools = pools
        """Threads that OpenMP, BLAS, torch and the like may use in each of them."""
        self.against = against
        """The peer whose time this one's is divided by: ours, with the same cores."""

    def prepare(self, data: Data) -> Any:
        """Bring the problems into the solver's own layout; not timed."""
        return data

    def forward(self, ready: Any) -> Any:
        """Solve the batch."""
        raise NotImplementedError

    def forward_backward(self, ready: Any, dx: np.ndarray) -> Any:
        """Solve the batch and pull the cotangent of x back to the data."""
        raise NotImplementedError

    def read(self, data: Data, found: Any) -> Answer:
        """Make an Answer of what forward or forward_backward returned; not timed."""
        return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return getattr(importlib.import_module(package), "__version__", "unknown")
