"""The machines, PostgreSQL, backups, and what watches them."""

from tests.monitoring.dashboards.drawing import Choice, Dashboard, Graph, Number

OF = 'instance=~"$host"'
REAL = 'fstype!~"tmpfs|ramfs|overlay|squashfs"'
CARDS = f'{OF},device!="lo"'
OURS = 'datname="appliance"'

HOSTS = Dashboard(
    "hosts",
    "Hosts",
    "Processors, memory, disks and network of each machine; PostgreSQL; backups; Prometheus itself.",
    [
        (
            "Machines",
            [
                Graph("Processors", "percentunit", [(f"host:cpu:used_ratio5m{{{OF}}}", "{{instance}}")], most=1),
                Graph("Memory", "percentunit", [(f"host:memory:used_ratio{{{OF}}}", "{{instance}}")], most=1),
                Graph(
                    "Disks",
                    "percentunit",
                    [(f"host:disk:used_ratio{{{OF}}}", "{{instance}} {{mountpoint}}")],
                    most=1,
                ),
                Graph(
                    "Something waits for",
                    "percentunit",
                    [
                        (f"rate(node_pressure_cpu_waiting_seconds_total{{{OF}}}[5m])", "{{instance}}, processors"),
                        (f"rate(node_pressure_io_waiting_seconds_total{{{OF}}}[5m])", "{{instance}}, disks"),
                        (f"rate(node_pressure_memory_waiting_seconds_total{{{OF}}}[5m])", "{{instance}}, memory"),
                    ],
                ),
                Graph(
                    "Network",
                    "Bps",
                    [
                        (
                            f"sum by (instance) (rate(node_network_receive_bytes_total{{{CARDS}}}[5m]))",
                            "{{instance}} in",
                        ),
                        (
                            f"sum by (instance) (rate(node_network_transmit_bytes_total{{{CARDS}}}[5m]))",
                            "{{instance}} out",
                        ),
                    ],
                ),
                Graph(
                    "Disk: reads and writes",
                    "Bps",
                    [
                        (f"sum by (instance) (rate(node_disk_read_bytes_total{{{OF}}}[5m]))", "{{instance}} read"),
                        (
                            f"sum by (instance) (rate(node_disk_written_bytes_total{{{OF}}}[5m]))",
                            "{{instance}} wrote",
                        ),
                    ],
                ),
                Graph("Load", "none", [(f"node_load5{{{OF}}}", "{{instance}}")]),
                Graph(
                    "Free space",
                    "bytes",
                    [(f"node_filesystem_avail_bytes{{{OF},{REAL}}}", "{{instance}} {{mountpoint}}")],
                ),
                Graph("Clock", "s", [(f"abs(node_timex_offset_seconds{{{OF}}})", "{{instance}}")]),
            ],
        ),
        (
            "Services",
            [
                Graph(
                    "Failed units",
                    "none",
                    [(f'node_systemd_unit_state{{{OF},state="failed"}} == 1', "{{instance}} {{name}}")],
                ),
                Graph(
                    "Restarts in an hour",
                    "none",
                    [(f"increase(node_systemd_service_restart_total{{{OF}}}[1h]) > 0", "{{instance}} {{name}}")],
                ),
                Graph(
                    "Processes ended for want of memory",
                    "none",
                    [(f"increase(node_vmstat_oom_kill{{{OF}}}[1h])", "{{instance}}")],
                ),
            ],
        ),
        (
            "PostgreSQL",
            [
                Graph(
                    "Transactions",
                    "ops",
                    [
                        (f"sum(rate(pg_stat_database_xact_commit{{{OURS}}}[5m]))", "committed"),
                        (f"sum(rate(pg_stat_database_xact_rollback{{{OURS}}}[5m]))", "rolled back"),
                    ],
                ),
                Graph(
                    "Connections",
                    "none",
                    [
                        (f"sum by (state) (pg_stat_activity_count{{{OURS}}}) > 0", "{{state}}"),
                        ("max(pg_settings_max_connections)", "at most"),
                    ],
                ),
                Graph("Size", "bytes", [("sum by (datname) (pg_database_size_bytes)", "{{datname}}")]),
                Graph(
                    "Pages found in memory",
                    "percentunit",
                    [
                        (
                            f"""sum(rate(pg_stat_database_blks_hit{{{OURS}}}[5m]))
                            / (sum(rate(pg_stat_database_blks_hit{{{OURS}}}[5m]))
                            + sum(rate(pg_stat_database_blks_read{{{OURS}}}[5m])) > 0)""",
                            "found",
                        )
                    ],
                    most=1,
                ),
                Graph(
                    "Longest transaction",
                    "s",
                    [(f"max by (state) (pg_stat_activity_max_tx_duration{{{OURS}}})", "{{state}}")],
                ),
                Graph(
                    "Log archived in an hour",
                    "none",
                    [
                        ("sum(increase(pg_stat_archiver_archived_count[1h]))", "archived"),
                        ("sum(increase(pg_stat_archiver_failed_count[1h]))", "failed"),
                    ],
                ),
            ],
        ),
        (
            "Backups and monitoring",
            [
                Number(
                    "Age of the backup",
                    "s",
                    "time() - max by (kind) (appliance_backup_last_success_timestamp_seconds)",
                    26 * 3600,
                    50 * 3600,
                    name="{{kind}}",
                    width=8,
                ),
                Number(
                    "Backups are good",
                    "none",
                    "min by (kind) (appliance_backup_ok)",
                    alarm=0.5,
                    low=True,
                    name="{{kind}}",
                    width=8,
                ),
                Number("Targets that do not answer", "none", "count(up == 0) or vector(0)", 1, 3),
                Number("Series", "short", "sum(prometheus_tsdb_head_series)", 1e6, 2e6),
                Graph(
                    "What Prometheus asks, and its answer",
                    "none",
                    [("min by (job) (up)", "{{job}}")],
                    most=1,
                    width=12,
                ),
                Graph(
                    "Notifications",
                    "ops",
                    [
                        ("sum by (integration) (rate(alertmanager_notifications_total[5m]))", "{{integration}}"),
                        (
                            "sum by (integration) (rate(alertmanager_notifications_failed_total[5m]))",
                            "{{integration}} failed",
                        ),
                    ],
                    width=12,
                ),
            ],
        ),
    ],
    [Choice("host", "Host", "node_boot_time_seconds", "instance")],
)
