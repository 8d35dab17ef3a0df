"""The kinds of fields that settings are made of: pydantic's types around the readers and writers of plain values.

Knows no key and no default. Every kind reads the operator's notation and, for `model_dump(mode="json")`, writes it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, Strict

from config import addresses, names, values


def written(value: Any) -> Any:
    """Pass a default as an operator would write it; pydantic parses it like the file's own (validate_default)."""
    return value


def lasting(shortest: str, longest: str) -> AfterValidator:
    """Require a duration between the two, both included."""
    return AfterValidator(values.lasting(shortest, longest))


def weighing(smallest: str, largest: str) -> AfterValidator:
    """Require a size between the two, both included."""
    return AfterValidator(values.weighing(smallest, largest))


def _at_least_one(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    if not entries:
        raise ValueError("at least one entry")
    return entries


# Instead of pydantic's min_length, which also complains when there are entries but all of them are wrong.
AT_LEAST_ONE = AfterValidator(_at_least_one)


def owner_may(bits: int, words: str) -> AfterValidator:
    """Require a mode that leaves the owner these rights."""
    return AfterValidator(values.owner_may(bits, words))


Duration = Annotated[
    float,
    BeforeValidator(values.parse_duration),
    PlainSerializer(values.format_duration, when_used="json"),
]
AutoDuration = Annotated[
    float | None,
    BeforeValidator(values.parse_auto_duration),
    PlainSerializer(values.format_auto_duration, when_used="json"),
]
Size = Annotated[int, BeforeValidator(values.parse_size), PlainSerializer(values.format_size, when_used="json")]
Mode = Annotated[int, BeforeValidator(values.parse_mode), PlainSerializer(values.format_mode, when_used="json")]
Box = Annotated[
    tuple[int, int],
    BeforeValidator(values.parse_box),
    PlainSerializer(values.format_box, when_used="json"),
]
Directory = Annotated[Path, BeforeValidator(names.parse_path)]
Suffix = Annotated[str, BeforeValidator(names.parse_suffix)]
IgnoreGlob = Annotated[str, BeforeValidator(names.parse_ignore_glob)]
InboxName = Annotated[str, BeforeValidator(names.parse_inbox_name)]
Template = Annotated[str, BeforeValidator(names.parse_template)]
Day = Annotated[str, BeforeValidator(names.parse_day)]
ImageFormat = Annotated[str, BeforeValidator(names.parse_image_format)]
Glob = Annotated[str, Field(min_length=1)]
BrokerUrl = Annotated[str, BeforeValidator(addresses.parse_broker_url)]
ResultsUrl = Annotated[str, BeforeValidator(addresses.parse_results_url)]
Colour = Annotated[str, BeforeValidator(names.parse_background)]
# Strict: TOML has types of its own, so true is not 1 and "64" is not 64.
Count = Annotated[int, Strict()]
Switch = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
OutputFormat = Literal["jpeg", "webp", "avif", "png"]
Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
Quality = Annotated[int, Strict(), Field(ge=1, le=100)]
