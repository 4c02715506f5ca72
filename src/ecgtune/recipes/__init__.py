"""What decides a run, as values: methods, settings of the loop, recipes. Light: nothing here needs torch."""
