"""Every GPU: the models, the engine, the replicas, and what they counted."""
