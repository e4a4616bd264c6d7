"""Settings that go together: what a recipe's field `preset` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any


def with_preset(config: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """`config` with its preset's settings where a field has its default; what was given otherwise stays."""
    defaults = {field.name: field.default for field in fields(config)}
    preset = presets[config.preset].items()
    return replace(config, **{name: value for name, value in preset if getattr(config, name) == defaults[name]})
