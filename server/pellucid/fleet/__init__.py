"""A remote engine: replicas of vLLM behind the protocol of an engine."""
