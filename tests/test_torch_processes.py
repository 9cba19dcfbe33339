"""The solver in other processes and threads, and in autocast regions."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from problems import known
from tensors import FORM, gradients, tensors, torch
from torch.utils.data import DataLoader, Dataset

from qpcore import ProblemError, Settings
from torch_bridge import OptNetLayer, solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[1]

DATA = known(FORM, 1, (6,)).data


class Solved(Dataset):
    """A data set whose entries are answers of QPs and gradients: work for a loader's process."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        problem = tensors({name: value[index] for name, value in DATA.items()})
        x = solve_qp(**problem, settings=Settings(threads=2)).x
        (gradient,) = torch.autograd.grad(x.square().sum(), problem["q"])
        return x.detach(), gradient


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_solve_and_differentiate(method):
    expected = [
        torch.stack(parts) for parts in zip(*map(Solved().__getitem__, range(6)), strict=True)
    ]
    # The parent's threads exist by now: a forked child has none of them.
    solve_qp(**tensors(DATA), settings=Settings(threads=2))
    loader = DataLoader(
        Solved(), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=120
    )
    found = [torch.cat(parts) for parts in zip(*loader, strict=True)]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_threads_call_at_once():
    seeds = range(12)
    sizes = [3, 50]  # of different batches, so that the threads do not run in step

    def work(seed):
        problem = tensors(known(FORM, seed, (sizes[seed % 2],)).data)
        return gradients(problem, Settings(threads=1 + seed % 2))

    expected = [work(seed) for seed in seeds]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            for one, other in zip(pool.map(work, seeds), expected, strict=True):
                for name in one:
                    assert torch.equal(one[name], other[name]), name


def test_a_result_can_be_pickled():
    result = solve_qp(**tensors(DATA, grad=False))
    twin = pickle.loads(pickle.dumps(result))
    assert type(twin) is type(result)
    assert all(map(torch.equal, twin, result))


def test_importing_the_bridge_does_not_import_the_compiler():
    code = "import sys, torch_bridge; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


# ---- autocast


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_autocast_computes_in_float32_and_gives_back_half(half):
    data = {name: t.detach().to(half) for name, t in tensors(DATA).items()}
    problem = {name: t.requires_grad_() for name, t in data.items()}
    wide = {name: t.detach().float().requires_grad_() for name, t in data.items()}
    with torch.autocast("cpu", dtype=half):
        result = solve_qp(**problem)
        result.x.float().square().sum().backward()
    expected = solve_qp(**wide)
    expected.x.to(half).float().square().sum().backward()
    for one, other in zip(result, expected, strict=True):
        assert torch.equal(one, other.to(one.dtype))
    assert {part.dtype for part in result[:4]} == {half}
    for name in problem:
        assert torch.equal(problem[name].grad, wide[name].grad.to(half)), name


def test_autocast_mixes_half_scores_with_wider_parameters():
    torch.manual_seed(0)
    score = torch.nn.Linear(3, 4)
    features, Q = torch.randn(5, 3), torch.eye(4)
    for parameter, dtype in ((Q, torch.float32), (Q.double(), torch.float64)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            q = score(features)
            x = solve_qp(parameter, q, lb=-0.5, ub=0.5).x
        assert (q.dtype, x.dtype) == (torch.bfloat16, dtype)
        assert torch.equal(x, solve_qp(parameter, q.to(dtype), lb=-0.5, ub=0.5).x)
        x.sum().backward()


def test_derivatives_taken_inside_autocast_are_not_rounded_to_half():
    torch.manual_seed(0)
    data = {name: t.float() for name, t in tensors(known(FORM, 3).data, grad=False).items()}
    q = data.pop("q")

    def value(q):
        return solve_qp(q=q, **data).z.square().sum()

    expected = torch.func.hessian(value)(q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.func.hessian(value)(q)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_the_learned_layer_builds_its_matrices_in_full_precision_inside_autocast():
    torch.manual_seed(0)
    layer = OptNetLayer(4, 3, 1, eps=0.1)
    q = torch.randn(6, 4)
    expected = layer(q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(q)
        half = layer(q.bfloat16())
    assert torch.equal(found, expected)
    assert half.dtype == torch.float32  # that of the parameters
    torch.testing.assert_close(half, layer(q.bfloat16().float()))


def test_half_precision_outside_autocast_is_an_error():
    with pytest.raises(ProblemError, match="half precision outside an autocast region"):
        solve_qp(torch.eye(2).half(), torch.ones(2).half())
