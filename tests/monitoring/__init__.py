"""Rules, alerts, dashboards and runbooks: that each of them says what it means to."""
