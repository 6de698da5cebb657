"""Draws dashboards to pictures from a real Prometheus, where Grafana cannot run."""
