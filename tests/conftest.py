"""Fixtures of the tests, and who compiles what."""

import os
from pathlib import Path

import numpy as np
import pytest

from qpcore import cpu, solve, vjp

# What nearly every file needs, and takes most of the time of a run with an empty cache.
SHARES = [("float64", 2), ("float32", 2), ("float64", cpu.MOST_IN_PACKS + 1)]


def pytest_collection_finish():
    """Complain of a file that solves while it is imported: each worker imports all files."""
    if cpu.solve_range.signatures:
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
    for dtype, n in SHARES[number : number + 1]:
        eye, ones = np.eye(n, dtype=dtype), np.ones(n, dtype)
        vjp(solve(eye, -ones, eye, ones), dx=ones)


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
