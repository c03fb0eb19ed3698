"""Grafana's dashboards, drawn from lists of panels: ``make dashboards`` writes them into configs/grafana."""
