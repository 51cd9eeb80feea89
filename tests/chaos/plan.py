"""What goes wrong in a round, when, and to whom: a pure function of the seed.

Must not know how a fault is carried out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, TypeAlias

WORKERS: Final[Mapping[str, int]] = {"correlate": 2, "casework": 3, "triage": 2, "sink": 2, "clock": 1}
"""How many there are of each at the beginning."""
NAMES: Final = tuple(f"{worker}-{number}" for worker, count in WORKERS.items() for number in range(1, count + 1))
STEPS: Final = tuple(name for name in NAMES if not name.startswith("clock"))
FIRSTS: Final = ("correlate-1", "casework-1", "triage-1")
"""The first worker of each step between two topics."""
ENGINES: Final = ("kafka", "clickhouse")

KAFKA_LINKS: Final = ("firsts", "others", "sink", "feeder")
"""Connections to Kafka that can be disturbed: of the `FIRSTS`, of the other workers and the clock, of the sinks, of
the feeder. Where the first ones alone are cut off, the others take over, and what was under way comes late.
"""
LINKS: Final = (*KAFKA_LINKS, "clickhouse")
"""All connections that can be disturbed; the last one is that of the sinks to ClickHouse."""
DISTURBED: Final[Sequence[Sequence[str]]] = (*((link,) for link in LINKS), KAFKA_LINKS)
"""What is disturbed at once: one link, or Kafka for everybody."""

UNSTORED: Final = ("sink", *ENGINES)
"""Who may be killed between an insert and the commit of its positions."""

POISONS: Final = ("no_avro", "unknown_schema", "cut_short", "huge", "on_timeline", "as_text", "unlucky")
"""`unlucky`: an event of a matter on which the rules fail; the others can't be read at all."""

Kind: TypeAlias = Literal[
    "kill",  # SIGKILL
    "terminate",  # SIGTERM in the midst of its work
    "freeze",  # SIGSTOP, then SIGCONT: for longer than session and transaction time-outs
    "remove",  # stopped in good order, and added again
    "add",  # one more, and removed again
    "refuse",  # a link that is not there
    "slow",  # a link that is slow
    "silent",  # a link over which nothing comes for a while
    "cut",  # a link that breaks in the midst of answers
    "too_many_parts",  # ClickHouse says so
    "kill_unstored",  # somebody is killed between an insert and the commit of its positions
    "poison",
    "jump",  # the machine's time, as the clock process sees it
    "rehome",  # an order changes its customer, and both owners are killed
]

TRANSACTION_TIMEOUTS_S: Final = (8.0, 20.0)
"""One of them holds in a round. Both are longer than a restart of the broker."""
FREEZE_S: Final = (9.0, 12.0)
"""Longer than the session time-out, shorter than deadlines: who wakes up goes on as if nothing had been. Of the two
transaction time-outs it is beyond the shorter: the sleeper's own watch may end it before it asks. Within the longer one
it goes on with its transaction, and must be refused by the broker.
"""
REFUSE_S: Final = (12.0, 20.0)
SILENT_S: Final = (4.0, 12.0)
SLOW_S: Final = (6.0, 12.0)
CUT_S: Final = (3.0, 6.0)
AWAY_S: Final = (4.0, 10.0)
JUMP_S: Final = (5.0, 10.0)
TOGETHER_S: Final = 2.0
"""Within this time something happens to one while another has not recovered."""

QUIET_SHARE: Final = 0.1
"""Of a round, at its beginning and its end, in which nothing begins."""
SECONDS_PER_ACT: Final = 6.0
FEWEST_ACTS: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at_s: float
    """After the feed has begun."""
    kind: Kind
    target: str
    """A worker, all sinks, an engine, a link, a kind of poison; empty where the kind says it all."""
    lasts_s: float = 0.0
    detail: int = 0
    """What else is drawn for it: a seed, or the seconds by which the time jumps."""

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        by = f" by {self.detail:+d} s" if self.kind == "jump" else ""
        return f"{self.at_s:5.1f} s: {' '.join(filter(None, (self.kind, self.target)))}{by}{lasts}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A round."""

    seed: int
    seconds: float
    """How long events come and things go wrong."""
    static_membership: bool
    transaction_timeout_s: float
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        membership = "static" if self.static_membership else "dynamic"
        return "\n".join(
            (
                f"seed {self.seed}, {self.seconds:g} s, {membership} membership, transactions of at most "
                f"{self.transaction_timeout_s:g} s",
                *(f"  {fault}" for fault in self.faults),
            )
        )


