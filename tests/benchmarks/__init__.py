"""Tests of what programs that measure are made of."""
