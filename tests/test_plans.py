"""How a batch is launched on a GPU, and what is said where there is none."""

from importlib.util import find_spec

import numpy as np
import pytest

from qpcore import DeviceError, devices, handover, solve
from qpcore.kernels.workspace import elements
from qpcore.plans import MOST_LANES, THREADS, Device, places_of, plan
from qpcore.problem import Problem

H100 = Device(multiprocessors=132, shared=227 * 1024)


def planned(n, m, p, batch, dtype=np.float64, shared=False, device=H100):
    """The plan for a batch of problems of a size."""
    lead = () if shared else (batch,)
    Q, G, A = (np.zeros((*lead, k, n), dtype) for k in (n, m, p))
    q, h, b = (np.zeros((batch, k), dtype) for k in (n, m, p))
    problem = Problem.parse(Q, q, G, h, A, b)
    return plan(handover.data_of(problem), handover.sizes_of(problem), 0, device)


@pytest.mark.parametrize("size", [(1, 0, 0), (10, 10, 0), (32, 64, 8), (64, 20, 16), (100, 100, 0)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_problems_live_in_shared_memory(size, dtype):
    n, m, p = size
    chosen = planned(n, m, p, 7, dtype)
    itemsize = np.dtype(dtype).itemsize
    assert chosen.fits
    assert chosen.shared == itemsize * (elements(n, m, p, m) + places_of(itemsize)[2])
    assert chosen.shared <= H100.shared
    assert chosen.grid == 7


def test_large_problems_live_in_global_memory_a_row_a_block():
    chosen = planned(250, 250, 0, 10_000)
    assert not chosen.fits
    assert chosen.shared == 8 * places_of(8)[2]
    assert chosen.grid == H100.multiprocessors * (256 // chosen.threads)


def test_blocks_keep_matrices_that_a_batch_shares():
    chosen = planned(10, 10, 0, 10_000, shared=True)
    assert chosen.grid == 8 * H100.multiprocessors
    assert planned(10, 10, 0, 5, shared=True).grid == 5


def test_teams_are_whole_warps_that_scratch_has_room_for():
    sizes, threads = zip(*THREADS, strict=True)
    assert list(sizes) == sorted(sizes)
    assert sizes[-1] == float("inf")
    assert all(count % 32 == 0 and count <= MOST_LANES for count in threads)


@pytest.mark.skipif(find_spec("numba_cuda") is not None, reason="numba-cuda is installed")
def test_without_the_extra_the_error_says_what_to_install():
    with pytest.raises(DeviceError, match=r"pip install 'qpcore\[cuda\]'"):
        solve(np.eye(2), np.ones(2), device="cuda")


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_without_a_driver_the_error_says_what_to_install():
    if devices.obstacle() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match=r"driver|device"):
        solve(np.eye(2), np.ones(2), device="cuda")


def test_an_array_of_numpy_or_torch_on_the_cpu_is_not_on_a_gpu():
    torch = pytest.importorskip("torch")
    for value in (None, 1.0, [1.0], np.ones(1), torch.ones(1), torch.ones(1, requires_grad=True)):
        assert not devices.is_on_gpu(value)


class OnGPU:
    """An array of a library that says it lies on a CUDA device."""

    shape, ndim, dtype = (2, 2), 2, "float64"

    def __dlpack_device__(self):
        return 2, 0


def test_cuda_arrays_go_to_the_gpu_or_say_what_is_missing(monkeypatch):
    with pytest.raises(DeviceError):
        solve(OnGPU(), OnGPU())
    monkeypatch.setattr(devices, "gpu_driver", lambda: None)
    with pytest.raises(ValueError, match="torch, cupy, numba"):
        solve(OnGPU(), OnGPU())
    with pytest.raises(ValueError, match="device is 'cpu'"):
        solve(OnGPU(), OnGPU(), device="cpu")
