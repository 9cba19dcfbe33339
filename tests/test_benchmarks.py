"""The speed comparison runs, its measures see bad answers, and its peers solve its problems."""

import json

import numpy as np
import pytest

import qpcore
from benchmarks import remote, run
from benchmarks.accuracy import Residuals, exact_gradients, gradient_errors, reference
from benchmarks.interface import Answer
from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS, Data, Workload, paper

TINY = Workload("tiny", n=5, m=6, batch=12, make=paper)
OURS = ("qpcore-1", "qpcore", "torch_bridge-1", "torch_bridge")


@pytest.fixture
def peer(request):
    """A peer by name, if it can run here."""
    peer = PEERS[request.param]
    if reason := peer.missing():
        pytest.skip(reason)
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    yield peer
    torch.set_num_threads(threads)


def params(*names):
    return [pytest.param(n, marks=[] if n in OURS else pytest.mark.peers) for n in names]


@pytest.fixture(scope="module")
def answer():
    """An answer with gradients."""
    return PEERS["qpcore-1"].forward_backward(TINY.data(), TINY.cotangent())


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_workload_is_the_same_every_time(workload):
    first, second = workload.data(), workload.data()
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    batch, n, m = workload.batch, workload.n, workload.m
    assert [a.shape for a in first] == [(batch, n, n), (batch, n), (batch, m, n), (batch, m)]
    assert workload.cotangent().shape == (batch, n)


@pytest.mark.parametrize(
    "peer", params("qpcore", "torch_bridge", "qpth-1", "piqp", "daqp", "quadprog"), indirect=True
)
def test_peer_solves_and_differentiates(peer, answer):
    data, dx = TINY.data(), TINY.cotangent()
    ready = peer.prepare(data)
    found = peer.forward(ready)
    assert found.solved.all()
    np.testing.assert_allclose(found.x, answer.x, atol=1e-5)
    if found.z is not None:
        np.testing.assert_allclose(found.z, answer.z, atol=1e-5)
    if peer.differentiable:
        gradients = peer.forward_backward(ready, dx).gradients
        assert np.median(gradient_errors(data, answer, dx, gradients)) < 1e-5


@pytest.mark.parametrize("peer", params("piqp-forked", "daqp-forked"), indirect=True)
def test_forked_peer_solves(peer, answer):
    process = remote.Remote(peer.name, TINY)
    try:
        assert process.time(remote.FORWARD) > 0
        found = process.answer(0)
    finally:
        process.stop()
    assert not process.process.is_alive()
    assert found.solved.all()
    np.testing.assert_allclose(found.x, answer.x, atol=1e-5)


def test_measures_see_bad_answers(answer):
    data = TINY.data()
    good = Residuals(data, answer)
    assert not good.failed().any()
    x, z, solved = answer.x.copy(), answer.z.copy(), answer.solved.copy()
    x[0] += 0.01
    z[1] += 0.01
    x[2] = np.nan
    solved[3] = False
    bad = Residuals(data, Answer(x, z, solved))
    assert np.flatnonzero(bad.failed()).tolist() == [0, 1, 2, 3]
    alone = Residuals(data, Answer(x, None, solved))
    assert alone.failed().all()  # nothing says yet that x is optimal
    alone.compare(reference(data, [bad, good]))
    assert np.flatnonzero(alone.failed()).tolist() == [0, 2, 3]
    assert reference(data, [alone]) is None


def test_exact_gradients_against_central_differences(answer):
    data, dx, step = TINY.data(), TINY.cotangent(), 1e-6
    problems = [Data(*(array[i] for array in data)) for i in range(TINY.batch)]
    answers = zip(problems, answer.x, answer.z, dx, strict=True)
    gradients = map(np.stack, zip(*(exact_gradients(*one) for one in answers), strict=True))
    rng = np.random.default_rng(0)
    for name, gradient in zip(Data._fields, gradients, strict=True):
        way = rng.standard_normal(gradient.shape)
        ends = []
        for sign in (1, -1):
            moved = data._replace(**{name: getattr(data, name) + sign * step * way})
            solution = qpcore.solve(*moved, settings=qpcore.Settings(tol=1e-13), throw=False)
            ends.append((dx * solution.x).sum(axis=1))
        slopes = (gradient * way).reshape(TINY.batch, -1).sum(axis=1)
        differences = (ends[0] - ends[1]) / (2 * step)
        # At a vertex the slope is zero, and the error of x, up to 1e-11, over the step remains.
        np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=1e-5)


def test_command_writes_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "WORKLOADS", {"tiny": TINY})
    monkeypatch.setattr(PEERS["quadprog"], "missing", lambda: "not wanted here")
    run.main(["--quick", "--peers", "qpcore-1", "qpcore", "quadprog", "--out", str(tmp_path)])
    text = (tmp_path / "results.json").read_text()
    report = json.loads(text)
    assert report["skipped"] == {"quadprog": "not wanted here"}
    (workload,) = report["workloads"]
    assert [peer["peer"] for peer in workload["peers"]] == ["qpcore-1", "qpcore"]
    for peer in workload["peers"]:
        assert [len(times["seconds"]) for times in peer["times"].values()] == [3, 3]
        assert (peer["error"], peer["failures"]) == (None, 0)
        assert peer["gradient error"]["problems"] == workload["batch"]
    table = (tmp_path / "results.md").read_text()
    assert table in capsys.readouterr().out
    assert "| qpcore-1 | 1 |" in table
    assert "quadprog: not wanted here" in table
    assert str(tmp_path) not in text + table


def test_broken_peer_is_reported_and_the_run_goes_on(tmp_path, monkeypatch):
    class Dead(remote.Remote):
        """Answers nothing, and has no process."""

        def __init__(self, name, workload):
            self.peer = PEERS[name]

        def time(self, task):
            raise remote.PeerError("its process died")

        def stop(self):
            pass

    monkeypatch.setattr(run, "WORKLOADS", {"tiny": TINY})
    monkeypatch.setattr(run, "Remote", Dead)
    run.main(["--quick", "--peers", "qpcore", "qpcore-1", "--out", str(tmp_path)])
    assert "qpcore stopped: its process died." in (tmp_path / "results.md").read_text()


def test_an_error_travels_as_text():
    desk = remote.Desk(PEERS["qpcore-1"], TINY)
    desk.ready = TINY.data()._replace(q=np.zeros((12, 3)))
    error, seconds = desk.reply(remote.FORWARD)
    assert error.startswith("ProblemError: ")
    assert seconds is None
