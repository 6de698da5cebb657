"""Writes `docs/api.md` from the protos and the errors."""
