"""All experiments of the paper by one command, and what their commands share."""

import argparse
import importlib
import json

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

from benchmarks.paper import __main__ as paper
from benchmarks.paper import command


def test_every_experiment_has_a_command():
    for name, module in paper.EXPERIMENTS.items():
        assert callable(importlib.import_module(module).main), name


def test_experiments_run_in_order_and_the_rest_is_named(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(
        paper,
        "import_module",
        lambda name: argparse.Namespace(main=lambda a: calls.append((name, a))),
    )
    monkeypatch.setattr(paper.util, "find_spec", lambda name: None if name == "sklearn" else name)
    paper.main(["--quick", "--only", "sudoku", "classification", "decision"])
    assert calls == [
        ("benchmarks.paper.sudoku.__main__", ["--quick"]),
        ("benchmarks.paper.decision.__main__", ["--quick"]),
    ]
    assert "left out: sklearn is not installed" in capsys.readouterr().out
    paper.main(["--only", "sudoku", "timing"])
    assert [options for _, options in calls[2:]] == [paper.FULL["sudoku"], []]


def test_quick_results_go_to_the_drafts(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    parser = command.parser("some.module", "text", seeds=3)
    assert parser.parse_args([]).seeds == [0, 1, 2]
    assert command.folder(parser.parse_args([]), "name") == tmp_path / "name"
    assert command.folder(parser.parse_args(["--quick"]), "name") == tmp_path / "draft" / "name"
    chosen = parser.parse_args(["--quick", "--out", str(tmp_path / "mine")])
    assert command.folder(chosen, "name") == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


def test_results_are_json_without_nan(tmp_path):
    command.save({"machine": command.machine()}, tmp_path / "good.json")
    assert json.loads((tmp_path / "good.json").read_text())["machine"]["qpcore"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        command.save({"loss": float("nan")}, tmp_path / "bad.json")
    assert not (tmp_path / "bad.json").exists()
