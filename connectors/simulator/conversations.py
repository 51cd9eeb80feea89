"""Conversations with customers: messages with their texts, and what the help desk does about them. Pure.

Must not know of parcels or money; a `Contact` says why somebody writes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connectors.simulator import texts
from connectors.simulator.catalogue import DESK_ACCOUNT
from connectors.simulator.planned import DESK, Teller, long_tail, span
from connectors.simulator.team import AGENTS_PER_TEAM, FORGOTTEN_SHARE, QUEUES, answer_at
from streams.domain.events import Message, MessageText, Ticket

NAMED_AT_ONCE_SHARE = 0.55
"""Of the conversations: the order is known from the first message on."""
NAMED_LATER_SHARE = 0.35
"""Of the conversations: an agent finds the order later. In the rest nobody ever does."""
AUTOMATIC_SHARE = 0.6
NOTE_SHARE = 0.15
SECOND_ROUND_SHARE = 0.3
WAITING_SHARE = 0.09
"""Of the conversations: they wait for somebody outside, for days."""
UNSOLVED_SHARE = 0.02
REOPENED_SHARE = 0.08
SOURCE_STATUS = {"waiting_customer": "pending", "waiting_third_party": "on-hold", "resolved": "solved"}
"""The desk's own word for a state, where it is another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """Why a customer writes, or is written to.

    `customer` None: the desk does not know who it is.
    """

    number: str
    topic: str
    at: datetime
    language: str
    channel: str
    customer: str | None
    order: str
    order_number: str
    urgent: bool = False


class _Conversation:
    """One thread on its way: counts its messages and changes."""

    def __init__(self, teller: Teller, contact: Contact) -> None:
        self.teller, self.contact, self.rng = teller, contact, teller.rng
        self.thread = f"thread:{DESK_ACCOUNT}:{contact.number}"
        self.team = QUEUES[contact.topic]
        self.assignee = f"{self.team}-{self.rng.randrange(AGENTS_PER_TEAM) + 1}"
        self.leader: str | None = None
        self.count = 0
        self.last_customer_message: str | None = None
        self.reopened = 0

    def write(self, author: str, at: datetime, text: str | None, *, subject: str | None = None) -> None:
        """A message, and its text beside it."""
        self.count += 1
        contact, by_customer = self.contact, author == "customer"
        message_id = f"{contact.number}-{self.count}"
        event_id = self.teller.tell(
            Message,
            at,
            DESK,
            DESK_ACCOUNT,
            self.thread,
            message_id,
            customer=contact.customer if by_customer else None,
            leader=self.leader,
            message_id=message_id,
            author=author,
            channel="internal" if author == "internal" else contact.channel,
            in_reply_to=self.last_customer_message if author == "agent" else None,
            agent=self.assignee if author in ("agent", "internal") else None,
            has_attachment=by_customer and self.count == 1 and contact.topic in ("damaged", "wrong"),
        )
        if by_customer:
            self.last_customer_message = message_id
        if text is not None:
            self.teller.tell(
                MessageText,
                at,
                DESK,
                DESK_ACCOUNT,
                self.thread,
                message_id,
                text_of=event_id,
                subject=subject,
                text=text.format(order=contact.order_number, agent=texts.TEAM),
            )

    def set_status(self, at: datetime, status: str) -> None:
        """The desk changes the state."""
        solved = status in ("resolved", "closed")
        self._change(
            at,
            status=status,
            source_status=SOURCE_STATUS.get(status, status),
            category=self.contact.topic if status == "new" else None,
            priority=("high" if self.contact.urgent else "normal") if status == "new" else None,
            reported_resolved_at=at if status == "resolved" else None,
            reported_closed_at=at if status == "closed" else None,
            reported_reopen_count=self.reopened if solved else None,
        )

    def assign(self, at: datetime) -> None:
        """The desk gives the conversation to an agent."""
        self._change(at, change="assignment", team=self.team, assignee=self.assignee)

    def _change(self, at: datetime, *, change: str = "status", **fields: Any) -> None:
        self.count += 1
        version = f"{self.contact.number}-{self.count}"
        self.teller.tell(
            Ticket, at, DESK, DESK_ACCOUNT, self.thread, version, change=change, leader=self.leader, **fields
        )


def converse(teller: Teller, contact: Contact) -> None:
    """Tell a conversation that a customer begins."""
    talk, rng, at = _Conversation(teller, contact), teller.rng, contact.at
    named = rng.random()
    talk.leader = contact.order if named < NAMED_AT_ONCE_SHARE else None
    questions = texts.QUESTIONS[contact.topic][contact.language]
    talk.write("customer", at, rng.choice(questions), subject=texts.SUBJECTS[contact.language])
    talk.set_status(at + timedelta(seconds=2), "new")
    if rng.random() < AUTOMATIC_SHARE:
        talk.write("automatic", at + span(rng, 0.005, 0.03), texts.AUTOMATIC[contact.language])
    if rng.random() < FORGOTTEN_SHARE:
        return
    answered_at = answer_at(rng, at)
    talk.assign(at + (answered_at - at) // 2)
    if named < NAMED_AT_ONCE_SHARE + NAMED_LATER_SHARE:
        talk.leader = contact.order
    if rng.random() < NOTE_SHARE:
        talk.write("internal", answered_at - timedelta(seconds=1), None)
    _answer(talk, answered_at)
    solved_at = _work(talk, answered_at)
    if solved_at is not None and rng.random() < REOPENED_SHARE:
        again_at = solved_at + span(rng, 2, 60)
        talk.reopened += 1
        talk.write("customer", again_at, texts.REOPENINGS[contact.language])
        talk.set_status(again_at + timedelta(seconds=2), "open")
        answered_at = answer_at(rng, again_at)
        _answer(talk, answered_at)
        solved_at = answered_at + long_tail(rng, 6, 1.0)
        talk.set_status(solved_at, "resolved")
    if solved_at is not None:
        talk.set_status(solved_at + span(rng, 70, 98), "closed")


def _work(talk: _Conversation, answered_at: datetime) -> datetime | None:
    """What happens between the first answer and the solution. None: it is never solved."""
    rng, language = talk.rng, talk.contact.language
    if rng.random() < UNSOLVED_SHARE:
        return None
    at = answered_at
    if rng.random() < SECOND_ROUND_SHARE:
        talk.set_status(at + timedelta(seconds=5), "waiting_customer")
        at += long_tail(rng, 8, 0.8)
        talk.write("customer", at, texts.FOLLOW_UPS[language])
        talk.set_status(at + timedelta(seconds=2), "open")
        at = answer_at(rng, at)
        _answer(talk, at)
    if rng.random() < WAITING_SHARE:
        talk.set_status(at + span(rng, 0.1, 1), "waiting_third_party")
        at += span(rng, 30, 6 * 24)
        _answer(talk, at)
    at += long_tail(rng, 2.5, 1.1)
    talk.set_status(at, "resolved")
    return at


def _answer(talk: _Conversation, at: datetime) -> None:
    talk.write("agent", at, talk.rng.choice(texts.ANSWERS[talk.contact.language]))


def notify(teller: Teller, contact: Contact) -> None:
    """Tell a conversation that an agent begins: nobody waits for a first answer. Some customers write back."""
    talk, rng = _Conversation(teller, contact), teller.rng
    talk.leader = contact.order
    talk.write("agent", contact.at, texts.NOTICES[contact.language], subject=texts.SUBJECTS[contact.language])
    if rng.random() < 0.5:
        thanked_at = contact.at + span(rng, 0.5, 20)
        talk.write("customer", thanked_at, texts.THANKS[contact.language])
        talk.set_status(thanked_at + timedelta(seconds=2), "open")
        talk.set_status(answer_at(rng, thanked_at), "resolved")
