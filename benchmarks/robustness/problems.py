"""The problems: a folder with index.csv, one npz file each, and the cases of nasty.py."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The collection that lies beside a checkout."""

NASTY = "nasty"
"""Name of the set that nasty.py makes."""

QUICK = 24
"""Problems of a trial: the smallest ones."""

DROPPED = 1e20
"""Limits of at least this magnitude are none."""


class QP(NamedTuple):
    """min 0.5 x'Qx + q'x subject to Gx <= h, Ax = b, lb <= x <= ub; absent rows have shape (0, n).

    In the order of the arguments of `qpcore.solve`.
    """

    Q: np.ndarray
    q: np.ndarray
    G: np.ndarray
    h: np.ndarray
    A: np.ndarray
    b: np.ndarray
    lb: np.ndarray
    ub: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """(m,) bool, rows of G with a limit."""
        return self.h < DROPPED

    def plain(self) -> QP:
        """Leave out rows without a limit, and write absent bounds as infinite."""
        lb = np.where(self.lb > -DROPPED, self.lb, -np.inf)
        ub = np.where(self.ub < DROPPED, self.ub, np.inf)
        return self._replace(G=self.G[self.kept], h=self.h[self.kept], lb=lb, ub=ub)


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and what is known about it."""

    group: str
    """Its set."""
    name: str
    qp: QP
    truth: str
    """optimal, or one of the statuses of `verdicts`."""
    objective: float | None
    """Least value of 0.5 x'Qx + q'x where there is one."""
    tol: float = 1e-6
    """How far an objective may be off, as a share of max(1, |objective|)."""

    @property
    def size(self) -> int:
        """Numbers in the matrices."""
        return self.qp.Q.size + self.qp.G.size + self.qp.A.size


def load(folder: Path, sets: Sequence[str] = (), quick: bool = False) -> list[Case]:
    """Problems of the sets, or of all sets; within a set the small ones first.

    Raises
    ------
    ValueError
        A set has no problems.
    """
    cases = [*_indexed(folder, sets), *_nasty(folder, sets)]
    order = list(dict.fromkeys(case.group for case in cases))
    if unknown := set(sets) - set(order):
        raise ValueError(f"no problems of {', '.join(sorted(unknown))} in the data folder")
    cases.sort(key=lambda case: case.size)
    return sorted(cases[: QUICK if quick else None], key=lambda case: order.index(case.group))


def _indexed(folder: Path, sets: Sequence[str]) -> Iterator[Case]:
    index = (folder / "index.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(index.splitlines()):
        group, name, truth = row["set"], row["name"], row["status"]
        if sets and group not in sets:
            continue
        with np.load(folder / group / f"{name}.npz") as arrays:
            qp = QP(arrays["P"], *(arrays[field] for field in QP._fields[1:]))
        yield Case(group, name, qp, truth, float(row["obj"]) if truth == "optimal" else None)


def _nasty(folder: Path, sets: Sequence[str]) -> Iterator[Case]:
    path = folder / "nasty.py"
    if (sets and NASTY not in sets) or not path.exists():
        return
    spec = importlib.util.spec_from_file_location(NASTY, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, data, expected in module.nasty_cases():
        qp = QP(data["P"], *(data[field] for field in QP._fields[1:]))
        yield Case(NASTY, name, qp, expected["status"], expected["obj"], expected["tol"])
