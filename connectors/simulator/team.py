"""The after-sales team of the simulated seller: who is there when, and how long an answer takes. Pure.

Must not know what is asked.
"""

from datetime import datetime, timedelta
from random import Random

from connectors.simulator.planned import long_tail

SHIFTS_UTC_H = {5: (8, 17), 6: (10, 15)}
"""Hours (UTC) in which somebody is there, by weekday; Saturday and Sunday are short."""
WEEKDAY_UTC_H = (6, 22)
STANDBY_SHARE = 0.6
"""Of the messages outside the shifts: somebody on stand-by takes them at once."""
ANSWER_MEDIAN_H = 0.7
ANSWER_SPREAD = 0.85
FORGOTTEN_SHARE = 0.015
"""Of the conversations: nobody ever answers."""
QUEUES = {
    "where": "logistics",
    "return": "returns",
    "defect": "technical",
    "damaged": "returns",
    "wrong": "returns",
    "invoice": "office",
}
"""Topic of a contact to the team that gets it."""
AGENTS_PER_TEAM = 4


def on_shift(at: datetime) -> bool:
    """Whether an instant lies in a shift."""
    first, last = SHIFTS_UTC_H.get(at.weekday(), WEEKDAY_UTC_H)
    return first <= at.hour < last


def next_shift(at: datetime) -> datetime:
    """The instant itself if somebody is there, else the beginning of the next shift."""
    while not on_shift(at):
        at = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return at


def answer_at(rng: Random, asked_at: datetime) -> datetime:
    """When an agent answers what came in at an instant."""
    begin_at = asked_at if rng.random() < STANDBY_SHARE else next_shift(asked_at)
    return begin_at + long_tail(rng, ANSWER_MEDIAN_H, ANSWER_SPREAD)
