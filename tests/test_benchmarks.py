"""The speed comparison runs, its measures see bad answers, and its peers solve its problems."""

import json
from dataclasses import replace

import numpy as np
import pytest

import qpcore
from benchmarks import flops, measure, remote, run, standing
from benchmarks.accuracy import Residuals, exact_gradients, gradient_errors, reference
from benchmarks.interface import Answer
from benchmarks.machine import dgemm
from benchmarks.peers import OURS, PEERS
from benchmarks.rows import gradients, multipliers, rows
from benchmarks.workloads import (
    CORES,
    SWEEPS,
    WORKLOADS,
    Data,
    Workload,
    control,
    layer,
    paper,
    portfolio,
    sudoku,
)

TINY = Workload("tiny", paper, batch=12, n=5, m=6)
FAMILIES = {
    "rows": TINY,
    "rows and equations": Workload("tiny", paper, batch=6, n=8, m=9, p=3),
    "shared equations and lower bounds": Workload("tiny", sudoku, batch=6, n=8, p=5),
    "shared rows": Workload("tiny", layer, batch=6, n=7, m=6),
    "shared box": Workload("tiny", control, batch=6, n=8),
    "lower bounds": Workload("tiny", portfolio, batch=6, n=7, p=1),
}
"""A small workload of every form that arguments take."""

GRADIENT_ERROR = {"cvxpylayers": 1e-2}
"""Largest median error of the gradients, where it is not 1e-4: LSQR stops where it likes."""


@pytest.fixture
def peer(request):
    """A peer by name, if it can run here."""
    peer = PEERS[request.param]
    if reason := peer.missing():
        pytest.skip(reason)
    torch = pytest.importorskip("torch")
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    yield peer
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


def params(*names):
    return [pytest.param(n, marks=[] if n in OURS else pytest.mark.peers) for n in names]


def answered(workload, name="qpcore-1"):
    """An answer with gradients."""
    peer, data = PEERS[name], workload.data()
    return peer.read(data, peer.forward_backward(peer.prepare(data), workload.cotangent()))


@pytest.fixture(scope="module")
def answer():
    """An answer with gradients."""
    return answered(TINY)


EVERY = {**WORKLOADS, **{w.name: w for sweep in SWEEPS.values() for w in sweep}}


@pytest.mark.parametrize("workload", EVERY.values(), ids=EVERY)
def test_workload_is_the_same_every_time(workload):
    if workload.batch * workload.n**2 > 1e7:
        workload = replace(workload, batch=2)
    first, second = workload.data().given(), workload.data().given()
    assert all((first[name] == second[name]).all() for name in first)
    sizes = {"n": workload.n, "m": workload.m, "p": workload.p}
    cores = {"Q": "nn", "q": "n", "G": "mn", "h": "m", "A": "pn", "b": "p", "lb": "n", "ub": "n"}
    for name, array in first.items():
        core = tuple(sizes[axis] for axis in cores[name])
        assert array.shape in (core, (workload.batch, *core))
        assert array.flags.c_contiguous
    assert workload.cotangent().shape == (workload.batch, workload.n)


@pytest.mark.parametrize("workload", FAMILIES.values(), ids=FAMILIES)
def test_data_in_full_and_in_part(workload):
    data, full = workload.data(), workload.data().full()
    assert all(array.shape[0] == workload.batch for array in full)
    assert all(array.strides[0] == 0 for k, array in full._asdict().items() if k in data.shared())
    few = data.first(3)
    assert len(few.q) == 3
    assert few.shared() == data.shared()
    for one, other in zip(few.problems(), data.problems(), strict=False):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workload", FAMILIES.values(), ids=FAMILIES)
def test_bounds_as_rows_are_the_same_problem(workload):
    data = workload.data()
    plain, settings = rows(data), qpcore.Settings(tol=1e-12)
    expected = qpcore.solve(*data, settings=settings)
    found = qpcore.solve(*plain, settings=settings)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-8)
    z, z_box = multipliers(data, found.z)
    np.testing.assert_allclose(z, expected.z, atol=1e-8)
    np.testing.assert_allclose(z_box, expected.z_box, atol=1e-8)
    dx = workload.cotangent()
    pulled = qpcore.vjp(found, dx)
    back = gradients(data, {name: getattr(pulled, name) for name in plain.given()})
    assert back.keys() == data.given().keys()
    for name, value in back.items():
        np.testing.assert_allclose(value, getattr(qpcore.vjp(expected, dx), name), atol=1e-6)


