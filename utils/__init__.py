"""What the scripts share: command line, configuration, checkpoints, schedule, records and
plots."""
