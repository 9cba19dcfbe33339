"""The Sudoku experiment: its puzzles, its measure of error, and that the layer learns."""

import json
from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

import torch

from benchmarks.paper.sudoku import __main__ as command
from benchmarks.paper.sudoku import gradients
from benchmarks.paper.sudoku.clip import clip
from benchmarks.paper.sudoku.model import SudokuLayer
from benchmarks.paper.sudoku.plot import missing_rules, projector
from benchmarks.paper.sudoku.puzzles import (
    CLUE_SHARES,
    Puzzles,
    all_boards,
    completions,
    constraint_matrix,
    decode,
    encode,
    generate,
    is_valid,
    load,
)
from benchmarks.paper.sudoku.train import Epoch, Tally, evaluate, train
from torch_bridge import solve_qp


@pytest.fixture(scope="module")
def puzzles():
    return generate(600, seed=0)


def valid_by_the_book(board):
    """The rules, cell by cell: equal digits never share a row, a column or a block."""
    cells = list(product(range(4), repeat=2))
    for a, b in product(cells, repeat=2):
        same_block = (a[0] // 2, a[1] // 2) == (b[0] // 2, b[1] // 2)
        if a != b and (a[0] == b[0] or a[1] == b[1] or same_block) and board[a] == board[b]:
            return False
    return all(1 <= board[cell] <= 4 for cell in cells)


def test_there_are_288_boards():
    boards = all_boards()
    assert len({board.tobytes() for board in boards}) == len(boards) == 288
    assert all(valid_by_the_book(board) for board in boards)


def test_validity_agrees_with_the_rules():
    rng = np.random.default_rng(0)
    near = all_boards()[rng.integers(288, size=300)]  # one cell changed, possibly to what it was
    near[np.arange(300), rng.integers(4, size=300), rng.integers(4, size=300)] = rng.integers(
        5, size=300
    )
    rows = np.array([rng.permuted(all_boards()[0], axis=0) for _ in range(100)])
    boards = np.concatenate([near, rows, rng.integers(0, 5, (100, 4, 4)), all_boards()])
    expected = [valid_by_the_book(board) for board in boards]
    assert is_valid(boards).tolist() == expected
    assert 288 < sum(expected) < len(boards)


def test_encoding_and_back():
    full = all_boards()
    assert encode(full).shape == (288, 4, 4, 4)
    assert (encode(full).sum(axis=-1) == 1).all()
    empty_cells = full * (np.random.default_rng(0).random(full.shape) < 0.5)
    for boards in (full, empty_cells):
        np.testing.assert_array_equal(decode(encode(boards)), boards)


def test_puzzles_are_parts_of_their_solution(puzzles):
    assert len(puzzles) == 600
    assert is_valid(decode(puzzles.labels)).all()
    np.testing.assert_array_equal(puzzles.features, puzzles.features & puzzles.labels)


def test_puzzles_have_one_solution(puzzles):
    assert (completions(puzzles.features) == 1).all()
    assert completions(np.zeros((1, 4, 4, 4), np.uint8)) == 288
    assert completions(np.ones((1, 4, 4, 4), np.uint8)) == 0


def test_numbers_of_clues_are_those_of_the_authors(puzzles, shared_data):
    np.testing.assert_allclose(sum(CLUE_SHARES.values()), 1)
    for found, tolerance in ((load(shared_data / "sudoku"), 1e-4), (puzzles, 0.05)):
        clues = found.features.sum(axis=(1, 2, 3))
        for number, share in CLUE_SHARES.items():
            assert abs((clues == number).mean() - share) < tolerance
        assert (completions(found.features) == 1).all()


def test_puzzles_depend_on_the_seed_alone(puzzles):
    again, other = generate(600, seed=0), generate(600, seed=1)
    np.testing.assert_array_equal(again.features, puzzles.features)
    assert not np.array_equal(other.features, puzzles.features)


def test_rules_hold_exactly_for_valid_boards():
    rules = constraint_matrix()
    assert np.linalg.matrix_rank(rules) == 40
    rng = np.random.default_rng(0)
    boards = np.concatenate([all_boards(), rng.integers(1, 5, (100, 4, 4))])
    sums = encode(boards).reshape(-1, 64) @ rules.T
    np.testing.assert_array_equal((sums == 1).all(axis=1), is_valid(boards))


def test_missing_rules_measure_the_angle_between_row_spaces():
    rules = constraint_matrix()
    mixed = np.random.default_rng(0).standard_normal((40, 64)) @ rules  # same span, other rows
    np.testing.assert_allclose(projector(mixed), projector(rules), atol=1e-10)
    np.testing.assert_allclose(missing_rules(mixed), 0, atol=1e-10)
    outside = np.eye(64) - projector(rules)
    np.testing.assert_allclose(missing_rules(outside), 1, atol=1e-10)


def test_score_counts_broken_wrong_and_failed():
    labels = torch.from_numpy(encode(all_boards()[:4])).double()
    codes = labels.clone()
    codes[1] = labels[2]  # a valid board, but another one
    codes[2, 0, 0] = codes[2, 0, 1]  # breaks a rule
    codes[3] = torch.nan
    tally = Tally()
    tally.add(codes.flatten(1), torch.tensor([0, 0, 0, 2]), labels)
    score = tally.score()
    assert (score.error, score.wrong, score.failures) == (0.5, 0.75, 1)
    squares = (codes[1:3] - labels[1:3]).square().sum().item()
    assert score.mse == pytest.approx(squares / (3 * 64))


def test_layer_that_knows_the_rules_solves_every_puzzle(puzzles):
    layer = SudokuLayer()
    rules = constraint_matrix()
    basis = torch.from_numpy(np.linalg.svd(rules)[2][:40])
    with torch.no_grad():
        layer.A.copy_(basis)
        layer.log_x0.fill_(np.log(0.25))
    score = evaluate(layer, puzzles)
    assert (score.error, score.wrong, score.failures) == (0, 0, 0)


def test_clipping_shortens_the_long_and_keeps_the_rest():
    scales = torch.tensor([0.0, 0.5, 1.0, 1.0, 1.5, 1e6])  # zero: an unsolved QP
    directions = torch.nn.functional.normalize(torch.randn(6, 12), dim=1).view(6, 3, 4)
    expected = scales.clamp(max=3.0).view(6, 1, 1) * directions
    torch.testing.assert_close(clip(scales.view(6, 1, 1) * directions, factor=3.0), expected)


def test_clipping_survives_a_batch_without_gradients():
    for factor in (3.0, torch.inf):
        assert (clip(torch.zeros(5, 2), factor) == 0).all()


def test_gradient_without_clip_is_that_of_shared_parameters(puzzles):
    layer = SudokuLayer(torch.Generator().manual_seed(0), clip=torch.inf)
    boards = torch.from_numpy(puzzles.features[:50]).double()
    layer(boards).square().sum().backward()
    A, log_x0 = (p.detach().clone().requires_grad_() for p in (layer.A, layer.log_x0))
    x = solve_qp(
        layer.Q, -boards.flatten(1), A=A, b=A @ log_x0.exp(), lb=0.0, settings=layer.settings
    ).x
    x.square().sum().backward()
    for ours, shared in ((layer.A, A), (layer.log_x0, log_x0)):
        torch.testing.assert_close(ours.grad, shared.grad, rtol=1e-9, atol=1e-9)


def test_clip_bounds_what_one_puzzle_adds(puzzles):
    """The gradient of a batch is the sum of those of its puzzles, each at most the limit."""
    boards = torch.from_numpy(puzzles.features[:50]).double()
    each = []
    for board in boards.split(1):
        layer = SudokuLayer(torch.Generator().manual_seed(0), clip=torch.inf)
        layer(board).square().sum().backward()
        each.append(layer.A.grad)
    layer = SudokuLayer(torch.Generator().manual_seed(0), clip=1.0)
    layer(boards).square().sum().backward()
    expected = clip(torch.stack(each), factor=1.0).sum(dim=0)
    torch.testing.assert_close(layer.A.grad, expected, rtol=1e-9, atol=1e-9)


def test_training_reduces_loss(puzzles):
    layer = SudokuLayer(torch.Generator().manual_seed(0))
    news = list(train(layer, puzzles[:450], puzzles[450:], epochs=2))
    epochs = [line for line in news if isinstance(line, Epoch)]
    assert [line.epoch for line in epochs] == [0, 1, 2]
    assert len(news) == 3 + 2 * 3
    assert epochs[2].test.mse < epochs[1].test.mse < epochs[0].test.mse
    assert sum(line.test.failures for line in epochs) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rules_are_learned_in_three_epochs(seed, shared_data):
    everything = load(shared_data / "sudoku")
    layer = SudokuLayer(torch.Generator().manual_seed(seed))
    *_, last = train(layer, everything[:9000], everything[9000:], epochs=3)
    assert isinstance(last, Epoch)
    assert last.test.wrong == 0


def test_command_writes_results_and_figures(tmp_path):
    options = ["--quick", "--epochs", "1", "--seeds", "0", "1", "--clip", "3", "inf", "--out"]
    command.main([*options, str(tmp_path)])
    report = json.loads((tmp_path / "results.json").read_text())
    runs = [(run["clip"], run["seed"]) for run in report["runs"]]
    assert runs == [(3, 0), (3, 1), (None, 0), (None, 1)]
    assert [line["epoch"] for line in report["runs"][0]["epochs"]] == [0, 1]
    assert report["puzzles"]["training"] == 450
    assert str(tmp_path) not in json.dumps(report)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("curves.png", "rules.png"))


def test_command_refuses_a_clip_that_would_stop_training(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--clip", "3", "0"])
    assert "--clip is [3.0, 0.0]" in capsys.readouterr().err


def test_gradients_are_measured(tmp_path):
    gradients.main(["--quick", "--epochs", "1", "--out", str(tmp_path)])
    facts = json.loads((tmp_path / "gradients.json").read_text())
    assert facts["problems"] == 450
    assert facts["median sigma"]["all"] > 0
    assert 0 < facts["median reach"]["up to the median"] <= 1
    assert (tmp_path / "gradients.png").stat().st_size > 10_000


def test_command_reads_the_authors_puzzles(shared_data):
    options = command.parse(["--data", str(shared_data / "sudoku")])
    training, test = command.select(options)
    assert (len(training), len(test)) == (9000, 1000)
    everything = load(shared_data / "sudoku")
    np.testing.assert_array_equal(training.features, everything.features[:9000])
    np.testing.assert_array_equal(test.labels, everything.labels[9000:])


def test_puzzles_slice(puzzles):
    part = puzzles[100:200]
    assert isinstance(part, Puzzles)
    np.testing.assert_array_equal(part.labels, puzzles.labels[100:200])