LOOPS = ("qpth-1", "piqp", "daqp", "quadprog", "proxsuite", "osqp", "clarabel", "highs")
BATCHES = ("proxsuite-batch", "qplayer", "qpax", "moreau", "moreau-ipm", "cvxpylayers")


@pytest.mark.parametrize("workload", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize(
    "peer",
    params("qpcore", "torch_bridge", *LOOPS, *BATCHES, "slsqp", "trust-constr"),
    indirect=True,
)
@pytest.mark.filterwarnings("ignore")  # peers warn of what they like
def test_peer_solves_and_differentiates(peer, workload):
    expected = answered(workload)
    data, dx = workload.data(), workload.cotangent()
    ready = peer.prepare(data)
    found = peer.read(data, peer.forward(ready))
    residuals = Residuals(data, found)
    residuals.compare(Residuals(data, expected))
    assert found.solved.all()
    assert residuals.worst().max() < 1e-4  # HiGHS has little to offer beyond 1e-6
    close = {"rtol": 1e-3, "atol": 1e-3}  # what such residuals mean where Q is nearly singular
    np.testing.assert_allclose(found.x, expected.x, **close)
    if found.z is not None:
        np.testing.assert_allclose(found.z, expected.z, **close)
        np.testing.assert_allclose(found.y, expected.y, **close)
        np.testing.assert_allclose(found.z_box, expected.z_box, **close)
    if peer.differentiable:
        pulled = peer.read(data, peer.forward_backward(ready, dx)).gradients
        assert all(value.shape == getattr(data, name).shape for name, value in pulled.items())
        assert pulled.keys() >= data.given().keys() - {"Q"}
        if peer.name == "qpax" and "G" in pulled:
            wrong = gradient_errors(data, expected, dx, {"G": pulled.pop("G")})
            assert wrong.max() > 1e-2, "qpax has mended its gradient of G: compare it too"
        errors = gradient_errors(data, expected, dx, pulled)
        assert np.median(errors) < GRADIENT_ERROR.get(peer.name, 1e-4)


@pytest.mark.parametrize("peer", params("piqp-forked", "daqp-forked"), indirect=True)
def test_forked_peer_solves(peer):
    process = remote.Remote(peer.name)
    try:
        for workload in (TINY, replace(TINY, batch=1)):  # more processes than problems
            assert process.load(workload) == workload.batch
            assert process.time(remote.FORWARD) > 0
            found = process.answer()
            assert found.solved.all()
            np.testing.assert_allclose(found.x, answered(workload).x, atol=1e-5)
    finally:
        process.stop()
    assert not process.alive()


def test_a_slow_peer_gets_part_of_the_batch(monkeypatch):
    monkeypatch.setattr(PEERS["qpcore-1"], "probed", True)
    monkeypatch.setattr(remote, "ENOUGH", 0.0)
    desk = remote.Desk(PEERS["qpcore-1"])
    assert desk.reply(remote.LOAD, TINY) == (None, remote.PROBE)
    _, seconds = desk.reply(remote.BACKWARD, None)
    assert seconds > 0
    _, found = desk.reply(remote.ANSWER, None)
    residuals = Residuals(TINY.data(), found)
    assert len(residuals.failed()) == remote.PROBE
    assert reference(TINY.data(), [residuals]) is None  # it does not answer the whole batch
    residuals.compare(reference(TINY.data(), [residuals, Residuals(TINY.data(), answered(TINY))]))
    assert (residuals.objective < 1e-6).all()


def test_measures_see_bad_answers(answer):
    data = TINY.data()
    good = Residuals(data, answer)
    assert not good.failed().any()
    x, z, solved = answer.x.copy(), answer.z.copy(), answer.solved.copy()
    x[0] += 0.01
    z[1] += 0.01
    x[2] = np.nan
    solved[3] = False
    bad = Residuals(data, answer._replace(x=x, z=z, solved=solved))
    assert np.flatnonzero(bad.failed()).tolist() == [0, 1, 2, 3]
    alone = Residuals(data, Answer(x, solved))
    assert alone.failed().all()  # nothing says yet that x is optimal
    alone.compare(reference(data, [bad, good]))
    assert np.flatnonzero(alone.failed()).tolist() == [0, 2, 3]
    assert reference(data, [alone]) is None


@pytest.mark.parametrize("workload", FAMILIES.values(), ids=FAMILIES)
def test_exact_gradients_against_central_differences(workload):
    step, dx, settings = 1e-6, workload.cotangent(), qpcore.Settings(tol=1e-13)
    full = Data(*map(np.ascontiguousarray, workload.data().full()))
    found = qpcore.solve(*full, settings=settings, throw=False)
    parts = zip(found.x, found.solved, found.z, found.y, found.z_box, strict=True)
    answers = zip(full.problems(), (Answer(*part) for part in parts), dx, strict=True)
    exact = [exact_gradients(*one) for one in answers]
    rng = np.random.default_rng(0)
    for name in workload.data().given():
        gradient = np.stack([one[name] for one in exact])
        way = rng.standard_normal(gradient.shape)
        if name == "Q":
            way += way.swapaxes(1, 2)
        ends = []
        for sign in (1, -1):
            moved = full._replace(**{name: getattr(full, name) + sign * step * way})
            solution = qpcore.solve(*moved, settings=settings, throw=False)
            ends.append((dx * solution.x).sum(axis=1))
        slopes = (gradient * way).reshape(workload.batch, -1).sum(axis=1)
        differences = (ends[0] - ends[1]) / (2 * step)
        # At a vertex the slope is zero, and the error of x, up to 1e-11, over the step remains.
        np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=1e-5)


