"""Response-time timers of conversations: first response and resolution, in plain elapsed time. Pure.

Rules T-1 to T-5 in docs/facts.md; targets S-01 (4 h) and S-02 (48 h) come from reference data, by the instant at which
the case began. Met if and only if the stop is not after the due instant. A timer without a stop is breached once the
account has been heard up to its due instant.
"""

from datetime import datetime, timedelta

from streams.domain.conversations import Solution, case_of, first_answer, first_customer_message
from streams.domain.events import Message
from streams.domain.facts import TimerKey, TimerState
from streams.domain.history import Events, Folded, History, Horizon, References, Wake, marketplace_of, of_kind, only


def fold(history: History, references: References, horizon: Horizon, into: Folded) -> None:
    """State the timers of every thread of the matter in which a customer has written."""
    for id, events in of_kind(history, "thread"):
        asked = first_customer_message(events)
        if asked is not None:
            _fold_case(id, events, asked, references, horizon, into)


def _fold_case(id: str, events: Events, asked: Message, references: References, horizon: Horizon, into: Folded) -> None:
    case_id, account, marketplace = case_of(id), asked.account, marketplace_of(events)
    version, targets = references.targets_at(asked.event_at)

    def time(timer: str, target_s: int, stopped_at: datetime | None, stopped_by: str | None) -> None:
        due_at = asked.event_at + timedelta(seconds=target_s)
        if stopped_at is not None:
            result = "met" if stopped_at <= due_at else "breached"
        elif horizon(account) >= due_at:
            result = "breached"
        else:
            result = "running"
            into.wakes.append(Wake(account, due_at))
        into.facts[id, TimerKey(case_id=case_id, timer=timer)] = TimerState(
            account=account,
            marketplace=marketplace,
            started_at=asked.event_at,
            due_at=due_at,
            stopped_at=stopped_at,
            result=result,
            target_s=target_s,
            elapsed_s=None if stopped_at is None else (stopped_at - asked.event_at).total_seconds(),
            policy_version=version,
            explained_by=(asked.event_id,) if stopped_by is None else (asked.event_id, stopped_by),
        )

    opener = _opened_by_agent(events, asked)
    if opener is None:
        answer = first_answer(events)
        time(
            "first_response",
            targets.first_response_s,
            answer.event_at if answer else None,
            answer.event_id if answer else None,
        )
    else:
        into.facts[id, TimerKey(case_id=case_id, timer="first_response")] = TimerState(
            account=account,
            marketplace=marketplace,
            started_at=asked.event_at,
            result="not_applicable",
            policy_version=version,
            explained_by=(opener.event_id, asked.event_id),
        )
    solution = Solution(events)
    time("resolution", targets.resolution_s, solution.since, solution.by)


def _opened_by_agent(events: Events, asked: Message) -> Message | None:
    """The agent's message that came before the customer's first, if one did: then nobody waits for a first response."""
    return next(
        (
            message
            for message in only(events, Message)
            if message.author == "agent" and message.order_key < asked.order_key
        ),
        None,
    )
