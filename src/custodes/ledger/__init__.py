"""What happened: the run directory, its manifest and its shard commits."""
