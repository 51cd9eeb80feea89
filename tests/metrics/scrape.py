"""Asking an endpoint as Prometheus does, and finding a value in the answer."""

import asyncio
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

ANSWER_S = 10.0


class Answer(NamedTuple):
    """What an endpoint said."""

    status: int
    body: str
    content_type: str

    def value(self, name: str, **labels: str) -> float:
        """The value of `aftersales_<name>` with exactly these labels. Raises LookupError when it is not there."""
        for family in text_string_to_metric_families(self.body):
            for sample in family.samples:
                if sample.name == f"aftersales_{name}" and sample.labels == labels:
                    return float(sample.value)
        raise LookupError(f"no aftersales_{name} with {labels} in:\n{self.body}")

    def shows(self, name: str, value: float, **labels: str) -> bool:
        """Whether the metric is there and has this value."""
        try:
            return self.value(name, **labels) == value
        except LookupError:
            return False


def get(port: int, path: str = "/metrics", headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    """The answer of an endpoint on loopback."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), response.headers["Content-Type"])
    finally:
        connection.close()


async def scrape(port: int) -> Answer:
    """The metrics, without holding up the event loop."""
    return await asyncio.to_thread(get, port)
