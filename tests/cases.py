"""Tables of cases that several tests run over."""

import numpy as np
from failures import infeasible, nonconvex, unbounded
from problems import Form, known

FORMS = [
    Form(1),
    Form(1, box="both"),
    Form(5),
    Form(6, p=3),
    Form(6, 9),
    Form(6, 9, rows="lower"),
    Form(5, box="mixed", fixed=1),
    Form(6, 9, 2, rows="both", box="both"),
    Form(7, 12, 2, rows="mixed", box="mixed", fixed=1),
]
"""Every block alone and together, Q positive definite."""

SINGULAR = [
    Form(6, 4, 1, box="lower", rank=3),
    Form(6, 9, rows="both", rank=5),
    Form(5, 12, 2, rows="mixed", box="both", rank=1),
    Form(4, box="both", rank=0),
    Form(6, 14, rank=0),
    Form(6, 14, 1, rows="mixed", box="upper", fixed=2, rank=0),
]
"""Q singular or zero, the answer unique all the same."""

GRID = [
    Form(n, m, p, rows, box)
    for n in (1, 2, 5, 12, 30)
    for m in (0, n, 2 * n + 1)
    for p in sorted({0, n // 3})
    for rows in (("upper", "both", "mixed") if m else ("none",))
    for box in ("none", "both", "mixed")
]
"""Every combination of sizes and sides, for many problems of each."""

OPEN = Form(6, 9, 2, rows="mixed", box="mixed")
"""A form that can fail in every way: rows to contradict, directions to escape along."""


def failing(status, form, seed):
    """One problem that must end in the status of this name."""
    if status == "NONFINITE_INPUT":
        data = dict(known(form, seed).data)
        return data | {"q": np.where(np.arange(form.n) == form.n // 2, np.nan, data["q"])}
    builders = {
        "PRIMAL_INFEASIBLE": infeasible,
        "DUAL_INFEASIBLE": unbounded,
        "NOT_CONVEX": nonconvex,
    }
    return builders[status](form, seed)


FAILURES = ["PRIMAL_INFEASIBLE", "DUAL_INFEASIBLE", "NOT_CONVEX", "NONFINITE_INPUT"]


def beside(data, spoiled, positions):
    """Batch with single problems put in at these positions; the indices of the old ones too."""
    count = len(data["q"])
    order = np.insert(np.arange(count), positions, np.arange(count, count + len(positions)))
    joined = {
        name: np.concatenate([value, np.stack([bad[name] for bad in spoiled])])[order]
        for name, value in data.items()
    }
    return joined, np.flatnonzero(order < count)
