"""Threads: concurrent callers, forked children and torch's own pool get along with ours."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from checks import assert_same_bits, fields
from problems import Form, known

from qpcore import Settings, solve, threads, vjp
from qpcore.compilation import call, compiled
from qpcore.crew import COUNT, FREE, STATE, claim, let_others, load_anew, publish, together
from qpcore.kernels.machine import kernel
from qpcore.threads import MOST_HELPERS, Helper, helpers, hire, share

FORM, MANY = Form(5, 6, 2, box="both"), 200


@cache
def data(seed):
    """Few distinct problems, repeated to keep all threads busy."""
    return {k: np.tile(v, (MANY // 20,) + (1,) * (v.ndim - 1)) for k, v in problems(seed).items()}


@cache
def problems(seed):
    return known(FORM, seed, (20,)).data


def results(seed, threads):
    """Answers and gradients as bits."""
    solution = solve(**data(seed), settings=Settings(threads=threads))
    gradients = vjp(solution, dx=np.ones_like(solution.x))
    return fields(solution), fields(gradients)


def ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("qpcore")]


def test_concurrent_callers_get_the_bits_of_a_lonely_one():
    seeds, threads = range(4), (1, 2, 3)
    expected = {seed: results(seed, 1) for seed in seeds}
    jobs = [(seed, count) for count in threads for seed in seeds] * 4
    with ThreadPoolExecutor(6) as callers:  # pools of several sizes replace each other meanwhile
        found = list(callers.map(lambda job: results(*job), jobs))
    for (seed, _), pair in zip(jobs, found, strict=True):
        for mine, reference in zip(pair, expected[seed], strict=True):
            assert_same_bits(mine, reference)


def test_an_error_in_one_caller_leaves_the_others_alone():
    broken = data(0) | {"q": np.full((MANY, 5), np.nan)}

    def spoil(_):
        return solve(**broken, settings=Settings(threads=2), throw=False).status

    with ThreadPoolExecutor(4) as callers:
        statuses = [callers.submit(spoil, None) for _ in range(8)]
        good = [callers.submit(results, 1, 2) for _ in range(8)]
    assert all((future.result() == 6).all() for future in statuses)
    for future in good:
        assert_same_bits(future.result()[0], results(1, 1)[0])


@kernel
def note(done, by, here, parts, worker):
    """Note who has done which part; nobody goes on before all have one, or after some seconds."""
    part = claim(parts)
    while part < parts[COUNT]:
        publish(here, worker, 1)
        done[part] += 1
        by[part] = worker
        looks = 0
        while looks < 2e7 and missing(here) > 0:
            let_others()
            looks += 1
        part = claim(parts)


@kernel
def missing(here):
    """How many workers have not begun."""
    count = 0
    for worker in range(len(here)):
        count += load_anew(here, worker) == 0
    return count


@compiled
def note_all(done, by, here, parts, boxes, hired):
    together(note, (done, by, here, parts), boxes, hired)


def shared_out(count, threads, expected):
    """How often each part was worked on, and who the workers were."""
    done, by = np.zeros((2, count), np.int64)
    here = np.zeros(expected, np.int64)
    share(lambda _, *crew: call(note_all, "noted", done, by, here, *crew), count, threads, 1e3)
    return done, set(by)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("count", [2, 3, 16, 1000])
def test_every_part_is_worked_on_once_and_by_all_who_are_asked(count, threads):
    workers = min(threads, count)
    for _ in range(3):
        done, by = shared_out(count, threads, workers)
        assert (done == 1).all()
        assert by == set(range(workers))


def test_no_more_threads_work_than_are_asked_for():
    for count in (3, 2):
        _, by = shared_out(100, count, count)
        assert len(by) == count
    assert len(ours()) >= 2  # those of the first call wait for the next one


def test_helpers_of_another_caller_are_not_waited_for():
    held = hire(1, 1) + hire(1, 2)
    try:
        done, by = shared_out(100, 2, 1)
    finally:
        for helper in held:
            helper.release()
    assert len(held) == 2
    assert (done == 1).all()
    assert by == {0} or by == {0, 1}  # unless a third helper was free


def test_what_a_helper_does_not_begin_in_time_is_taken_back(monkeypatch):
    helper = Helper(MOST_HELPERS - 1)  # one that nobody knows
    helper.calls.put(False)
    helper.thread.join()
    monkeypatch.setattr(threads, "helpers", [helper])
    for _ in range(2):
        done, by = shared_out(100, 2, 1)
        assert (done == 1).all()
        assert by == {0}
    assert helper.box[STATE] == FREE


def test_helpers_are_free_again_after_an_error():
    def broken(*_):
        raise IndexError("not one of ours")

    for _ in range(3):
        with pytest.raises(IndexError, match="not one of ours"):
            share(broken, 100, 2, 1e3)
    assert not any(helper.hired.locked() for helper in helpers)
    assert shared_out(100, 2, 2)[1] == {0, 1}


def test_helpers_without_work_sleep():
    solve(**data(0), settings=Settings(threads=2))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_a_process_may_end_while_helpers_look_out_for_work():
    program = """
