"""Sudoku beside the paper's layer: networks without constraints, and 9x9 boards with the rules."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

import torch

from benchmarks.paper.sudoku import baselines, nine
from benchmarks.paper.sudoku.__main__ import spread
from benchmarks.paper.sudoku.puzzles import generate
from benchmarks.paper.sudoku.train import Epoch, Score

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_spread_is_over_seeds_for_each_epoch():
    runs = [
        [Epoch(e, None, Score(mse=e + seed, error=0.5, wrong=0.5, failures=0), 1.0) for e in (0, 1)]
        for seed in (0, 2)
    ]
    facts = spread(float("inf"), runs)
    assert (facts["clip"], facts["seeds"]) == (None, 2)
    assert facts["epochs"][1]["test mse"] == {"mean": 2.0, "spread": pytest.approx(2**0.5)}
    assert facts["epochs"][0]["test error"] == {"mean": 0.5, "spread": 0.0}


@pytest.mark.parametrize("name", baselines.MODELS)
def test_networks_give_probabilities_and_learn(name):
    torch.manual_seed(0)
    model, puzzles = baselines.MODELS[name](8), generate(600, seed=0)
    x = model(torch.from_numpy(puzzles.features[:10]).float())
    assert x.shape == (10, 4, 4, 4)
    torch.testing.assert_close(x.sum(dim=3), torch.ones(10, 4, 4))
    epochs = list(baselines.train(model, puzzles[:450], puzzles[450:], epochs=8))
    assert epochs[0].train is None
    assert epochs[-1].train.mse < epochs[1].train.mse
    assert all(line.test.failures == 0 for line in epochs)


def test_convolution_sees_the_board_as_it_lies():
    """Exchanging digits, the channels of the first layer, exchanges nothing in the plane."""
    torch.manual_seed(0)
    model = baselines.Convolutional(4)
    board = torch.from_numpy(generate(1, seed=0).features).float()
    with torch.no_grad():
        model.layers[0].weight[:] = model.layers[0].weight.mean(dim=1, keepdim=True)
        exchanged = model(board[..., [1, 0, 3, 2]])
        torch.testing.assert_close(model(board), exchanged)


def test_baselines_command(tmp_path):
    baselines.main(["--quick", "--epochs", "1", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "baselines.json").read_text())
    assert [run["model"] for run in report["runs"]] == list(baselines.MODELS)
    assert report["width"] == 8
    assert (tmp_path / "baselines.png").stat().st_size > 10_000


def test_boards_are_valid_and_differ():
    boards = nine.full_boards(200, np.random.default_rng(0))
    assert nine.is_valid(boards).all()
    assert len({board.tobytes() for board in boards}) == 200
    cells = boards[:, 0, 0]
    assert set(cells.tolist()) == set(range(9))
    latin = np.add.outer(np.arange(9), np.arange(9)) % 9  # rows and columns are right, blocks not
    assert not nine.is_valid(latin)
    broken = boards.copy()
    broken[:, 4, 4] = (broken[:, 4, 4] + 1) % 9
    assert not nine.is_valid(broken).any()


def test_rules_hold_for_boards_and_are_independent():
    A = nine.rules()
    assert A.shape == (249, 729)
    assert np.linalg.matrix_rank(A) == 249
    boards = nine.full_boards(50, np.random.default_rng(0))
    np.testing.assert_array_equal(nine.encode(boards).reshape(50, -1) @ A.T, 1)


def test_spoiled_boards_are_what_they_say():
    rng = np.random.default_rng(0)
    boards = nine.full_boards(20, rng)
    given = nine.clues(boards, 30, rng).reshape(20, 9, 9, 9)
    assert (given.sum(axis=(1, 2, 3)) == 30).all()
    assert (given <= nine.encode(boards)).all()
    noisy = nine.misread(boards, 0.3, rng) - nine.encode(boards).reshape(20, -1)
    assert abs(noisy.std() - 0.3) < 0.01


def test_layer_returns_a_board_that_obeys_the_rules():
    boards = nine.full_boards(2, np.random.default_rng(0))
    result = nine.Rules().solve(torch.from_numpy(nine.encode(boards).reshape(2, -1)))
    np.testing.assert_array_equal(result.x.view(2, 9, 9, 9).argmax(dim=3), boards)
    left = result.x @ torch.from_numpy(nine.rules()).mT - 1
    assert left.abs().max() < 1e-7
    assert result.x.min() > -1e-7


def test_nine_command(tmp_path):
    nine.main(["--quick", "--boards", "1", "--out", str(tmp_path)])
    lines = json.loads((tmp_path / "nine.json").read_text())["lines"]
    assert [line["task"] for line in lines] == ["complete", "correct"]
    for line in lines:
        assert line["unsolved"] == 0
        assert line["cells"] > line["cells before"]
    assert (tmp_path / "nine.png").stat().st_size > 10_000
