"""Slow, obvious answers to check the system against; nothing here imports a service."""
