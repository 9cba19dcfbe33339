"""A GPU that is none: the CPU's driver behind the interface of the GPU's, for tensors on the CPU.

It shows what the code around a launch does, where nothing can be launched.
"""

from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest

import qpcore
from qpcore import Status, cpu, cpu_gradients, devices, libraries, plans
from qpcore.kernels.doubt import IN_DOUBT

STREAM = 7


def solved(*given):
    """As the CPU solves, but without doubts, which a GPU has none of."""
    found = cpu.solve(*given[:3], 1, *given[3:])
    found.status[found.status == IN_DOUBT] = Status.SOLVED
    return found


class PretendGPU:
    """What `gpu.py` offers to `there.py`; notes the device and the stream of every launch."""

    cuda = SimpleNamespace(to_device=lambda array: array)

    def __init__(self):
        self.launches = []
        self.graphs = []

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

        def work():
            found = solved(data, sizes, stages)
            for place, array in zip(result[:-1], found[:-1], strict=True):
                place[...] = array

        work()
        for graph in self.graphs:
            graph.works.append(work)

    def launch_adjoint(self, data, answer, right, derivative, sizes, rules, stream, workspace):
        self.note("adjoint", stream, data, answer, right, *derivative[:2], derivative[2:])
        box = slice(None) if sizes.rows > sizes.m else slice(0)
        answer, right = (v._replace(z_box=v.z_box[:, box]) for v in (answer, right))
        found = cpu_gradients.adjoint(data, sizes, rules, answer, right, 1)
        for places, arrays in zip(derivative[:2], found[:2], strict=True):
            for place, array in zip(places, arrays, strict=True):
                place[...] = array if array.shape == place.shape else 0
        derivative.certificate[...] = found.certificate

    def solve(self, data, sizes, stages, trace=False):
        return solved(data, sizes, stages, trace)

    def adjoint(self, data, sizes, rules, answer, cotangents):
        return cpu_gradients.adjoint(data, sizes, rules, answer, cotangents, 1)

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


class Graph:
    """A CUDA graph of launches."""

    def __init__(self):
        self.works = []

    def replay(self):
        for work in self.works:
            work()


class Event:
    """A moment on a stream; each comes a millisecond after the one before."""

    clock = count()

    def __init__(self, enable_timing=False):
        assert enable_timing

    def record(self):
        self.time = next(self.clock)

    def elapsed_time(self, other):
        return float(other.time - self.time)


class Stream:
    """A stream that is always at work."""

    cuda_stream = STREAM

    def wait_stream(self, other):
        assert isinstance(other, Stream)

    def synchronize(self):
        pass

    def query(self):
        return False


@pytest.fixture
def pretend_torch_cuda(pretend_gpu, monkeypatch):
    """torch.cuda as far as the benchmarks use it, for tensors that stay on the CPU."""
    import torch

    @contextmanager
    def within(entered):
        if isinstance(entered, Graph):
            pretend_gpu.graphs.append(entered)
        yield
        pretend_gpu.graphs.clear()

    def stay(make):
        return lambda *given, device=None, **more: make(*given, **more)

    facts = SimpleNamespace(name="Pretended GPU", multi_processor_count=1)
    stream = Stream()
    instead = {
        "is_available": lambda: True,
        "get_device_properties": lambda number: facts,
        "synchronize": lambda: None,
        "current_stream": lambda device=None: stream,
        "_sleep": lambda cycles: None,
        "set_sync_debug_mode": lambda mode: None,
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": Graph,
        "stream": within,
        "graph": within,
    }
    for name, value in instead.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("cuda", "to"):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *device: tensor)
    for name in ("randn", "empty"):
        monkeypatch.setattr(torch, name, stay(getattr(torch, name)))
    kernel = SimpleNamespace(
        get_regs_per_thread=lambda: {"signature": 168},
        get_local_mem_per_thread=lambda: {"signature": 144},
    )
    pretend_gpu.described = lambda number: plans.Device(1, plans.UNASKED)
    pretend_gpu.compiled = lambda task, shared: kernel
    monkeypatch.setattr(qpcore, "gpu", pretend_gpu, raising=False)
    return pretend_gpu
