"""Studies: settings, a run, a picture and results each."""