import numpy as np, qpcore
q = np.random.default_rng(0).standard_normal((4096, 10))
print(qpcore.solve(np.eye(10), q, lb=0.0, settings=qpcore.Settings(threads=3)).solved.all())
"""
    assert run(program) == "True"


def test_one_thread_or_one_problem_works_in_the_caller():
    program = """
import threading, numpy as np, qpcore
many, one = np.ones((500, 3)), np.ones(3)
qpcore.solve(np.eye(3), many, lb=0.0, settings=qpcore.Settings(threads=1))
qpcore.solve(np.eye(3), one, lb=0.0, settings=qpcore.Settings(threads=8))
print([t.name for t in threading.enumerate() if t.name.startswith("qpcore")])
"""
    assert run(program) == "[]"


def test_little_work_wakes_nobody():
    program = """
import threading, numpy as np, qpcore
settings = qpcore.Settings(threads=2)
def ours(count):
    q = np.random.default_rng(0).standard_normal((count, 10))
    solution = qpcore.solve(np.eye(10), q, np.eye(10), np.ones(10), settings=settings)
    qpcore.vjp(solution, dx=q)
    return sum(t.name.startswith("qpcore") for t in threading.enumerate())
print([ours(count) for count in (16, 4096)])
"""
    assert run(program) == "[0, 1]"


def run(program):
    """Output of a program in a process of its own, which need not fear what fork does to pytest."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_forked_children_of_a_parent_with_threads():
    program = """
import multiprocessing, numpy as np, qpcore, qpcore.threads
qpcore.threads.WORTH_SHARING = qpcore.threads.WORTH_WAKING = 1.0
q = np.random.default_rng(0).standard_normal((500, 3))
settings = qpcore.Settings(threads=2)
def work(queue=None):
    x = qpcore.solve(np.eye(3), q, lb=0.0, settings=settings).x.tobytes()
    return x if queue is None else queue.put(x)
expected = work()
context = multiprocessing.get_context("fork")
queue = context.Queue()
children = [context.Process(target=work, args=(queue,)) for _ in range(3)]
[child.start() for child in children]
found = [queue.get(timeout=100) for _ in children] + [work()]
[child.join() for child in children]
print(all(x == expected for x in found), [child.exitcode for child in children])
"""
    assert run(program) == "True [0, 0, 0]"


def test_workers_of_a_data_loader():
    pytest.importorskip("torch")
    program = """
import torch, torch_bridge, qpcore, qpcore.threads
qpcore.threads.WORTH_SHARING = qpcore.threads.WORTH_WAKING = 1.0
from torch.utils.data import DataLoader, Dataset
settings = qpcore.Settings(threads=2)
q = torch.arange(48.0, dtype=torch.float64).reshape(8, 6)
def answer(q):
    Q = torch.eye(3, dtype=torch.float64)
    return torch_bridge.solve_qp(Q, q.reshape(2, 3) - 20, lb=0.0, settings=settings).x
class Answers(Dataset):
    def __len__(self): return len(q)
    def __getitem__(self, i): return answer(q[i])
expected = torch.stack([answer(one) for one in q])
found = torch.cat(list(DataLoader(Answers(), batch_size=2, num_workers=2)))
print((found == expected).all().item())
"""
    assert run(program) == "True"


def test_threads_of_torch_stay_as_they_are():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    a = torch.rand(300, 300, dtype=torch.float64)
    product = a @ a
    with ThreadPoolExecutor(2) as callers:
        solves = [callers.submit(results, 2, 2) for _ in range(6)]
        assert all(torch.equal(a @ a, product) for _ in range(20))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    for future in solves:
        assert_same_bits(future.result()[0], results(2, 1)[0])
