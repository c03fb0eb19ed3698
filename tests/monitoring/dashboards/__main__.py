"""``make dashboards``: write configs/grafana anew."""

from tests.monitoring.dashboards.all import DASHBOARDS
from tests.monitoring.reading import DASHBOARDS as FOLDER

if __name__ == "__main__":
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(dashboard.drawn())
