"""Tests of `deploy.manifests`."""
