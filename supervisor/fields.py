"""Typed fields of a frozen settings class: parsing, limits, complaints.

Owns how one value from TOML, environment or command line becomes a field, and what is said when it
does not. Pure. Used by `settings` (the server's) and `repository.model_settings` (a model's).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from supervisor.errors import SettingsError

T = TypeVar("T")


def setting(
    default: Any,
    text: str,
    *,
    low: int | None = None,
    high: int | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a field with its help text and what is allowed."""
    return dataclasses.field(
        default=default,
        metadata={"help": text, "low": low, "high": high, "choices": choices},
    )


def allowed(field: dataclasses.Field[Any], kind: type) -> str:
    """Say in words what a field takes."""
    meta = field.metadata
    if meta.get("choices"):
        return "one of " + ", ".join(meta["choices"])
    if kind is bool:
        return "true or false"
    if kind is int:
        low, high = meta.get("low"), meta.get("high")
        if low is not None and high is not None:
            return f"a whole number from {low} to {high}"
        return f"a whole number of at least {low}" if low is not None else "a whole number"
    return "a path" if kind is Path else "a text"


def parse(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build `cls` from `values`; a field that is missing keeps its default.

    Raises:
        SettingsError: a key is unknown, or a value not allowed; names key, value and `where`.

    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass by contract
    kinds = get_type_hints(cls)
    parsed = {}
    for key, value in values.items():
        if key not in fields:
            raise SettingsError(
                f"{where}: unknown setting {key!r}; known are {', '.join(sorted(fields))}"
            )
        parsed[key] = _convert(fields[key], kinds[key], value, where)
    return cls(**parsed)


def _convert(field: dataclasses.Field[Any], kind: Any, value: Any, where: str) -> Any:
    meta = field.metadata
    convert = meta.get("convert")
    result: Any = None
    if convert is not None:
        try:
            return convert(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(f"{where}: {field.name} = {value!r}: {error}") from error
    if kind is bool:
        result = _boolean(value)
    elif kind is int:
        result = _integer(value)
    elif kind is Path:
        result = Path(value) if isinstance(value, str | Path) and str(value) else None
    elif isinstance(value, str):
        result = value
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices")
    wrong = (
        result is None
        or (low is not None and result < low)
        or (high is not None and result > high)
        or (choices and result not in choices)
    )
    if wrong:
        raise SettingsError(f"{where}: {field.name} = {value!r}: must be {allowed(field, kind)}")
    return result


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None
