"""Checks of `gpu_check` that measure: ceilings of the machine, our times, those of peers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from statistics import median
from subprocess import PIPE, Popen
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.gpu_right import Skipped, data_of
from benchmarks.gpu_workloads import BARS, GRID, QUICK, TIMED
from benchmarks.machine import machine
from qpcore import Settings, solve, vjp

TOLERANCE = 1e-8
REPEATS = 7

# Rows of the matrices whose product shows how fast float64 goes.
LARGE = 4096


def torch_on(device: str) -> Any:
    """Torch with a GPU."""
    torch = importlib.import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise Skipped("torch sees no CUDA device")
    return torch


def describe(device: str) -> dict:
    """Names and versions."""
    found = machine()
    if device == "cuda":
        torch = torch_on(device)
        facts = torch.cuda.get_device_properties(0)
        found |= {"gpu": facts.name, "multiprocessors": facts.multi_processor_count}
        found |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    return found


def compile_seconds(device: str) -> list[dict]:
    """The first launch of each kernel that later checks use: compiled, or loaded from the cache.

    In processes side by side, which leave what they compile on disk: one after another these take
    half of the script's time.
    """
    jobs = [(0, "float64"), (0, "float32"), (len(GRID) - 1, "float64")]
    return [
        {"size": GRID[index].name, "dtype": dtype} | found
        for (index, dtype), found in zip(jobs, side_by_side(jobs, device), strict=True)
    ]


def first_launch(index: int, dtype: str, device: str) -> dict:
    """Seconds of the first solve, and of the first vjp."""
    start = perf_counter()
    solution = solve(**data_of(GRID[index], dtype), device=device)
    middle = perf_counter()
    vjp(solution, dx=np.ones_like(solution.x))
    return {"solve s": middle - start, "vjp s": perf_counter() - middle}


def side_by_side(jobs: list[tuple[int, str]], device: str) -> list[dict]:
    """`first_launch` of each job in a process of its own."""
    script = (
        "import json, sys; from benchmarks.gpu_speed import first_launch; "
        "print(json.dumps(first_launch(int(sys.argv[1]), *sys.argv[2:])))"
    )
    commands = [[sys.executable, "-c", script, str(index), dtype, device] for index, dtype in jobs]
    children = [Popen(command, stdout=PIPE, stderr=PIPE, text=True) for command in commands]
    found = []
    for child in children:
        out, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors[-2000:]
        found.append(json.loads(out.splitlines()[-1]))
    return found


def seconds(work: Callable[[], Any], device: str) -> float:
    """Median time of a call; on a GPU between two events, by which it has waited for nothing."""
    if device != "cuda":
        start = perf_counter()
        work()
        return perf_counter() - start
    torch, times = torch_on(device), []
    work()
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return median(times)


def ceilings(device: str) -> dict:
    """GFLOP/s of a large float64 product and GB/s of a large copy."""
    torch = torch_on(device)
    n = LARGE if device == "cuda" else 256
    a = torch.randn(n, n, dtype=torch.float64, device=device)
    out = torch.empty_like(a)
    flops = 2 * n**3 / seconds(lambda: torch.matmul(a, a, out=out), device)
    large = torch.empty(64 * n * n // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(large)
    moved = 2 * large.nbytes / seconds(lambda: target.copy_(large), device)
    return {"GFLOP/s": flops / 1e9, "GB/s": moved / 1e9}


def speed(device: str) -> list[dict]:
    """Forward and backward of each workload, on arrays that lie there."""
    torch, rows = torch_on(device), []
    for workload in TIMED if device == "cuda" else QUICK:
        given, dx = data_of(workload), workload.cotangent()
        if device == "cuda":
            given = {k: torch.from_numpy(v).cuda() for k, v in given.items()}
            dx = torch.from_numpy(dx).cuda()
        settings = Settings(tol=TOLERANCE)
        solution = solve(**given, settings=settings, throw=False)

        def forward(given: dict = given, settings: Settings = settings) -> Any:
            return solve(**given, settings=settings, throw=False)

        def backward(solution: Any = solution, dx: Any = dx) -> Any:
            return vjp(solution, dx=dx)

        ahead, back = seconds(forward, device), seconds(backward, device)
        host = solution.on_host()
        row = {"workload": workload.name, "forward ms": 1e3 * ahead, "backward ms": 1e3 * back}
        row |= {"share": back / ahead, "iterations": float(np.median(host.iterations))}
        row |= {"GFLOP/s": work_of(workload, host.iterations) / ahead / 1e9}
        row |= {
            "bar ms": BARS.get(workload.name, float("nan")),
            "failed": int((~host.solved).sum()),
        }
        row |= {"residual": float(np.nanmax(host.dual_residual()))}
        rows.append(row)
    return rows


def work_of(workload: Any, iterations: np.ndarray) -> float:
    """Floating-point operations of the Gram matrix, the factor and two solves of an iteration."""
    n, m, p = workload.n, workload.m, workload.p
    size = n + p
    each = m * n * (n + 1) + size**3 / 3 + 4 * size**2 + 12 * m * n + 6 * n * size
    return float(each * iterations.sum())


def overhead(device: str) -> dict:
    """Microseconds of Python per call, on tensors, while the GPU is busy with something else."""
    torch = torch_on(device)
    if device != "cuda":
        raise Skipped("no GPU")
    given = {k: torch.from_numpy(v).cuda() for k, v in data_of(GRID[0]).items()}
    for _ in range(3):
        solve(**given, throw=False)
    torch.cuda.synchronize()
    times = []
    for _ in range(50):
        start = perf_counter()
        solve(**given, throw=False)
        times.append(perf_counter() - start)
    torch.cuda.synchronize()
    return {"microseconds": 1e6 * median(times), "bar": 60}


def occupancy(device: str) -> list[dict]:
    """Registers, local memory and blocks of what has been launched, and bytes per problem."""
    if device != "cuda":
        raise Skipped("no GPU")
    from qpcore import gpu, handover
    from qpcore.plans import plan
    from qpcore.problem import Problem

    rows = []
    for workload in TIMED:
        problem = Problem.parse(**data_of(workload))
        data, sizes = handover.data_of(problem), handover.sizes_of(problem)
        chosen = plan(data, sizes, 0, gpu.described(0))
        kernel = gpu.compiled("solve", chosen.fits)
        registers, local = kernel.get_regs_per_thread(), kernel.get_local_mem_per_thread()
        row = {"workload": workload.name, **chosen._asdict()}
        row |= {"registers": sorted(registers.values()), "local": sorted(local.values())}
        rows.append(row | {"bytes": 8 * chosen.elements})
    return rows


# ---- peers ---------------------------------------------------------------------------------------


def qpth(device: str) -> list[dict]:
    """qpth's batched solver on the same tensors; it takes no bounds, so not the Sudoku layer."""
    importlib.import_module("qpth")
    torch = torch_on(device)
    from qpth.qp import QPFunction

    rows = []
    for workload in TIMED[:3] if device == "cuda" else QUICK[1:]:
        function = QPFunction(eps=TOLERANCE, verbose=-1, check_Q_spd=False)
        arguments = [torch.from_numpy(v).to(device) for v in without_bounds(workload)]
        time = seconds(lambda f=function, a=arguments: f(*a), device)
        given = {k: torch.from_numpy(v).to(device) for k, v in data_of(workload).items()}
        settings, ours = Settings(tol=TOLERANCE), float("nan")
        if device == "cuda":
            ours = seconds(lambda g=given, s=settings: solve(**g, settings=s, throw=False), device)
        row = {"workload": workload.name, "forward ms": 1e3 * time, "ours ms": 1e3 * ours}
        rows.append(row | {"ratio": time / ours})
    return rows


def without_bounds(workload: Any) -> list[np.ndarray]:
    """Q, q, G, h, A, b, empty where absent."""
    given = data_of(workload)
    return [given.get(name, np.empty(0)) for name in ("Q", "q", "G", "h", "A", "b")]


def cupiqp(device: str) -> list[dict]:
    """cuPIQP, where its package is there: what it offers, so that a run can be written against it.

    It could not be tried where this script was written; its interface is not guessed here.
    """
    module = importlib.import_module("cupiqp")
    raise Skipped(
        f"cupiqp {getattr(module, '__version__', '?')} offers {sorted(vars(module))[:40]}"
    )
