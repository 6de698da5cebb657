"""Checks Dockerfile, compose file, Kubernetes manifests and Ray cluster file without a cluster."""
