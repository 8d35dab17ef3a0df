"""Write benchmarks/REPORT.md and its plot from the figures that are there: `make bench` runs it last.

    build/bench/engine.json    of engine.py     engine_report.lines(results)      engine_report.draw(axes, results)
    build/bench/pipeline.json  of pipeline.py   pipeline_report.lines(results)    pipeline_report.draw(axes, results)

`lines` gives the lines of its part of the report, from a heading of the second level on; `draw` fills one panel of the plot.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl

from results import load

PARTS = ("engine", "pipeline")
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write the report and the plot, and print the report."""
    found = {part: results for part in PARTS if (results := load(part)) is not None}
    text = "\n".join(_report(found))
    (HERE / "REPORT.md").write_text(text)
    _plot(found, HERE / "report.png")
    print(text)
    print(f"written: {HERE / 'REPORT.md'} and report.png beside it")


def _report(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["# How fast Thumbdrop is", "", "Written by `make bench`; figures of two runs cannot be compared.", ""]
    lines += ["![the same figures as bars](report.png)", ""]
    for part in PARTS:
        if part in found:
            results = found[part]
            lines += [*import_module(f"{part}_report").lines(results), "", *_machine(part, results["machine"]), ""]
        else:
            lines += [f"## The {part}", "", f"Not measured: run `make bench BENCH={part}`.", ""]
    return lines


def _machine(part: str, machine: dict[str, Any]) -> list[str]:
    text = (
        f"The {part} was measured on {machine['at']}: {machine['processor']}, {machine['cores']} cores, memory "
        f"{machine['memory']}, {machine['system']}, Python {machine['python']}, commit {machine['commit']}; "
        f"load average at the end {machine['load']}."
    )
    return [text]


def _plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    mpl.use("Agg")
    plt = import_module("matplotlib.pyplot")
    figure, panels = plt.subplots(1, max(1, len(found)), figsize=(8 * max(1, len(found)), 5), squeeze=False)
    for axes, (part, results) in zip(panels[0], found.items(), strict=False):
        import_module(f"{part}_report").draw(axes, results)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
