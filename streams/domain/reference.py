"""Reference data that ships with this version: valid until a later version is published. Pure."""

from streams.domain.events import Reference, ResponseTargets
from streams.domain.history import References
from streams.domain.instants import EPOCH

HOUR_S = 3600

SHIPPED = References(
    response_targets=(
        Reference(
            name="response_targets",
            version=1,
            effective_at=None,
            published_at=EPOCH,
            published_by="shipped",
            reason="Targets of the mission: S-01 (first response within 4 h), S-02 (resolution within 48 h)",
            body=ResponseTargets(first_response_s=4 * HOUR_S, resolution_s=48 * HOUR_S),
        ),
    )
)
"""The first version of everything that decides, valid from the beginning of time."""