def draw(seed: int, seconds: float) -> Plan:
    """The plan of a seed. The same arguments give the same plan."""
    randomness = Random(f"chaos/{seed}")
    acts = max(FEWEST_ACTS, round(seconds / SECONDS_PER_ACT))
    faults: list[Fault] = []
    static = randomness.random() < 0.5
    transaction_timeout_s = randomness.choice(TRANSACTION_TIMEOUTS_S)
    names, weights = zip(*_ACTS, strict=True)
    for act in randomness.choices(names, weights, k=acts):
        at = randomness.uniform(QUIET_SHARE, 1 - QUIET_SHARE) * seconds
        faults += act(randomness, round(at, 1), seconds)
    return Plan(
        seed=seed,
        seconds=seconds,
        static_membership=static,
        transaction_timeout_s=transaction_timeout_s,
        faults=tuple(sorted(faults, key=lambda fault: (fault.at_s, fault.kind, fault.target))),
    )


Act: TypeAlias = Callable[[Random, float, float], Sequence[Fault]]
"""Draws the faults of one act that begins at an instant, in a round of so many seconds."""


def _lasts(randomness: Random, bounds: tuple[float, float], seconds: float) -> float:
    """Within bounds, and in a short round no longer than half of it."""
    return round(min(randomness.uniform(*bounds), seconds / 2), 1)


def _kill_step(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="kill", target=randomness.choice(STEPS))]


def _kill_any(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="kill", target=randomness.choice((*ENGINES, "clock-1")))]


def _terminate(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="terminate", target=randomness.choice(NAMES))]


def _freeze(randomness: Random, at: float, seconds: float) -> list[Fault]:
    # Not in proportion: a zombie must sleep beyond the time-outs however short the round is.
    lasts_s = round(randomness.uniform(*FREEZE_S), 1)
    return [Fault(at_s=at, kind="freeze", target=randomness.choice(NAMES), lasts_s=lasts_s)]


def _change_while_one_recovers(randomness: Random, at: float, seconds: float) -> list[Fault]:
    worker = randomness.choice([worker for worker in WORKERS if worker != "clock"])
    numbers = randomness.sample(range(1, WORKERS[worker] + 1), 2)
    soon = round(at + randomness.uniform(0, TOGETHER_S), 1)
    lasts_s = _lasts(randomness, AWAY_S, seconds)
    if randomness.random() < 0.5:
        change = Fault(at_s=soon, kind="remove", target=f"{worker}-{numbers[1]}", lasts_s=lasts_s)
    else:
        change = Fault(at_s=soon, kind="add", target=f"{worker}-{WORKERS[worker] + 1}", lasts_s=lasts_s)
    return [Fault(at_s=at, kind="kill", target=f"{worker}-{numbers[0]}"), change]


def _restart_all(randomness: Random, at: float, seconds: float) -> list[Fault]:
    kind: Kind = randomness.choice(("kill", "terminate"))
    return [Fault(at_s=at, kind=kind, target=name) for name in NAMES]


def _second_clock(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="add", target="clock-2", lasts_s=_lasts(randomness, AWAY_S, seconds))]


def _disturb(randomness: Random, at: float, seconds: float) -> list[Fault]:
    kind: Kind = randomness.choice(("refuse", "slow", "silent", "cut"))
    bounds = {"refuse": REFUSE_S, "slow": SLOW_S, "silent": SILENT_S, "cut": CUT_S}[kind]
    lasts_s = _lasts(randomness, bounds, seconds)
    return [
        Fault(at_s=at, kind=kind, target=link, lasts_s=lasts_s, detail=randomness.randrange(1 << 30))
        for link in randomness.choice(DISTURBED)
    ]


def _too_many_parts(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="too_many_parts", target="clickhouse", lasts_s=_lasts(randomness, AWAY_S, seconds))]


def _kill_unstored(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="kill_unstored", target=randomness.choice(UNSTORED))]


def _poison(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [
        Fault(at_s=at, kind="poison", target=target, detail=randomness.randrange(1 << 30))
        for target in randomness.sample(POISONS, 2)
    ]


def _jump(randomness: Random, at: float, seconds: float) -> list[Fault]:
    by_s = randomness.choice((-3600, 3600))
    return [Fault(at_s=at, kind="jump", target="", lasts_s=_lasts(randomness, JUMP_S, seconds), detail=by_s)]


def _rehome(randomness: Random, at: float, seconds: float) -> list[Fault]:
    return [Fault(at_s=at, kind="rehome", target="", detail=randomness.randrange(1 << 30))]


_ACTS: Final[Sequence[tuple[Act, float]]] = (
    (_kill_step, 4),
    (_kill_any, 3),
    (_terminate, 2),
    (_freeze, 4),
    (_change_while_one_recovers, 3),
    (_restart_all, 1),
    (_second_clock, 1),
    (_disturb, 6),
    (_too_many_parts, 1),
    (_kill_unstored, 2),
    (_poison, 2),
    (_jump, 1),
    (_rehome, 2),
)
"""What may happen, and how often of each other."""
