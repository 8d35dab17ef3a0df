"""One claim of the report: what was promised, what was measured, and whether that is enough."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Claim:
    """A promise and its figure; `figure` is None when it could not be measured here, and `unmeasured` says why."""

    text: str
    target: float
    figure: float | None
    bound: Literal["at most", "at least"] = "at most"
    unit: str = ""
    unmeasured: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps the promise; None when there is none."""
        if self.figure is None:
            return None
        return self.figure <= self.target if self.bound == "at most" else self.figure >= self.target


def table(claims: list[Claim]) -> list[str]:
    """The claims as the lines of a Markdown table."""
    head = ["| claim | target | measured | |", "|---|---|---|---|"]
    return [*head, *(_row(claim) for claim in claims), ""]


def _row(claim: Claim) -> str:
    verdict = {True: "met", False: "**not met**", None: "not measured"}[claim.met]
    figure = claim.unmeasured if claim.figure is None else f"{claim.figure:.3g}{claim.unit}"
    return f"| {claim.text} | {claim.bound} {claim.target:g}{claim.unit} | {figure} | {verdict} |"
