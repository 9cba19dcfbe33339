"""The script for machines with a GPU, as far as it goes without one."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from pretend_gpu import pretend_gpu, pretend_torch_cuda  # noqa: F401

from benchmarks import gpu_check, gpu_right, gpu_speed
from benchmarks.gpu_right import Skipped
from benchmarks.gpu_workloads import GRID, TIMED, every_status
from qpcore import Status, solve


@pytest.fixture
def checks(monkeypatch):
    """Checks with every outcome."""
    monkeypatch.setattr(gpu_check, "CHECKS", {"good": good, "bad": bad, "torn": torn, "none": none})


def good(device):
    return [{"workload": "small", "ms": 1.25}]


def bad(device):
    raise AssertionError("x differs")


def torn(device):
    raise Skipped("no GPU")


def none(device):
    raise ModuleNotFoundError("No module named 'cupiqp'")


def test_a_check_fails_passes_or_names_what_is_missing(checks, tmp_path, capsys):
    out = tmp_path / "there" / "gpu.json"
    assert gpu_check.main(["--only", "good", "bad", "torn", "none", "--out", str(out)]) == 1
    report = json.loads(out.read_text())["checks"]
    outcomes = {name: check["outcome"] for name, check in report.items()}
    assert outcomes == {"good": "passed", "bad": "failed", "torn": "skipped", "none": "skipped"}
    assert report["bad"]["why"] == "AssertionError: x differs"
    printed = capsys.readouterr().out
    assert "workload small, ms 1.25" in printed
    assert "No module named 'cupiqp'" in printed


def test_without_time_checks_are_skipped_by_name(checks, tmp_path):
    out = tmp_path / "gpu.json"
    assert gpu_check.main(["--only", "bad", "--limit", "-1", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["checks"]["bad"]["outcome"] == "skipped"


def test_results_lie_under_the_name_of_the_gpu():
    found = {"gpu": "NVIDIA H100 80GB HBM3"}
    report = {"device": "cuda", "checks": {"machine": {"found": found}}}
    assert gpu_check.folder(report) == "nvidia-h100-80gb-hbm3"
    assert gpu_check.folder({"device": "cpu", "checks": {}}) == "cpu"


@pytest.mark.parametrize("name", every_status())
def test_its_batches_have_the_statuses_that_it_expects(name):
    solution = solve(**every_status()[name], throw=False)
    assert solution.status.tolist() == [Status.SOLVED, Status.SOLVED, Status[name], Status.SOLVED]
    assert np.isfinite(solution.x[[0, 1, 3]]).all()


def test_its_answers_are_checked_on_the_cpu_too(tmp_path):
    out = tmp_path / "gpu.json"
    names = ["every status", "gradients", "deterministic"]
    assert gpu_check.main(["--device", "cpu", "--only", *names, "--out", str(out)]) == 0


def first_launches(jobs, device):
    """In this process; others would see no GPU."""
    return [gpu_speed.first_launch(*job, device) for job in jobs]


def pretended_qpth():
    """qpth as far as the script knows it."""
    package, module = ModuleType("qpth"), ModuleType("qpth.qp")

    def QPFunction(eps, verbose, check_Q_spd):
        return lambda Q, q, G, h, A, b: q

    module.QPFunction = QPFunction
    return {"qpth": package, "qpth.qp": module}


@pytest.mark.usefixtures("pretend_torch_cuda")
def test_every_check_runs_where_a_gpu_is_pretended(monkeypatch, tmp_path):
    """No minute of a machine with a GPU goes into a slip of the pen."""
    small = tuple(replace(workload, batch=2) for workload in TIMED[:4])
    for module, name, value in (
        (gpu_right, "GRID", GRID[:4]),
        (gpu_speed, "GRID", GRID[:4]),
        (gpu_speed, "TIMED", small),
        (gpu_speed, "LARGE", 64),
        (gpu_speed, "side_by_side", first_launches),
        (gpu_right.shutil, "which", lambda program: None),
    ):
        monkeypatch.setattr(module, name, value)
    for name, module in pretended_qpth().items():
        monkeypatch.setitem(sys.modules, name, module)
    out = tmp_path / "gpu.json"
    assert gpu_check.main(["--out", str(out)]) == 0
    report = json.loads(out.read_text())
    checks = report["checks"]
    skipped = {name for name, check in checks.items() if check["outcome"] == "skipped"}
    assert skipped == {"cupiqp", "memcheck", "racecheck"}
    assert gpu_check.folder(report) == "pretended-gpu"
    assert [row["bar ms"] for row in checks["speed"]["found"][:2]] == [2.0, 1.0]
    assert {row["workload"] for row in checks["qpth"]["found"]} == {w.name for w in small[:3]}
