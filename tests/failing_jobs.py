"""Jobs for test_jobs.py: of those named "bad" nothing comes back."""

import numpy as np


def run(name, settings):
    if name == "bad":
        raise ValueError("bad from the first")
    return {"found": np.array(settings.number)}
