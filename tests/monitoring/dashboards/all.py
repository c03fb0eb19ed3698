"""All of them, by the name of their file."""

from tests.monitoring.dashboards.gateway import GATEWAY
from tests.monitoring.dashboards.gpu import GPU
from tests.monitoring.dashboards.hosts import HOSTS
from tests.monitoring.dashboards.models import MODELS
from tests.monitoring.dashboards.money import MONEY
from tests.monitoring.dashboards.service import SERVICE

DASHBOARDS = {one.name: one for one in (SERVICE, MODELS, GPU, GATEWAY, MONEY, HOSTS)}
