"""Conversations: one case per thread, drawn from messages and what the desk did. Pure.

Rules C-1 to C-6 in docs/facts.md. A case is opened by the first message of the customer (or of an agent, if no customer
ever wrote); a solved case is opened again by a customer's message or by the desk.
"""

from datetime import datetime

from streams.domain.events import Message, Ticket
from streams.domain.facts import CaseState, MatterKey
from streams.domain.history import Events, Folded, History, first, marketplace_of, newest, of_kind, only

SOLVED = frozenset({"resolved", "closed"})


def fold(history: History, into: Folded) -> None:
    """State the case of every thread of the matter."""
    for id, events in of_kind(history, "thread"):
        if not any(isinstance(event, Message | Ticket) for event in events):
            continue
        case_id = case_of(id)
        into.facts[id, MatterKey(kind="case", item=case_id)] = _state(events)


def case_of(thread: str, episode: int = 1) -> str:
    """Id of the case that a thread opens."""
    return f"case:{thread.partition(':')[2]}:{episode}"


def first_customer_message(events: Events) -> Message | None:
    """The message that asks for an answer first."""
    return next((message for message in only(events, Message) if message.author == "customer"), None)


def first_answer(events: Events) -> Message | None:
    """First public message of a human agent at or after the customer's first; None before one of either is there.

    An automatic reply, a bot, a note and a message to somebody else are no answers (section 3 of the timer rules).
    """
    asked = first_customer_message(events)
    if asked is None:
        return None
    start = asked.order_key
    return next(
        (message for message in only(events, Message) if message.author == "agent" and message.order_key > start), None
    )


class Solution:
    """Whether and since when a conversation is solved, walked through in the order of events."""

    def __init__(self, events: Events) -> None:
        self.first_resolved_at: datetime | None = None
        self.since: datetime | None = None
        """Start of the present solved stretch, by resolving or closing. None: open."""
        self.by: str | None = None
        """event_id of what solved it."""
        self.resolved_at: datetime | None = None
        self.last_resolved_at: datetime | None = None
        self.closed_at: datetime | None = None
        self.reopen_count = 0
        for event in events:
            if isinstance(event, Ticket) and event.status is not None:
                if event.status in SOLVED:
                    self._solve(event)
                elif event.status != "unknown":
                    self._open()
            elif isinstance(event, Message) and event.author == "customer":
                self._open()

    def _solve(self, ticket: Ticket) -> None:
        if self.since is None:
            self.since, self.by = ticket.event_at, ticket.event_id
        if ticket.status == "resolved":
            self.resolved_at = self.resolved_at or ticket.event_at
            self.last_resolved_at = ticket.event_at
            self.first_resolved_at = self.first_resolved_at or ticket.event_at
        else:
            self.closed_at = ticket.event_at

    def _open(self) -> None:
        if self.since is not None:
            self.reopen_count += 1
        self.since = self.by = self.resolved_at = self.last_resolved_at = self.closed_at = None


def _state(events: Events) -> CaseState:
    messages, tickets = only(events, Message), only(events, Ticket)
    asked, answer, solution = first_customer_message(events), first_answer(events), Solution(events)
    opening = asked or next(iter(messages), None)
    status = newest(ticket.status for ticket in tickets if ticket.status != "unknown") or "open"
    if status in SOLVED and solution.since is None:
        status = "open"  # the customer wrote again, and the desk has not said anything since
    return CaseState(
        account=events[-1].account,
        marketplace=marketplace_of(events),
        channel=next((message.channel for message in messages if message.channel), ""),
        status=status,
        source_status=newest(ticket.source_status for ticket in tickets),
        opened_at=opening.event_at if opening else events[0].event_at,
        opened_by=opening.author if opening else "unknown",
        first_response_at=answer.event_at if answer else None,
        first_resolved_at=solution.first_resolved_at,
        resolved_at=solution.resolved_at,
        last_resolved_at=solution.last_resolved_at,
        closed_at=solution.closed_at,
        first_assigned_at=first(ticket.event_at for ticket in tickets if ticket.assignee),
        reopen_count=solution.reopen_count,
        customer_message_count=sum(message.author == "customer" for message in messages),
        agent_message_count=sum(message.author == "agent" for message in messages),
        team=newest(ticket.team for ticket in tickets),
        assignee=newest(ticket.assignee for ticket in tickets),
        priority=newest(ticket.priority for ticket in tickets),
        category=newest(ticket.category for ticket in tickets),
        last_event_at=events[-1].event_at,
        reported_resolved_at=newest(ticket.reported_resolved_at for ticket in tickets),
        reported_closed_at=newest(ticket.reported_closed_at for ticket in tickets),
        reported_reopen_count=newest(ticket.reported_reopen_count for ticket in tickets),
        reported_sla_met=newest(ticket.reported_sla_met for ticket in tickets),
    )
