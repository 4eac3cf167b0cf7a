"""What all studies and benchmarks share: jobs, tables, drawing, the command line."""
