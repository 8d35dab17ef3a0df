"""The pipeline's part of the report: its claims, the rates behind them, where the time goes, and the latency."""

import statistics
from typing import Any

from claims import Claim, table

BARE_TARGETS = {"12 MP": 0.93, "0.3 MP": 0.75}
XARGS_TARGET = 3.0
NAMES = {
    "pipeline": "Thumbdrop, from drop to done",
    "bare": "the bare engine in as many processes, with the same hashing and syncs",
    "together": "the same, but with several photos that wait for the disk together, as the pipeline does",
    "xargs": "`xargs -P` over `vipsthumbnail`, a run for each size",
    "celery": "the obvious Celery task: Pillow's `thumbnail()` for each size",
}


def lines(results: dict[str, Any]) -> list[str]:
    """The part of the report in Markdown."""
    text = ["## The pipeline", ""]
    text += [
        f"{results['processes']} worker processes, `thumbdrop up` with everything it starts on the same machine.",
        "",
    ]
    text += table([claim for size, found in results["sizes"].items() for claim in _claims(size, found)])
    for size, found in results["sizes"].items():
        text += [f"### {found['photos']} photos of {size} ({found['bytes'] / 1e6:.2g} MB each)", ""]
        text += [*_rates(found), "", _costs(found["costs"]), "", _latency(found["latency"]), ""]
    return text


def draw(axes: Any, results: dict[str, Any]) -> None:
    """One panel: photos per second, as multiples of the bare engine's, which differ less between sizes."""
    sizes = list(results["sizes"])
    for place, size in enumerate(sizes):
        rates = results["sizes"][size]["rates"]
        bare = statistics.median(rates["bare"])
        for number, name in enumerate(rates):
            rate = statistics.median(rates[name])
            at = place + (number - (len(rates) - 1) / 2) * 0.17
            axes.bar(at, rate / bare, 0.15, color=f"C{number}", label=name if place == 0 else None)
            axes.text(at, rate / bare, f"{rate:.0f}/s", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_ylabel("photos per second, bare engine = 1")
    axes.set_title("The pipeline, 2 processes")
    axes.legend()


def _claims(size: str, found: dict[str, Any]) -> list[Claim]:
    bare = f"{size}: photos per second, of the bare engine's"
    xargs = f"{size}: photos per second, of `xargs -P2 vipsthumbnail`'s"
    missing = found["without"]["xargs"]
    return [
        Claim(bare, BARE_TARGETS[size], found["ratios"]["bare"], "at least"),
        Claim(xargs, XARGS_TARGET, found["ratios"].get("xargs"), "at least", " times", missing),
        *_latency_claims(size, found["latency"]["times"]),
    ]


def _latency_claims(size: str, times: dict[str, dict[str, float]]) -> list[Claim]:
    claims = []
    for share, factor in (("p50", 2), ("p99", 4)):
        beyond = times["visible"][share] - times["engine"][share]
        text = f"{size}: idle, from rename to last thumbnail beyond the engine's time, in round trips of a no-op task ({share})"
        claims.append(Claim(text, factor, beyond / times["round_trip"][share]))
    return claims


def _rates(found: dict[str, Any]) -> list[str]:
    rows = ["| | photos per second | rounds | Thumbdrop is |", "|---|---|---|---|"]
    for name, rates in found["rates"].items():
        times = f"{found['ratios'][name]:.2f} times that" if name in found["ratios"] else ""
        each = ", ".join(f"{rate:.1f}" for rate in rates)
        rows.append(f"| {NAMES[name]} | {statistics.median(rates):.1f} | {each} | {times} |")
    return rows


def _costs(costs: dict[str, Any]) -> str:
    photos = costs["photos"]
    cpu = ", ".join(f"{part} {ms / photos:.1f}" for part, ms in costs["cpu_ms"].items() if ms)
    redis = sum(costs["redis"].values()) / photos
    fsyncs = "not counted (no strace)" if costs["fsyncs"] is None else f"{costs['fsyncs'] / photos:.1f}"
    return f"Each photo costs, in ms of processor time: {cpu}; Redis commands, within scripts too: {redis:.0f}; syncs: {fsyncs}."


def _latency(latency: dict[str, Any]) -> str:
    names = {
        "visible": "from the rename into the inbox to the last thumbnail",
        "engine": "engine and hash alone",
        "alone": "the same until the thumbnails are synced and under their names",
        "round_trip": "a task that does nothing, to the same worker and back",
    }
    told = (f"{names[name]} {at['p50']:.1f} / {at['p99']:.1f}" for name, at in latency["times"].items())
    return f"Idle, p50 / p99 in ms: {'; '.join(told)}."
