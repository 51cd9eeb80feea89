"""A small agent with due instants, and the same in the plainest words: what a task must be equal to.

Each key keeps alarms. A record is a list of commands; a due alarm is logged and sent, may ring again later, and may
set an alarm of another key.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from streams.delivery.agent import Agent, Due, Effects, Record, Send, State
from streams.errors import BadInput


class Alarm(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Rings at `at`, and `repeats` times more, every `every`; each time it sets an alarm of key `other`, if any."""

    at: int
    clock: str = "c"
    repeats: int = 0
    every: int = 1
    other: str = ""


class Alarms(msgspec.Struct, frozen=True, array_like=True):
    """State of a key: what is set, and what rang or was told, in order."""

    alarms: tuple[Alarm, ...] = ()
    log: tuple[str, ...] = ()


class Command(msgspec.Struct, frozen=True, array_like=True):
    """`ticks` {clock: instant} move clocks; `alarms` replace those of the record's key; None: forget the key."""

    name: str
    ticks: dict[str, int] = {}
    alarms: tuple[Alarm, ...] | None = ()


encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(Alarms).decode
read_command = msgspec.json.Decoder(Command).decode


def ring(due: Due, key: bytes, state: State[Alarms]) -> tuple[dict[bytes, Alarms], list[Send]]:
    """What rings at `due`."""
    mine = state.get(key)
    assert mine is not None
    ringing = [alarm for alarm in mine.alarms if (alarm.clock, alarm.at) == (due.clock, due.at)]
    rest = [alarm for alarm in mine.alarms if alarm not in ringing]
    again = [
        msgspec.structs.replace(alarm, at=alarm.at + alarm.every, repeats=alarm.repeats - 1)
        for alarm in ringing
        if alarm.repeats
    ]
    text = f"{due.clock}{due.at}"
    changes = {key: Alarms(tuple(rest + again), (*mine.log, text))}
    for alarm in ringing:
        other = alarm.other.encode()
        if other and other != key:
            theirs = changes.get(other) or state.get(other) or Alarms()
            changes[other] = Alarms((*theirs.alarms, Alarm(due.at + alarm.every, due.clock)), theirs.log)
    return changes, [Send("rung", key, f"{key.decode()} {text}".encode())]


def decide(record: Record, state: State[Alarms]) -> Effects[Alarms]:
    """Follow a command."""
    command = read_command(record.value)
    if command.name == "bad":
        raise BadInput("bad_command", record.value.decode())
    if command.name == "bug":
        raise ArithmeticError("a bug")
    if command.alarms is None:
        return Effects(changes={record.key: None}, advance=command.ticks)
    mine = state.get(record.key) or Alarms()
    told = Alarms(command.alarms, (*mine.log, command.name))
    return Effects(
        changes={record.key: told},
        sends=[Send("told", record.key, encode(told.log))],
        advance=command.ticks,
    )


def decide_due(due: Due, key: bytes, state: State[Alarms]) -> Effects[Alarms]:
    """Let it ring."""
    changes, sends = ring(due, key, state)
    return Effects(changes=changes, sends=sends)


def set_aside(subject: Record | tuple[Due, bytes], error: Exception, state: State[Alarms]) -> Effects[Alarms] | None:
    """Quarantine of the key: no alarms any more."""
    key = subject.key if isinstance(subject, Record) else subject[1]
    mine = state.get(key) or Alarms()
    return Effects(changes={key: Alarms((), (*mine.log, "quarantined"))})


def dues(entry: bytes) -> Sequence[Due]:
    """The instants in an encoded value, each once."""
    return [*dict.fromkeys(Due(alarm.clock, alarm.at) for alarm in decode(entry).alarms)]


def alarm_agent(**changes: Any) -> Agent[Alarms]:
    """The agent, with parts of its declaration replaced."""
    declared: dict[str, Any] = {
        "name": "alarms",
        "inputs": ("commands",),
        "outputs": ("rung", "told"),
        "decide": decide,
        "encode": encode,
        "decode": decode,
        "dues": dues,
        "due": decide_due,
        "quarantine": set_aside,
    }
    return Agent(**(declared | changes))


def follow(commands: Sequence[tuple[bytes, Command]]) -> tuple[dict[bytes, Alarms], list[Send]]:
    """The plain recomputation: look at all keys, again and again. Dead letters are left out."""
    state: dict[bytes, Alarms] = {}
    sends: list[Send] = []
    for key, command in commands:
        if command.name == "bad":
            continue
        if command.name == "bug":
            mine = state.get(key, Alarms())
            state[key] = Alarms((), (*mine.log, "quarantined"))
            continue
        while due := min(
            (
                (alarm.at, alarm.clock, name)
                for name, value in state.items()
                for alarm in value.alarms
                if alarm.at <= command.ticks.get(alarm.clock, -1)
            ),
            default=None,
        ):
            changes, sent = ring(Due(due[1], due[0]), due[2], state)
            state |= changes
            sends += sent
        if command.alarms is None:
            state.pop(key, None)
            continue
        state[key] = Alarms(command.alarms, (*state.get(key, Alarms()).log, command.name))
        sends.append(Send("told", key, encode(state[key].log)))
    return state, sends
