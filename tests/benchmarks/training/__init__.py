"""Who trains in the benchmark of training: our loop, Lightning's, a plain one, each in a process of its own."""
