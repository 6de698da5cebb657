"""Writes `docs/api.md` from the protos and errors, `docs/settings.md` from the configuration."""
