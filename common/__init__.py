"""What several packages need: a closed list of small, named modules."""