def test_errors_of_shared_gradients_are_those_of_sums():
    workload = FAMILIES["shared equations and lower bounds"]
    data, dx = workload.data(), workload.cotangent()
    found = qpcore.solve(*data, settings=qpcore.Settings(tol=1e-12))
    answer = Answer(found.x, found.solved, found.z, found.y, found.z_box)
    pulled = qpcore.vjp(found, dx)
    good = {name: getattr(pulled, name) for name in data.given()}
    assert gradient_errors(data, answer, dx, good).max() < 1e-5
    for name in data.given():
        errors = gradient_errors(data, answer, dx, good | {name: 2 * good[name]})
        assert errors.shape == (workload.batch + 1,)
        changed = errors > 1e-3
        assert changed[-1] if name in data.shared() else changed[:-1].any()


def test_flops_count_what_the_formula_says():
    n, m, p = 5, 7, 3
    with_rows = Workload("", paper, 2, n=n, m=m, p=p).data()
    counted = n**2 * m + n**3 / 3 + n**2 * p + n * p**2 + p**3 / 3
    counted += 2 * (2 * n**2 + 4 * n * p + 2 * p**2) + 2 * n**2 + 8 * n * m + 4 * n * p
    assert flops.per_iteration(with_rows) == pytest.approx(counted)
    assert flops.of_solve(with_rows, np.array([3, 4])) == pytest.approx(7 * counted)
    diagonal = WORKLOADS["sudoku"].data()
    assert flops.per_iteration(diagonal) < 0.5 * flops.per_iteration(
        diagonal._replace(Q=diagonal.Q + 0.1)
    )


def test_exponents_are_those_of_the_series():
    x = np.array([1.0, 2, 4, 8, 16, 32])
    assert standing.exponent(x, 3 * x**2.5) == pytest.approx(2.5)


def test_dgemm_has_a_rate():
    assert 0.1 < dgemm(1, n=64) < 1e4


