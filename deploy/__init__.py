"""Composition root: configuration, Ray placement, the supervisor, the dvd command."""
