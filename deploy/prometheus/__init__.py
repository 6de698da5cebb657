"""Rules for Prometheus, and the same rules for the Prometheus operator."""
