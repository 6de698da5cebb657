"""Tests of `deploy.reference`."""
