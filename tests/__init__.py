"""Tests, as a mirror of the packages, and what they share."""
