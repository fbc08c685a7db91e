"""The main job: plan a run, work its shards, report. ``shard`` is what one unit of work does, wherever it runs."""
