"""What tests do without a program from Debian: fail where it could be installed, skip elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest


def leave_out(program: str, command: str) -> NoReturn:
    """Skip the test for want of `program`, or fail it where `command` would install it."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    may = root or (shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0)
    if shutil.which("apt-get") and may:
        pytest.fail(f"{program} can be installed here but is not: run {command}")
    pytest.skip(f"{program} is neither installed nor installable")