def test_command_writes_results(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(run, "WORKLOADS", {"tiny": TINY})
    monkeypatch.setattr(run, "dgemm", lambda threads: 10.0 * threads)
    sweep = [replace(TINY, batch=batch, name=f"{batch}") for batch in (1, 2, 4, 8)]
    monkeypatch.setattr(run, "SWEEPS", {"batch": sweep})
    monkeypatch.setattr(PEERS["quadprog"], "missing", lambda: "not wanted here")
    chosen = ["--peers", "qpcore-1", "qpcore", "quadprog", "--sweeps", "batch"]
    run.main(["--quick", "--workloads", "tiny", *chosen, "--out", str(tmp_path)])
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    assert report["skipped"] == {"quadprog": "not wanted here"}
    (workload,) = report["workloads"]
    assert [peer["peer"] for peer in workload["peers"]] == ["qpcore-1", "qpcore"]
    for peer in workload["peers"]:
        assert [len(times["seconds"]) for times in peer["times"].values()] == [3, 3]
        assert (peer["error"], peer["failures"]) == (None, 0)
        assert peer["gradient error"]["problems"] == workload["batch"]
        assert peer["GFLOP/s"] > 0
    assert [len(one["peers"]) for one in report["sweeps"]["batch"]] == [2, 2, 2, 2]
    table = (tmp_path / "results.md").read_text()
    assert table in capsys.readouterr().out
    assert "| qpcore-1 | 1 |" in table
    assert "quadprog: not wanted here" in table
    assert str(tmp_path) not in text + table
    for picture in ("forward", "backward", "growth"):
        assert f"![{picture}]({picture}.png)" in table
        assert (tmp_path / f"{picture}.png").stat().st_size > 1000


def test_overview_compares_with_the_fastest_that_solved_everything():
    def peer(name, seconds, against="", failures=0, error=None):
        times = {"forward": {"median": seconds, "seconds": [seconds]}}
        facts = {"peer": name, "against": against, "failures": failures, "error": error}
        return facts | {"times": times, "problems timed": 10}

    peers = [
        peer("qpcore-1", 1.0),
        peer("qpcore", 2.0),
        peer("fast but wrong", 0.5, "qpcore", failures=1),
        peer("fast but dead", 0.5, "qpcore", error="its process died"),
        peer("slow", 8.0, "qpcore"),
        peer("good", 4.0, "qpcore"),
    ]
    _, (row,) = standing.overview({"workloads": [{"name": "w", "peers": peers}]})
    assert row == ["w", "200000 qpcore", "400000 good", "0.50", "-", "-", "-"]


def test_broken_peer_is_reported_and_started_anew(tmp_path, monkeypatch):
    started = []

    class Dead(remote.Remote):
        """Answers nothing, and has no process."""

        def __init__(self, name):
            started.append(name)
            self.peer = PEERS[name]

        def load(self, workload):
            raise remote.PeerError("its process died")

        def alive(self):
            return False

        def stop(self):
            pass

    monkeypatch.setattr(run, "WORKLOADS", {"tiny": TINY, "again": TINY})
    monkeypatch.setattr(run, "dgemm", lambda threads: 10.0)
    monkeypatch.setattr(measure, "Remote", Dead)
    arguments = ["--workloads", "tiny", "again", "--peers", "qpcore", "--out", str(tmp_path)]
    run.main(["--quick", *arguments])
    assert "qpcore stopped: its process died." in (tmp_path / "results.md").read_text()
    assert started == ["qpcore", "qpcore"]


@pytest.mark.parametrize(
    ("takes", "figure", "calls"),
    [
        ([9e-3, 1e-2, 2e-2, 3e-2], 2e-2, 4),  # the first one, whatever it took, is left out
        ([9e-3, 6e-2], 6e-2, 2),
        ([0.9, 0.8], 0.8, 2),
        ([1.1], 1.1, 1),
    ],
)
def test_a_turn_is_the_median_of_its_calls_but_the_first(takes, figure, calls, monkeypatch):
    clock, rest = [0.0], iter(takes)

    class Slow:
        """Takes its time."""

        probed = False

        def forward(self, ready):
            clock[0] += next(rest)

    monkeypatch.setattr(remote, "perf_counter", lambda: clock[0])
    desk = remote.Desk(Slow())
    desk.ready = None
    assert desk.reply(remote.FORWARD, None) == (None, pytest.approx(figure))
    assert len(takes) - len(list(rest)) == calls


def test_an_error_travels_as_text():
    desk = remote.Desk(PEERS["qpcore-1"])
    assert desk.reply(remote.LOAD, TINY) == (None, TINY.batch)
    desk.ready = TINY.data()._replace(q=np.zeros((12, 3)))
    error, seconds = desk.reply(remote.FORWARD, None)
    assert error.startswith("ProblemError: ")
    assert seconds is None


def test_arguments_have_the_axes_of_the_solver():
    from qpcore.arguments import CORE_AXES

    assert {name: len(CORE_AXES[name]) for name in CORES} == CORES
