"""Commands that are killed in chains, at random moments and at system calls, and compared with a run left alone."""
