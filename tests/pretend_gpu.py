"""A GPU that is none: the CPU's driver behind the interface of the GPU's, for tensors on the CPU.

It shows what the code around a launch does, where nothing can be launched.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from qpcore import Status, cpu, devices, libraries
from qpcore.kernels.doubt import IN_DOUBT

STREAM = 7


class PretendGPU:
    """What `gpu.py` offers to `there.py`; notes the device and the stream of every launch."""

    cuda = SimpleNamespace(to_device=lambda array: array)

    def __init__(self):
        self.launches = []

    @contextmanager
    def on_device(self, number):
        self.number = number
        yield number
        del self.number

    def stream_of(self, handle):
        return handle

    def view(self, tensor):
        return tensor.numpy()

    def launch_solve(self, data, result, sizes, stages, stream, workspace):
        self.note("solve", stream, data, result)
        found = cpu.solve(data, sizes, stages, 1)
        found.status[found.status == IN_DOUBT] = Status.SOLVED
        for place, array in zip(result[:-1], found[:-1], strict=True):
            place[...] = array

    def launch_adjoint(self, data, answer, right, derivative, sizes, rules, stream, workspace):
        self.note("adjoint", stream, data, answer, right, *derivative[:2], derivative[2:])
        box = slice(None) if sizes.rows > sizes.m else slice(0)
        answer, right = (v._replace(z_box=v.z_box[:, box]) for v in (answer, right))
        found = cpu.adjoint(data, sizes, rules, answer, right, 1)
        for places, arrays in zip(derivative[:2], found[:2], strict=True):
            for place, array in zip(places, arrays, strict=True):
                place[...] = array if array.shape == place.shape else 0
        derivative.certificate[...] = found.certificate

    def note(self, task, stream, *groups):
        assert all(array.flags.c_contiguous for group in groups for array in group)
        self.launches.append((task, self.number, stream))


@pytest.fixture
def pretend_gpu(monkeypatch):
    """Let every tensor pass for one that lies on a GPU."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
    driver = PretendGPU()
    monkeypatch.setattr(devices, "gpu_driver", lambda: driver)
    monkeypatch.setattr(devices, "is_on_gpu", lambda value: isinstance(value, torch.Tensor))
    monkeypatch.setattr(libraries.Torch, "stream", lambda library: STREAM)
    return driver
