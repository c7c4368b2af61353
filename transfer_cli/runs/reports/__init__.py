"""Reports: what directories of runs, sweeps and comparisons hold, as pages and tables."""
