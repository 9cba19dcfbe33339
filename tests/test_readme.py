"""The README runs as it stands and shows what it prints."""

import re
from pathlib import Path

import numpy as np
import pytest

from qpcore import Status

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


# Residuals at the level of rounding differ between machines.
RESIDUAL = re.compile(r"\d\.\de-\d\d at \(\d,\)")


def test_blocks_run_in_order_and_print_what_their_comments_say(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one writes a file
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib").use("Agg")
    namespace = {}
    for block in BLOCKS:
        with np.printoptions(floatmode="maxprec", suppress=True):
            exec(compile(block, "README.md", "exec"), namespace)
        shown = re.findall(r"^# (.*)$", block, re.MULTILINE)
        printed = capsys.readouterr().out.splitlines()
        assert [RESIDUAL.sub("", line) for line in printed] == [
            RESIDUAL.sub("", line) for line in shown
        ]
    assert len(BLOCKS) == 7


@pytest.mark.parametrize("status", Status)
def test_table_has_every_status_with_its_remedy(status):
    rows = [line for line in README.splitlines() if line.startswith(f"| {status.name} |")]
    assert len(rows) == 1
    assert rows[0].endswith(f"| {status.remedy} |")


def test_links_within_the_repository_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (Path(__file__).resolve().parents[1] / target).exists(), target
