"""Programs that measure; each writes its goals as JSON and prints the same as a table."""
