"""Every GPU: the models, the engine, the replicas, and what they counted.

The rooms from the top: ``control``, ``placement``, ``engine`` and ``partner``, ``replica`` and ``client``,
``metering`` and ``weights``, ``catalog``. A room enters those below it, never one above.
"""
