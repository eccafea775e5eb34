"""What a study leaves behind: results.json, results.md and figures, and the page that joins all studies."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from specktrack.training.metrics import Accuracy
from specktrack.training.study_bench import mean_and_sd

PREFACE = """# The paper's studies, repeated

Written by `study-tracker page`; do not edit by hand. Each study is one command and reproduces its figures from seeds.

The claims are those of "Taming Modern Point Tracking for Speckle Tracking Echocardiography via Impartial Motion"
(arXiv 2507.10127). The network is our own implementation from its description, trained on simulated clips at a reduced
size; its numbers are not the paper's. All arms of a study see the same clips in the same order with the same schedule
and seeds. Networks are trained and asked on pairs of frames (where the points were set, in training a frame of
diastasis as in the paper, and the frame in question) in a square around the query point, without motion prior or
recent templates: so the network is seen alone. Errors are distances after rescaling to 256 x 256 pixels; *average* is
the mean share of positions within 1, 2, 4, 8 and 16 px; MTE is the mean over points of the median error over frames;
the query frame never counts; ± is the standard deviation over seeds, not over clips.
"""


@dataclass(frozen=True)
class Line:
    """One arm on one set of clips; an Accuracy for each seed."""

    arm: str
    clips: str
    seeds: tuple[Accuracy, ...]

    def mean(self, figure: str) -> float:
        """Mean over seeds of `average`, `within_1`, `within_2` or `mte`."""
        return mean_and_sd(self.values(figure))[0]

    def sd(self, figure: str) -> float:
        """Standard deviation over seeds."""
        return mean_and_sd(self.values(figure))[1]

    def values(self, figure: str) -> list[float]:
        """One value a seed; shares in percent, MTE in pixels."""
        read = {
            "average": lambda a: 100 * a.average,
            "within_1": lambda a: 100 * a.within[0],
            "within_2": lambda a: 100 * a.within[1],
            "mte": lambda a: a.median_trajectory_error_px,
        }
        return [float(read[figure](a)) for a in self.seeds]


@dataclass(frozen=True)
class Report:
    """A finished study."""

    name: str
    title: str
    method: str  # what was done, and which outcome would support or contradict the claim
    findings: Sequence[str]  # sentences with numbers in them
    tables: Sequence[str]  # Markdown
    figures: Sequence[str]  # file names in the study's folder
    data: dict[str, Any]  # everything the tables and figures were made of
    size: str = ""  # the budget in one sentence
    settings: dict[str, Any] = field(default_factory=dict)


def accuracy_table(lines: Sequence[Line]) -> str:
    """Markdown, one row a line."""
    rows = ["| arm | clips | average % | <1 px % | <2 px % | MTE px |", "|---|---|---|---|---|---|"]
    for line in lines:
        cells = [
            _cell(line, "average", 1),
            _cell(line, "within_1", 1),
            _cell(line, "within_2", 1),
            _cell(line, "mte", 2),
        ]
        rows.append(f"| {line.arm} | {line.clips} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(line: Line, figure: str, digits: int) -> str:
    return plus_minus(line.values(figure), digits)


def plus_minus(values: Sequence[float], digits: int) -> str:
    """Mean +- SD; the mean alone where there is one value."""
    mean, sd = mean_and_sd(values)
    return f"{mean:.{digits}f}" if np.isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def lines_as_data(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """For results.json."""
    return [asdict(line) for line in lines]


def write_report(folder: Path, report: Report) -> Path:
    """results.json and results.md in the folder, whose figures are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"study": report.name, "settings": report.settings, "findings": list(report.findings), **report.data}
    text = json.dumps(_without_nan(content), indent=1, default=float)
    (folder / "results.json").write_text(text, encoding="utf-8")
    parts = [
        f"## {report.title}",
        report.method.strip(),
        report.size,
        "\n".join(f"- {finding}" for finding in report.findings),
    ]
    parts += report.tables
    parts += [f"![{report.title}]({figure})" for figure in report.figures]
    page = folder / "results.md"
    page.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return page


def _without_nan(value: Any) -> Any:
    """NaN is not JSON: unknown numbers become null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_page(page: Path, out: Path, claims: Mapping[str, str]) -> list[str]:
    """Join the results of all studies into one page, its figures beside it; the names of those that have none yet.

    claims  by name of the study, one sentence each; a study without results shows it and the command to run
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    parts, missing = [PREFACE], []
    for name, claim in claims.items():
        folder = out / name
        if not (folder / "results.md").exists():
            missing.append(name)
            parts.append(f"## Study `{name}`\n\n{claim}\n\nNot run yet: `study-tracker {name}`\n")
            continue
        text = (folder / "results.md").read_text(encoding="utf-8")
        for figure in sorted(folder.glob("*.png")):
            copy = f"study-{name}-{figure.name}"
            shutil.copyfile(figure, page.parent / copy)
            text = text.replace(f"]({figure.name})", f"]({copy})")
        parts.append(f"{text}\nRepeat it: `study-tracker {name}`\n")
    page.write_text("\n".join(parts), encoding="utf-8")
    return missing
