"""Checks of `gpu_check` that say whether the GPU's answers are right and its code is safe."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.gpu_workloads import GRID, every_status
from qpcore import Settings, Solution, Status, solve, vjp

# Answers of two machines differ by what rounding makes of the tolerance, in float32 by its own.
AGREE = {"float64": 1e-6, "float32": 5e-3}

# Of gradients, which the problem's condition multiplies.
AGREE_GRADIENTS = 1e-5


class Skipped(Exception):
    """Not possible here; the message names what is missing."""


def data_of(workload: Any, dtype: str = "float64") -> dict:
    """A workload's arguments."""
    return {name: value.astype(dtype) for name, value in workload.data().given().items()}


def away(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to 1 + the largest entry."""
    size = 1 + np.abs(expected).max(initial=0.0)
    return float(np.abs(found - expected).max(initial=0.0) / size)


def agrees(device: str) -> list[dict]:
    """x of every size and dtype is the CPU's, all SOLVED, and the promise of SOLVED is kept."""
    rows = []
    for workload in GRID:
        for dtype, tol in AGREE.items():
            given = data_of(workload, dtype)
            there, here = solve(**given, device=device), solve(**given)
            error = away(there.x, here.x)
            assert error <= tol, f"{workload.name}, {dtype}: x differs by {error:.1e}"
            steps = np.abs(there.iterations - here.iterations).max()
            rows.append({"size": workload.name, "dtype": dtype, "x": error, "steps": int(steps)})
    return rows


def statuses(device: str) -> str:
    """Each status comes where it should, and leaves the neighbours' bits alone."""
    for name, given in every_status().items():
        solution = solve(**given, device=device, throw=False)
        expected = [Status.SOLVED, Status.SOLVED, Status[name], Status.SOLVED]
        assert solution.status.tolist() == expected, f"{name}: {solution.status.tolist()}"
        others = {key: value[[0, 1, 3]] for key, value in given.items()}
        alone = solve(**others, device=device)
        np.testing.assert_array_equal(solution.x[[0, 1, 3]], alone.x)
    rows = {"G": np.array([[1.0, 1.0]]), "h": np.array([0.5])}  # in their way, one step is too few
    given, settings = every_status()["SOLVED"] | rows, Settings(max_iterations=1)
    solution = solve(**given, settings=settings, device=device, throw=False)
    assert (solution.status == Status.MAX_ITERATIONS).all()
    return ", ".join([*every_status(), "MAX_ITERATIONS"])


def gradients(device: str) -> list[dict]:
    """Gradients of every argument are the CPU's."""
    rows = []
    for workload in GRID:
        given = data_of(workload)
        solutions = [solve(**given, device=where) for where in (device, "cpu")]
        there, here = (vjp(solution, dx=workload.cotangent()) for solution in solutions)
        errors = {name: away(getattr(there, name), getattr(here, name)) for name in given}
        assert max(errors.values()) <= AGREE_GRADIENTS, f"{workload.name}: {errors}"
        rows.append({"size": workload.name, "largest": max(errors.values())})
    return rows


def deterministic(device: str) -> str:
    """The same bits again, in another place of a larger batch too."""
    given = data_of(GRID[3])
    first, again = solve(**given, device=device), solve(**given, device=device)
    moved = solve(**{k: np.concatenate([v[::-1], v]) for k, v in given.items()}, device=device)
    for name in ("x", "z", "y", "iterations"):
        expected = getattr(first, name)
        np.testing.assert_array_equal(getattr(again, name), expected)
        np.testing.assert_array_equal(getattr(moved, name)[: len(expected)], expected[::-1])
    return "same bits"


# ---- torch ---------------------------------------------------------------------------------------


def tensors(device: str) -> tuple[Any, dict]:
    """Torch, and the arguments of a small batch on the GPU."""
    import torch

    if device != "cuda" or not torch.cuda.is_available():
        raise Skipped("torch sees no CUDA device")
    arrays = data_of(GRID[1])
    return torch, {name: torch.from_numpy(v).cuda() for name, v in arrays.items()}


def matches(solution: Solution, given: dict) -> None:
    """Compare with the CPU's answer."""
    expected = solve(**{name: value.cpu().numpy() for name, value in given.items()})
    assert away(solution.on_host().x, expected.x) <= AGREE["float64"]


def streams(device: str) -> str:
    """On a stream of the caller, behind slow work that makes its data there."""
    torch, given = tensors(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        late = {name: value + 0 for name, value in given.items()}
        solution = solve(**late, throw=False)
    stream.synchronize()
    matches(solution, given)
    return "kept"


def no_synchronisation(device: str) -> str:
    """Solve and differentiate where torch makes an error of every wait that it sees."""
    torch, given = tensors(device)
    vjp(solve(**given, throw=False), dx=torch.ones_like(given["q"]))  # compiles
    torch.cuda._sleep(2_000_000_000)
    torch.cuda.set_sync_debug_mode("error")
    try:
        solution = solve(**given, throw=False)
        vjp(solution, dx=torch.ones_like(given["q"]))
        assert not torch.cuda.current_stream().query(), "the stream was waited for"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    matches(solution, given)
    return "none"


def captured(device: str) -> str:
    """Captured in a CUDA graph after a warm-up; replayed with other data in the same places."""
    torch, given = tensors(device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        solve(**given, throw=False)
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        solution = solve(**given, throw=False)
    given["q"].mul_(-0.5)
    graph.replay()
    torch.cuda.synchronize()
    matches(solution, given)
    return "replayed"


# ---- compute-sanitizer ---------------------------------------------------------------------------


def memcheck(device: str) -> str:
    """No access outside of what was allocated."""
    return sanitised("memcheck", device)


def racecheck(device: str) -> str:
    """No two lanes at one place of shared memory without a barrier between."""
    return sanitised("racecheck", device)


def sanitised(tool: str, device: str) -> str:
    """Run the smallest sizes, forward and backward, under a tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None or device != "cuda":
        raise Skipped("compute-sanitizer is not installed" if program is None else "no GPU")
    script = (
        "from benchmarks.gpu_right import data_of; from benchmarks.gpu_workloads import GRID\n"
        "from qpcore import solve, vjp\n"
        "for w in GRID[:4]: vjp(solve(**data_of(w), device='cuda'), dx=w.cotangent())"
    )
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout.strip().splitlines()[-1]
