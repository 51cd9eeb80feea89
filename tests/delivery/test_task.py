"""Facts of the core: what a task does with records and due instants, and what it commits together."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from streams.delivery import task as task_module
from streams.delivery.agent import Agent, Due, Effects, Record, Send, State
from streams.delivery.dead_letters import DEAD_LETTER, DeadLetter
from streams.delivery.task import Commit, Limits, NoProgress, Task
from tests.delivery.alarms import Alarm, Alarms, Command, alarm_agent, decide_due, decode, encode

A, B = b"a", b"b"


def record(offset: int, key: bytes, command: Command) -> Record:
    return Record("commands", 0, offset, key, encode(command))


def told(offset: int, key: bytes, *alarms: Alarm) -> Record:
    return record(offset, key, Command("set", {}, alarms))


def tick(offset: int, at: int, key: bytes = b"ticks", **more: int) -> Record:
    return record(offset, key, Command("tick", {"c": at, **more}))


def new_task(agent: Agent[Any] | None = None, **limits: int) -> Task[Any]:
    return Task(agent or alarm_agent(), 0, {}, {}, limits=Limits(**limits))


def run(task: Task[Any], *records: Record, positions: dict[str, int] | None = None) -> list[Commit]:
    commits = []
    for commit in task.process(records, positions):
        commits.append(commit)
        task.apply(commit)
    return commits


def rung(commits: Iterable[Commit]) -> list[str]:
    return [send.value.decode() for commit in commits for send in commit.sends if send.topic == "rung"]


def log_of(task: Task[Any], key: bytes) -> tuple[str, ...]:
    return decode(task.entries[key]).log


def test_a_batch_is_one_commit_of_changes_sends_and_position() -> None:
    task = new_task()
    (commit,) = run(task, told(0, A), told(1, B), told(2, A))
    assert commit.positions == {"commands": 3}
    assert [send.key for send in commit.sends] == [A, B, A]
    assert {key: decode(entry or b"").log for key, entry in commit.changes.items()} == {A: ("set",) * 2, B: ("set",)}
    assert task.entries == commit.changes
    assert task.positions == {"commands": 3}


def test_memory_follows_only_an_acknowledged_commit() -> None:
    task = new_task()
    commits = task.process([told(0, A)])
    next(commits)
    assert not task.entries
    assert not task.positions
    with pytest.raises(RuntimeError, match="not applied"):
        next(commits)


def test_a_commit_is_applied_once() -> None:
    task = new_task()
    (commit,) = run(task, told(0, A))
    with pytest.raises(RuntimeError, match="once"):
        task.apply(commit)


def test_a_deleted_key_is_a_tombstone_and_gone() -> None:
    task = new_task()
    run(task, told(0, A))
    (commit,) = run(task, record(1, A, Command("forget", {}, None)))
    assert commit.changes == {A: None}
    assert not task.entries


def test_a_key_made_and_deleted_in_one_commit_leaves_nothing() -> None:
    task = new_task()
    (commit,) = run(task, told(0, A), record(1, A, Command("forget", {}, None)))
    assert not commit.changes


def test_a_value_that_stays_the_same_is_not_written() -> None:
    def decide(record: Record, state: State[Alarms]) -> Effects[Alarms]:
        return Effects(changes={record.key: Alarms()})

    task = new_task(alarm_agent(decide=decide))
    first, second = run(task, told(0, A)), run(task, told(1, A))
    assert first[0].changes
    assert second == [Commit({}, [], {"commands": 2})]


def counting_task(decoded: list[bytes], encoded: list[Alarms], kept: Task[Any] | None = None) -> Task[Any]:
    """A task that notes what it decodes and encodes; it goes on where `kept` has committed, and remembers nothing."""

    def counting_decode(entry: bytes) -> Alarms:
        decoded.append(entry)
        return decode(entry)

    def counting_encode(value: Alarms) -> bytes:
        encoded.append(value)
        return encode(value)

    agent = alarm_agent(encode=counting_encode, decode=counting_decode)
    return Task(agent, 0, kept.entries if kept else {}, kept.positions if kept else {})


def test_a_key_is_decoded_once_and_encoded_once_in_a_commit() -> None:
    decoded: list[bytes] = []
    encoded: list[Alarms] = []
    former = new_task()
    run(former, told(0, A))
    run(counting_task(decoded, encoded, former), *(told(offset, A) for offset in range(1, 50)))
    assert (len(decoded), len(encoded)) == (1, 1)


def test_what_the_last_commits_used_is_not_decoded_again() -> None:
    decoded: list[bytes] = []
    task = counting_task(decoded, [])
    for offset in range(10):
        run(task, told(offset, A))
    assert not decoded
    assert log_of(task, A) == ("set",) * 10


def test_what_was_not_used_for_long_is_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "KEPT_BYTES", 1_000)
    decoded: list[bytes] = []
    task = counting_task(decoded, [])
    for offset in range(200):
        run(task, told(offset, b"key %d" % offset))
    run(task, told(200, b"key 0"), told(201, b"key 199"))
    assert [decode(entry).log for entry in decoded] == [("set",)]
    assert log_of(task, b"key 0") == ("set",) * 2


def test_a_key_deleted_and_made_again_begins_anew() -> None:
    task = new_task()
    run(task, told(0, A))
    run(task, record(1, A, Command("forget", {}, None)))
    run(task, told(2, A))
    assert log_of(task, A) == ("set",)


def test_what_is_due_is_encoded_once() -> None:
    encoded = []

    def counting_encode(value: Alarms) -> bytes:
        encoded.append(value)
        return encode(value)

    task = new_task(alarm_agent(encode=counting_encode))
    run(task, told(0, A, Alarm(1)), told(1, B, Alarm(2)))
    encoded.clear()
    run(task, tick(2, 5, key=A))
    assert [value.log for value in encoded] == [("set", "c1"), ("set", "c2"), ("set", "c1", "tick")]


def test_a_large_batch_is_split_between_records() -> None:
    commits = run(new_task(records=2), *(told(offset, A) for offset in range(5)))
    assert [commit.positions["commands"] for commit in commits] == [2, 4, 5]


def test_a_commit_ends_when_the_turn_is_late() -> None:
    late = iter([False, True, False, False, True])
    task = Task(alarm_agent(), 0, {}, {}, is_late=lambda: next(late))
    commits = run(task, *(told(offset, A) for offset in range(5)))
    assert [commit.positions["commands"] for commit in commits] == [2, 5]


def test_a_wide_fan_out_is_split_between_records() -> None:
    def fan_out(record: Record, state: State[Alarms]) -> Effects[Alarms]:
        return Effects(sends=[Send("told", b"%d" % n, bytes(100)) for n in range(10)])

    commits = run(new_task(alarm_agent(decide=fan_out), weight=1500), *(told(offset, A) for offset in range(5)))
    assert [(commit.positions["commands"], len(commit.sends)) for commit in commits] == [(2, 20), (4, 20), (5, 10)]


def test_a_position_moves_where_a_log_holds_no_records() -> None:
    task = new_task()
    assert run(task, positions={"commands": 7}) == [Commit({}, [], {"commands": 7})]
    assert run(task, positions={"commands": 7}) == []
    (commit,) = run(task, told(7, A), positions={"commands": 9})
    assert commit.positions == {"commands": 9}


def test_bad_input_is_one_dead_letter_and_leaves_the_state_alone() -> None:
    task = new_task()
    bad = record(1, A, Command("bad"))
    (commit,) = run(task, told(0, A), bad, told(2, B))
    assert log_of(task, A) == ("set",)
    assert commit.positions == {"commands": 3}
    (letter,) = [msgspec.json.decode(send.value, type=DeadLetter) for send in commit.sends if send.topic == DEAD_LETTER]
    assert (letter.reason, letter.origin_topic, letter.origin_partition, letter.origin_offset, letter.raw) == (
        "bad_command",
        "commands",
        0,
        1,
        bad.value,
    )


def test_an_error_without_quarantine_ends_the_batch_with_nothing_committed() -> None:
    task = new_task(alarm_agent(quarantine=None))
    with pytest.raises(ArithmeticError) as caught:
        run(task, told(0, A), record(1, A, Command("bug")))
    assert caught.value.__notes__ == ["in agent alarms, partition 0, record commands@1"]
    assert not task.entries
    assert not task.positions


def test_a_task_that_failed_takes_nothing_more() -> None:
    raised, unacknowledged = new_task(alarm_agent(quarantine=None)), new_task()
    with pytest.raises(ArithmeticError):
        run(raised, told(0, A), record(1, A, Command("bug")))
    next(unacknowledged.process([told(0, A)]))
    for task in (raised, unacknowledged):
        with pytest.raises(RuntimeError, match="to be dropped"):
            run(task, told(0, A))


def test_a_quarantine_that_gives_no_effects_is_an_error() -> None:
    task = new_task(alarm_agent(quarantine=lambda *_: None))
    with pytest.raises(ArithmeticError):
        run(task, record(0, A, Command("bug")))


def test_a_quarantine_sets_one_key_aside_and_the_rest_goes_on() -> None:
    task = new_task()
    run(task, record(0, A, Command("bug")), told(1, B))
    assert log_of(task, A) == ("quarantined",)
    assert log_of(task, B) == ("set",)


def test_a_send_to_an_undeclared_topic_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="sent to told, which is not among its outputs"):
        run(new_task(alarm_agent(outputs=("rung",))), told(0, A))


def test_an_agent_without_state_may_not_change_it() -> None:
    with pytest.raises(RuntimeError, match="declares no state"):
        run(new_task(alarm_agent(encode=None, decode=None, dues=None, due=None)), told(0, A))


@pytest.mark.parametrize("missing", ["encode", "decode", "dues", "due"])
def test_a_half_declared_agent_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match="agent alarms"):
        alarm_agent(**{missing: None})


def test_dues_are_worked_off_by_instant_clock_and_key() -> None:
    task = new_task()
    run(task, told(0, B, Alarm(5), Alarm(3, "d"), Alarm(3)), told(1, A, Alarm(3), Alarm(9)))
    commits = run(task, tick(2, 5, d=4))
    assert rung(commits) == ["a c3", "b c3", "b d3", "b c5"]


def test_a_due_at_the_instant_itself_is_worked_off_and_a_later_one_is_not() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(5), Alarm(6)))
    assert rung(run(task, tick(1, 5))) == ["a c5"]


def test_a_clock_that_goes_back_finds_nothing() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(5)))
    run(task, tick(1, 7))
    assert rung(run(task, tick(2, 3))) == []


def test_dues_are_worked_off_before_the_record_that_advances_the_clock() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(5)), tick(1, 7, key=A))
    assert log_of(task, A) == ("set", "c5", "tick")


def test_dues_that_arise_are_worked_off_in_their_order() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(2, repeats=2, every=3, other="b")), told(1, B, Alarm(6)))
    assert rung(run(task, tick(2, 8))) == ["a c2", "a c5", "b c5", "b c6", "a c8", "b c8"]


def test_a_due_that_was_set_and_replaced_is_not_worked_off() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(2)))
    run(task, told(1, A, Alarm(4)))
    assert rung(run(task, tick(2, 9))) == ["a c4"]


def test_dues_are_found_again_after_a_restore() -> None:
    task = new_task()
    run(task, told(0, A, Alarm(2)))
    restored: Task[Any] = Task(alarm_agent(), 0, task.entries, task.positions)
    assert rung(run(restored, tick(1, 9))) == ["a c2"]


def test_a_mass_expiry_is_sliced_and_the_clock_s_record_comes_with_the_last_slice() -> None:
    task = new_task(dues=2)
    run(task, *(told(n, b"%d" % n, Alarm(n)) for n in range(5)))
    commits = run(task, tick(5, 9))
    assert [len(rung([commit])) for commit in commits] == [2, 2, 1]
    assert [commit.positions for commit in commits] == [{}, {}, {"commands": 6}]


def test_a_rest_of_a_sliced_expiry_is_worked_off_when_the_record_is_read_again() -> None:
    task = new_task(dues=2)
    run(task, *(told(n, b"%d" % n, Alarm(n)) for n in range(5)))
    first = next(iter(task.process([tick(5, 9)])))
    task.apply(first)
    taken_over: Task[Any] = Task(alarm_agent(), 0, task.entries, task.positions)
    assert rung([first, *run(taken_over, tick(5, 9))]) == [f"{n} c{n}" for n in range(5)]


def test_an_abandoned_batch_goes_on_where_it_was_committed() -> None:
    task = new_task(dues=2)
    run(task, *(told(n, b"%d" % n, Alarm(n)) for n in range(5)))
    commits = task.process([tick(5, 9)])
    first = next(commits)
    task.apply(first)
    del commits
    assert rung([first, *run(task, tick(5, 9))]) == [f"{n} c{n}" for n in range(5)]


def stuck(due: Due, key: bytes, state: State[Alarms]) -> Effects[Alarms]:
    """Rings and does not stop: the alarm stays as it is."""
    effects = decide_due(due, key, state)
    return effects if key != A else Effects(sends=effects.sends)


def test_a_due_without_progress_is_quarantined() -> None:
    task = new_task(alarm_agent(due=stuck))
    commits = run(task, told(0, A, Alarm(3)), told(1, B, Alarm(4)), tick(2, 9))
    assert log_of(task, A) == ("set", "quarantined")
    assert rung(commits) == ["b c4"]


def test_a_due_without_progress_and_without_quarantine_is_an_error() -> None:
    task = new_task(alarm_agent(due=stuck, quarantine=None))
    with pytest.raises(NoProgress, match="still holds"):
        run(task, told(0, A, Alarm(3)), tick(1, 9))


def test_a_quarantine_without_progress_is_an_error() -> None:
    task = new_task(alarm_agent(due=stuck, quarantine=lambda *_: Effects()))
    with pytest.raises(NoProgress, match="still holds"):
        run(task, told(0, A, Alarm(3)), tick(1, 9))


def test_a_key_that_is_due_for_ever_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "DUES_PER_KEY", 10)

    def swing(due: Due, key: bytes, state: State[Alarms]) -> Effects[Alarms]:
        return Effects(changes={key: Alarms((Alarm(3 - due.at),))})

    with pytest.raises(NoProgress, match="10 times"):
        run(new_task(alarm_agent(due=swing)), told(0, A, Alarm(1)), tick(1, 9))


def test_what_is_due_may_not_advance_a_clock() -> None:
    def jump(due: Due, key: bytes, state: State[Alarms]) -> Effects[Alarms]:
        return Effects(changes={key: None}, advance={"c": 100})

    with pytest.raises(RuntimeError, match="can't advance"):
        run(new_task(alarm_agent(due=jump, quarantine=None)), told(0, A, Alarm(1)), tick(1, 9))


def test_outdated_dues_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "STALE_DUES", 10)
    task = new_task()
    for offset in range(200):
        run(task, told(offset, A, Alarm(1000 + offset)))
    assert task._dues._size <= 13
    assert rung(run(task, tick(200, 5000))) == ["a c1199"]
