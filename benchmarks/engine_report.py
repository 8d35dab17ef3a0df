"""The engine's part of the report: the claims of issue 4 with their figures, a table of everybody, and a panel of bars."""

from typing import Any

from claims import Claim, table

COLOURS = {"thumbdrop": "tab:green", "floor": "tab:gray"}
MEMORY_LIMIT_MB = 150.0


def lines(results: dict[str, Any]) -> list[str]:
    """This part of the report, in Markdown."""
    measured = (
        f"One 12 MP JPEG to 1280, 640 and 200 pixels; the mean over {_photos(results)}; of each the median of "
        f"{results['turns']} turns, taken by everybody one after the other, and everybody writes his thumbnails to the same "
        "disk. Thumbdrop does all its checks: header, limits, damage, EXIF, colour profile."
    )
    head = ["## The engine", "", measured, ""]
    missing = [f"- NOT MEASURED: {why}" for why in results["missing"].values()]
    return [*head, *table(_claims(results)), *_everybody(results), *_each_photo(results), *missing, *_quality()]


def draw(axes: Any, results: dict[str, Any]) -> None:
    """Bars of the CPU time, the shortest on top."""
    cpu = sorted(((_mean(results, name, "cpu_ms"), name) for name in results["titles"]), reverse=True)
    names = [name for _, name in cpu]
    bars = axes.barh(
        [results["titles"][name].replace(": ", ":\n") for name in names],
        [figure for figure, _ in cpu],
        color=[COLOURS.get(name, "tab:blue") for name in names],
    )
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel("CPU ms for one photo of 12 MP to 1280, 640 and 200 pixels")
    axes.set_title("The engine")


def _claims(results: dict[str, Any]) -> list[Claim]:
    ours = _mean(results, "thumbdrop", "cpu_ms")
    against = [
        ("CPU time, of `vipsthumbnail` run for each size", "vips", 1 / 3),
        ("CPU time, of Pillow's `thumbnail()` for each size", "pillow", 1 / 5),
        ("CPU time, of the floor: one scaled decode and the encodes alone", "floor", 1.35),
    ]
    claims = [
        Claim(text, round(target, 3), ours / _mean(results, name, "cpu_ms"), unit=" times")
        if name in results["titles"]
        else Claim(text, round(target, 3), None, unit=" times", unmeasured=results["missing"][name])
        for text, name, target in against
    ]
    peak_mb = results["memory"]["24 MP"]
    return [*claims, Claim("peak memory of a worker's child, JPEG of 24 MP", MEMORY_LIMIT_MB, peak_mb, unit=" MB")]


def _everybody(results: dict[str, Any]) -> list[str]:
    rows = sorted((_mean(results, name, "cpu_ms"), name) for name in results["titles"])
    found = ["| | CPU ms | wall ms | peak MB | bytes written |", "|---|---|---|---|---|"]
    for cpu, name in rows:
        wall, peak, written = (_mean(results, name, key) for key in ("wall_ms", "peak_mb", "bytes"))
        found.append(f"| {results['titles'][name]} | {cpu:.0f} | {wall:.0f} | {peak:.0f} | {written:,.0f} |")
    memory = ", ".join(f"{peak:.0f} MB for {name}" for name, peak in results["memory"].items())
    return [*found, "", f"Peak memory of a worker's child that makes nothing else: {memory}.", ""]


def _each_photo(results: dict[str, Any]) -> list[str]:
    if len(results["photos"]) == 1:
        return []
    names = list(results["titles"])
    found = ["| CPU ms | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for photo in results["photos"]:
        figures = (f"{photo['costs'][name]['cpu_ms']:.0f}" for name in names)
        found.append(f"| {photo['name']} | " + " | ".join(figures) + " |")
    return [*found, ""]


def _quality() -> list[str]:
    text = (
        "How good the thumbnails are is no figure of a machine: tests/integration/test_quality.py compares them with "
        "LANCZOS from the full size (50 dB in the mean, none below 45, at every size)."
    )
    return [text]


def _mean(results: dict[str, Any], name: str, key: str) -> float:
    figures = [photo["costs"][name][key] for photo in results["photos"]]
    return float(sum(figures) / len(figures))


def _photos(results: dict[str, Any]) -> str:
    return ", ".join(photo["name"] for photo in results["photos"])
