"""Fixtures of the tests, and who compiles what."""

import gc
import os
from pathlib import Path

# Before anything loads them: the threads of BLAS and torch, one for each core in each of pytest's
# processes, spin on each other's cores. On two of them a test of SciPy's methods took fifty times
# as long. Tests of torch's own threads ask for them.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import pytest
from numba import typeof

from qpcore import Settings, Untrusted, compilation, cpu, cpu_gradients, loops, solve, threads, vjp
from qpcore.kernels.sift import LEAST_SIFTED

# Compilation makes so many objects that last that looking for dead ones took 8 % of its time.
gc.set_threshold(20_000, 10, 10)

# What each of two workers compiles before its first test, half of the work of a run with an empty
# cache: dtype, number of variables, the way a problem goes. Kernels are shared by all that one
# process compiles for a dtype and a kind of size, except most of the dual form's, whose arrays lie
# otherwise. Seconds of the processor: 16 for the first way of a dtype and kind, 8 for gradients, 14
# for the dual form (18 where nothing is shared), 5 for any other loop; so 68 and 83. The last part
# is for a test late in the second worker's first file; meanwhile the first one begins with others.
LARGE = cpu.MOST_IN_PACKS + 1
SHARES = [
    [
        ("float64", 2, "interior"),
        ("float64", 2, "smooth"),
        ("float64", 2, "bounds"),
        ("float64", 2, "many rows"),
        ("float64", 2, "dual"),
        ("float32", 2, "dual"),
    ],
    [
        ("float32", 2, "interior"),
        ("float32", 2, "bounds"),
        ("float64", 2, "mixed"),
        ("float64", LARGE, "interior"),
        ("float64", LARGE, "bounds"),
        ("float64", LARGE, "many rows"),
        ("float64", LARGE, "dual"),
    ],
]
WITH_GRADIENTS = "interior", "smooth", "many rows"
SETTINGS = {"smooth": Settings(untrusted=Untrusted.SMOOTH), "mixed": Settings(precision="mixed")}


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
    for share in SHARES[number : number + 1]:
        for part in share:
            compile_for(*part)


def compile_for(dtype, n, way):
    """Solve one problem this way, and differentiate where its gradients have code of their own.

    The constraints are active without multipliers, so that the derivative is not trusted.
    """
    eye, ones = np.eye(n, dtype=dtype), np.ones(n, dtype)
    many = max(LEAST_SIFTED, 2 * n)
    constraints = {
        "bounds": {"ub": ones},
        "dual": {"G": eye[:1], "h": ones[:1]},
        "many rows": {"G": np.resize(eye, (many, n)), "h": np.ones(many, dtype)},
    }.get(way, {"G": eye[:1], "h": ones[:1], "ub": ones})
    solution = solve(eye, -ones, **constraints, settings=SETTINGS.get(way, Settings()))
    if way in WITH_GRADIENTS or (way, n) == ("dual", LARGE):
        vjp(solution, dx=ones)


@pytest.fixture(autouse=True)
def threads_wake_for_anything(monkeypatch):
    """Tests are about small batches, for which a second thread would not be woken."""
    monkeypatch.setattr(threads, "WORTH_SHARING", 1e-3)
    monkeypatch.setattr(threads, "WORTH_WAKING", 1e-3)


signatures = {}


@pytest.fixture(autouse=True)
def compiled_code_gets_what_it_was_compiled_for(monkeypatch):
    """`compilation.call` does not look at types: with others memory would be overwritten."""

    def checked(dispatcher, kind, *arguments):
        signature = tuple(compilation.writable(typeof(argument)) for argument in arguments)
        assert signatures.setdefault(kind, signature) == signature
        compilation.call(dispatcher, kind, *arguments)
        assert signature in dispatcher.overloads

    for driver in (cpu, cpu_gradients):
        monkeypatch.setattr(driver, "call", checked)


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
