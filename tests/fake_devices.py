"""Processes that have several devices: parts of one CPU, each a device of its own to JAX."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def start(num_devices, module, call):
    """Start a process that calls a function of a module of tests on so many devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={num_devices}"
    return subprocess.Popen(
        [sys.executable, "-c", f"import {module}; {module}.{call}"],
        cwd=HERE,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_succeeds(process):
    """Wait for its end; what it printed last is told if it failed."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]
