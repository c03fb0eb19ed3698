"""What the GPUs do, and how they are."""

from tests.monitoring.dashboards.drawing import Choice, Dashboard, Graph, Number

OF = 'instance=~"$host"'
NAME = "{{instance}} GPU {{gpu}}"

GPU = Dashboard(
    "gpu",
    "GPU",
    "Load, memory, power, heat and faults of each GPU.",
    [
        (
            "Now",
            [
                Number("GPUs", "none", f"count(DCGM_FI_DEV_GPU_TEMP{{{OF}}})"),
                Number("Busy", "percent", f"avg(DCGM_FI_DEV_GPU_UTIL{{{OF}}})"),
                Number("Memory in use", "percentunit", f"avg(gpu:memory:used_ratio{{{OF}}})"),
                Number("Power", "watt", "gpu:power_watts:sum"),
                Number("Tokens of answers for a joule", "short", "gpu:tokens_per_joule:rate5m"),
                Number("Hottest", "celsius", f"max(DCGM_FI_DEV_GPU_TEMP{{{OF}}})", 80, 85),
            ],
        ),
        (
            "Load",
            [
                Graph("Busy", "percent", [(f"DCGM_FI_DEV_GPU_UTIL{{{OF}}}", NAME)], most=100),
                Graph("Memory in use", "percentunit", [(f"gpu:memory:used_ratio{{{OF}}}", NAME)], most=1),
                Graph(
                    "Memory is read or written",
                    "percent",
                    [(f"DCGM_FI_DEV_MEM_COPY_UTIL{{{OF}}}", NAME)],
                    most=100,
                ),
                Graph("Power", "watt", [(f"DCGM_FI_DEV_POWER_USAGE{{{OF}}}", NAME)]),
                Graph("Clock of the multiprocessors", "rotmhz", [(f"DCGM_FI_DEV_SM_CLOCK{{{OF}}}", NAME)]),
                Graph(
                    "NVLink",
                    "none",
                    [(f"rate(DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL{{{OF}}}[$__rate_interval])", NAME)],
                ),
            ],
        ),
        (
            "Health",
            [
                Graph("Temperature", "celsius", [(f"DCGM_FI_DEV_GPU_TEMP{{{OF}}}", NAME)]),
                Graph("Temperature of the memory", "celsius", [(f"DCGM_FI_DEV_MEMORY_TEMP{{{OF}}}", NAME)]),
                Graph(
                    "Throttled by heat or power",
                    "none",
                    [
                        (f"rate(DCGM_FI_DEV_THERMAL_VIOLATION{{{OF}}}[$__rate_interval])", f"{NAME}, heat"),
                        (f"rate(DCGM_FI_DEV_POWER_VIOLATION{{{OF}}}[$__rate_interval])", f"{NAME}, power"),
                    ],
                ),
                Graph("Last Xid error", "none", [(f"DCGM_FI_DEV_XID_ERRORS{{{OF}}}", NAME)]),
                Graph(
                    "Errors of memory",
                    "none",
                    [
                        (f"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL{{{OF}}}", f"{NAME}, corrected"),
                        (f"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{OF}}}", f"{NAME}, not corrected"),
                        (f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{{{OF}}}", f"{NAME}, rows remapped"),
                    ],
                ),
                Graph(
                    "Packets sent again on PCIe in an hour",
                    "none",
                    [(f"increase(DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{{OF}}}[1h])", NAME)],
                ),
            ],
        ),
    ],
    [Choice("host", "Host", "DCGM_FI_DEV_GPU_TEMP", "instance")],
)
