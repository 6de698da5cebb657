"""Dashboards for operators: made by code, committed as JSON, drawn without Grafana."""
