"""The problems: a folder with index.csv, one npz file each, and the cases of nasty.py."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The collection that lies beside a checkout."""

NASTY = "nasty"
"""Name of the set that nasty.py makes."""

QUICK = 24
"""Problems of a trial: the smallest."""

SOLVED = "solved"
INFEASIBLE = "primal_infeasible"
UNBOUNDED = "dual_infeasible"
EITHER = "infeasible_or_unbounded"
NONCONVEX = "nonconvex"
REFUSED = "refused"
UNDECIDED = "undecided"
"""What a solver may say. REFUSED: the problem is not of the kind that it takes; that is fair of a
nonconvex one, and as undecided as anything of another."""

FAIR = {
    "optimal": {SOLVED},
    INFEASIBLE: {INFEASIBLE},
    UNBOUNDED: {UNBOUNDED},
    EITHER: {INFEASIBLE, UNBOUNDED, EITHER},
    NONCONVEX: {NONCONVEX, REFUSED},
}
"""Right verdicts, by the status in the collection."""

FAIR_TOO = {
    ("mm", "VALUES"): {NONCONVEX},  # its smallest eigenvalue is -1.3e-5
    (NASTY, "indefinite_free"): {UNBOUNDED},
}


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


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and what is known about it."""

    set: str
    name: str
    qp: QP
    status: str
    """optimal, or what of the above it is instead."""
    objective: float | None
    """Least value of 0.5 x'Qx + q'x where the status is optimal."""
    tol: float = 1e-6
    """How far an objective may be off, as a share of max(1, |objective|)."""
    fair: frozenset[str] = field(init=False)
    """Verdicts that count as right."""

    def __post_init__(self) -> None:
        fair = FAIR[self.status] | FAIR_TOO.get((self.set, self.name), set())
        object.__setattr__(self, "fair", frozenset(fair))

    @property
    def size(self) -> int:
        """Numbers in the matrices."""
        return self.qp.Q.size + self.qp.G.size + self.qp.A.size


def load(folder: Path, sets: list[str] | None = None, quick: bool = False) -> list[Case]:
    """All problems of the sets, or of every set, the small ones of a set first."""
    cases = [*_indexed(folder, sets), *_nasty(folder, sets)]
    unknown = set(sets or ()) - {case.set for case in cases}
    if unknown:
        raise ValueError(f"no problems of set {', '.join(sorted(unknown))} in {folder.name}")
    order = list(dict.fromkeys(case.set for case in cases))
    cases.sort(key=lambda case: case.size)
    cases = cases[:QUICK] if quick else cases
    return sorted(cases, key=lambda case: order.index(case.set))


def _indexed(folder: Path, sets: list[str] | None) -> Iterator[Case]:
    index = folder / "index.csv"
    rows = csv.DictReader(index.read_text(encoding="utf-8").splitlines())
    for row in rows:
        if sets and row["set"] not in sets:
            continue
        with np.load(folder / row["set"] / f"{row['name']}.npz") as arrays:
            qp = QP(arrays["P"], *(arrays[name] for name in QP._fields[1:]))
        optimal = row["status"] == "optimal"
        yield Case(
            row["set"], row["name"], qp, row["status"], float(row["obj"]) if optimal else None
        )


def _nasty(folder: Path, sets: list[str] | None) -> Iterator[Case]:
    path = folder / "nasty.py"
    if (sets and NASTY not in sets) or not path.exists():
        return
    spec = importlib.util.spec_from_file_location("nasty", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, data, expected in module.nasty_cases():
        qp = QP(data["P"], *(data[field] for field in QP._fields[1:]))
        yield Case(NASTY, name, qp, expected["status"], expected["obj"], expected["tol"])
