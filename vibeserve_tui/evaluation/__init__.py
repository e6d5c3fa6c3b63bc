"""Whatever decides about a candidate: workload, load generator, statistics, judge."""
