"""Tests of the vision service."""
