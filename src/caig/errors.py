"""One tree of errors.

    CaigError                 every error that caig raises on purpose
    ├── InputError            what the user gave is not usable (also a ValueError)
    │   ├── ImageError        a file is missing, not an image, truncated or too large
    │   ├── CutoutError       no trustworthy cut-out of the product can be made
    │   └── CatalogError      a catalogue, click log or one of its rows is broken
    ├── CheckpointError       a model name is unknown, incomplete or not reachable offline
    └── MissingExtraError     an optional dependency is not installed (also an ImportError)

Each message is one line: name, expected, got, next step.
"""

from __future__ import annotations


class CaigError(Exception):
    """Base of all errors; the message reads `name: expected …, got …. next step`."""

    def __init__(self, name: str, *, expected: str, got: str, next_step: str) -> None:
        self.subject, self.expected, self.got, self.next_step = name, expected, got, next_step
        super().__init__(f"{name}: expected {expected}, got {got}. {next_step}".replace("\n", " "))


class InputError(CaigError, ValueError):
    """What the user gave is not usable."""


class ImageError(InputError):
    """A file is missing, not an image, truncated or too large."""


class CutoutError(InputError):
    """No trustworthy cut-out of the product can be made."""


class CatalogError(InputError):
    """A catalogue or click log, or one of its rows, is broken."""


class CheckpointError(CaigError):
    """A model name is unknown, its folder incomplete, or it is not reachable offline."""


class MissingExtraError(CaigError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            package,
            expected=f"the optional dependency '{package}'",
            got="none installed",
            next_step=f'Run: pip install "caig[{extra}]"',
        )
