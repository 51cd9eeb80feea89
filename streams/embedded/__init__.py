"""Kafka and ClickHouse on this machine: fetched, started, supervised and stopped without a server installed."""
