"""Options that belong together: the fields of a dataclass, handed over as one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def takes_bundles(command: Callable[..., None]) -> Callable[..., None]:
    """Let Typer see the fields of each dataclass that a command takes as options of its own.

    The fields stand in the place of the parameter, so that help lists all options in the order in
    which they are written.
    """
    bundles: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for name, parameter in signature(command, eval_str=True).parameters.items():
        kind = parameter.annotation
        if is_dataclass(kind):
            bundles[name] = kind
            parameters += _options(kind)
        else:
            parameters.append(_option(name, parameter.default, kind))

    @wraps(command)
    def expanded(**given: Any) -> None:
        for name, bundle in bundles.items():
            values = {field.name: given.pop(field.name) for field in fields(bundle)}
            given[name] = bundle(**values)
        command(**given)

    # Typer reads this, and not the signature of what is wrapped.
    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return expanded


def _options(bundle: Any) -> list[Parameter]:
    kinds = get_type_hints(bundle, include_extras=True)
    # Each field has a default, as an option has; a dataclass keeps it as its own attribute.
    return [_option(f.name, f.default, kinds[f.name]) for f in fields(bundle)]


def _option(name: str, default: Any, kind: Any) -> Parameter:
    # Typer passes everything by name; so one without a default may follow one that has it.
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
