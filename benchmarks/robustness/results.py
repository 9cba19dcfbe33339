"""One file of records for each solver, so that one of them can be run again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.robustness.judge import Record


@dataclass(frozen=True)
class Run:
    """What a solver did, and where."""

    solver: str
    facts: dict[str, Any]
    """Versions, machine, limit, start: of the latest run that added records."""
    records: list[Record] = field(default_factory=list)

    def over(self, earlier: Run | None) -> Run:
        """Join with an earlier run: these records take the place of those of the same problems."""
        if earlier is None:
            return self
        records = {key(record): record for record in (*earlier.records, *self.records)}
        return replace(self, records=list(records.values()))

    def of(self, setting: str) -> list[Record]:
        """Its records of one setting."""
        return [record for record in self.records if record.setting == setting]


def key(record: Record) -> tuple[str, str, str]:
    """Return what a record is about."""
    return record.setting, record.group, record.name


def save(folder: Path, run: Run) -> None:
    """Write folder/SOLVER.json, a line for each record."""
    folder.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"solver": run.solver, **run.facts, "columns": Record._fields}, indent=1)
    rows = ",\n".join(json.dumps(record, allow_nan=False) for record in run.records)
    text = f'{head[:-2]},\n "records": [\n{rows}\n]\n}}\n'
    (folder / f"{run.solver}.json").write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Run]:
    """All runs in a folder."""
    runs = {}
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        records = [Record(*row) for row in facts.pop("records")]
        solver = facts.pop("solver")
        facts.pop("columns")
        runs[solver] = Run(solver, facts, records)
    return runs
