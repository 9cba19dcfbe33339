"""Fixtures of the tests, and who compiles what."""

import os
from pathlib import Path

# Before anything loads them: the threads of BLAS and torch, one for each core in each of pytest's
# processes, spin on each other's cores. On two of them a test of SciPy's methods took fifty times
# as long. Tests of torch's own threads ask for them.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import pytest

from qpcore import Settings, Untrusted, cpu, loops, solve, threads, vjp

# Code that many files need, and that takes most of the time of a run with an empty cache. What is
# compiled in one process shares kernels.
SHARES = [
    ("float64", 2, Untrusted.SMOOTH),
    ("float32", 2, Untrusted.LEAVE),
    ("float64", cpu.MOST_IN_PACKS + 1, Untrusted.LEAVE),
]


def pytest_collection_finish():
    """Complain of a file that solves while it is imported: each worker imports all files."""
    if loops.solve_range.signatures:
        raise pytest.UsageError("a test file solves outside of its tests, while it is imported")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Let each of several workers compile something else before its first test.

    One that came to code which another compiles would have to wait for it. A few chosen tests
    compile what they need.
    """
    if len(session.items) < 1000:
        return
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw"))
    for dtype, n, untrusted in SHARES[number : number + 1]:
        eye, ones = np.eye(n, dtype=dtype), np.ones(n, dtype)
        # The constraints are active without multipliers, so that the derivative is not trusted, and
        # twice, so that they are too many rows for the dual form.
        G, h = np.tile(eye, (2, 1)), np.tile(ones, 2)
        solution = solve(eye, -ones, G, h, settings=Settings(untrusted=untrusted))
        vjp(solution, dx=ones)


@pytest.fixture(autouse=True)
def threads_wake_for_anything(monkeypatch):
    """Tests are about small batches, for which a second thread would not be woken."""
    monkeypatch.setattr(threads, "WORTH_WAKING", 1e-3)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real and nasty problems that lies beside a checkout of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the problem collection in ../shared/data, absent here")
    return folder


@pytest.fixture
def one_torch_thread():
    """Small tensors gain nothing from torch's threads, which spin on the cores of qpcore's."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
