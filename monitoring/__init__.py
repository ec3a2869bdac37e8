"""Alerts, who is told of them, and what is drawn: read by Prometheus, Alertmanager and Grafana."""
