"""`dvd bench`: load for a running cluster, and what became of it."""
