"""Tests of `dvd bench`."""
