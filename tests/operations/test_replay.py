"""What becomes of a dead letter that is to be brought back: decided without Kafka."""

from typing import Any

import msgspec
import pytest

from streams import codec
from streams.delivery.agent import Record, Send
from streams.delivery.dead_letters import DEAD_LETTER, dead_record
from streams.domain import matter as matter_module
from streams.domain.events import DeadLetter, DeadLetterReplay, MessageText, Move, Place, PlaceMessage, Tick
from streams.errors import BadInput, Refused
from streams.operations import replay as replay_module
from streams.operations.letters import Choice, Letter, Report, check_choice, letter_of, mark, route
from streams.operations.replay import Letters, runs
from streams.topics import read_topics
from tests.identity.made import CUSTOMER, NOW, ORDER, common, letters, matters, order, pipeline, run, scan
from tests.identity.stories import record_of
from tests.operations.made import original, retry

TOPICS = read_topics()
HEADERS = (("trace", b"7"),)


def test_letters_that_were_brought_back_do_not_count_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "MAX_LETTERS", 2)
    entries = [
        DeadLetter(
            dead_letter_id=str(number), reason="r", detail="", agent="correlate", raw_size=0, raw_sha256="", raw=b""
        )
        for number in range(6)
    ]
    report = Report()
    stored = Letters(Choice(), report)
    for entry in entries[:4]:
        stored.take_mark(DeadLetterReplay(dead_letter_id=entry.dead_letter_id, replayed_at=NOW))
    for entry in entries:
        stored.take_letter(entry)
    assert sorted(stored.opened) == ["4", "5"]
    assert report.count("brought back before") == 4
    with pytest.raises(Refused, match="more than 2 dead letters"):
        stored.take_letter(msgspec.structs.replace(entries[0], dead_letter_id="6"))


def refused(topic: str, key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> tuple[Letter, Record]:
    """A record that some agent refused, and its letter."""
    record = Record(topic, 1, 7, key, value, headers)
    return letter_of(dead_record("correlate", record, BadInput("some_reason", "some detail"))), record


def sends_of(topic: str, key: bytes, entry: Any, headers: tuple[tuple[str, bytes], ...] = ()) -> tuple[Send, ...]:
    found = route(*refused(topic, key, codec.encode(entry), headers), TOPICS)
    assert found.outcome == "brought back", found
    return found.sends


def outcome(topic: str, value: bytes) -> str:
    found = route(*refused(topic, b"key", value), TOPICS)
    assert not found.sends
    return found.outcome


def test_an_event_goes_back_to_its_topic_unchanged_with_its_headers() -> None:
    value = codec.encode(order())
    assert sends_of("order", ORDER.encode(), order(), HEADERS) == (Send("order", ORDER.encode(), value, HEADERS),)


def test_an_event_from_a_timeline_goes_to_its_source_topic_for_its_place_may_have_changed() -> None:
    scanned = scan(1)
    headers = (("matter", b"parcel:1"), *HEADERS)
    assert sends_of("timeline", CUSTOMER.encode(), scanned, headers) == (
        Send("parcel", b"parcel:1", codec.encode(scanned), HEADERS),
    )


def test_an_event_under_a_wrong_key_or_on_a_wrong_topic_goes_where_it_belongs() -> None:
    assert sends_of("order", b"nonsense", order())[0].key == ORDER.encode()
    assert sends_of("parcel", ORDER.encode(), order())[0].topic == "order"


def test_a_text_goes_back_to_the_texts() -> None:
    text = MessageText(text_of=order().event_id, text="hello", **common("thread:a:1"))
    assert sends_of("message_text", b"thread:a:1", text) == (Send("message_text", b"thread:a:1", codec.encode(text)),)


@pytest.mark.parametrize(
    "entry", [Move(step="in", id="parcel:1", number=1, matter=ORDER), Tick(now=NOW)], ids=lambda entry: entry.NAME
)
def test_another_entry_of_a_timeline_goes_back_to_its_place_there(entry: Any) -> None:
    value = codec.encode(entry)
    assert sends_of("timeline", b"who", entry, HEADERS) == (Send("timeline", b"who", value, HEADERS, 1),)


def test_a_word_of_a_leader_may_be_out_of_date_so_that_it_is_asked_to_say_it_again() -> None:
    told = PlaceMessage(kind="told", sender=ORDER, customer=CUSTOMER, matter=ORDER)
    (again,) = sends_of("place_message", b"parcel:1", told)
    assert again.key == ORDER.encode()
    assert codec.decode(again.value) == PlaceMessage(kind="register", sender="parcel:1")


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (PlaceMessage(kind="register", sender="parcel:1"), 1),
        (PlaceMessage(kind="follow", sender=ORDER, customer=CUSTOMER, matter=ORDER, said_at=NOW, said_by="x"), 2),
    ],
    ids=["register", "follow"],
)
def test_what_an_id_says_of_itself_goes_back_as_it_was(message: PlaceMessage, count: int) -> None:
    sends = sends_of("place_message", b"order:a:2", message)
    assert len(sends) == count
    assert sends[0] == Send("place_message", b"order:a:2", codec.encode(message))


def test_what_cannot_be_brought_back_is_named() -> None:
    letter, record = refused("order", b"key", codec.encode(order()))
    assert route(letter, None, TOPICS).outcome == "gone"
    assert route(letter, msgspec.structs.replace(record, value=b"another"), TOPICS).outcome == "changed"
    assert route(letter._replace(topic=None), None, TOPICS).outcome == "of a file"
    assert outcome("order", b"no record at all") == "unreadable"
    assert outcome("order", codec.encode(msgspec.structs.replace(order(), about="banana:1"))) == "still refused"
    assert outcome("place_message", codec.encode(PlaceMessage(kind="told", sender=ORDER))) == "still refused"
    assert outcome("place_message", codec.encode(PlaceMessage(kind="leave", sender="parcel:1"))) == "out of date"
    lives = Place(id=ORDER, customer=CUSTOMER, matter=ORDER, revision=0, provisional=False)
    assert outcome("timeline", codec.encode(lives)) == "misplaced"


def test_a_mark_names_its_letter_and_lies_where_the_letter_does() -> None:
    letter, _ = refused("order", b"key", b"?")
    marked = mark(letter, NOW)
    assert (marked.topic, marked.key) == (DEAD_LETTER, letter.id.encode())
    assert codec.decode(marked.value) == DeadLetterReplay(dead_letter_id=letter.id, replayed_at=NOW)


def test_a_choice_that_can_mean_no_letter_is_refused() -> None:
    check_choice(Choice(reason="wrong_id", topic="order"), {"wrong_id"}, TOPICS)
    with pytest.raises(Refused, match=r"'wrongid': there are wrong_id"):
        check_choice(Choice(reason="wrongid"), {"wrong_id"}, TOPICS)
    with pytest.raises(Refused, match="no topic 'orders': choose from order"):
        check_choice(Choice(topic="orders"), {"wrong_id"}, TOPICS)


def test_originals_far_apart_are_sought_and_near_ones_read_over() -> None:
    def at(offset: int) -> Letter:
        return Letter(str(offset), "correlate", "r", "order", 0, offset, "")

    assert [[letter.offset for letter in run] for run in runs(map(at, (1, 2, 900, 5_000, 5_001)))] == [
        [1, 2, 900],
        [5_000, 5_001],
    ]


def test_what_a_full_matter_refused_is_there_after_its_bound_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matter_module, "MAX_EVENTS", 3)
    scans = [scan(number) for number in range(7)]
    local = run(pipeline(), scans)
    dead = letters(local)
    assert [letter.reason for letter in dead] == ["matter_full"] * 3
    # Meanwhile the parcel turns out to belong to an order.
    monkeypatch.setattr(matter_module, "MAX_EVENTS", 100)
    run(local, [retry("parcel:1", "provisional:parcel:1"), scan(8, leader=ORDER), order()])
    for letter in dead:
        run(local, route(letter_of(letter), original(local, letter), TOPICS).sends)
    assert len(matters(local)[ORDER].history["parcel:1"]) == len(scans) + 1
    assert len(letters(local)) == len(dead)


def test_what_is_refused_again_becomes_a_new_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matter_module, "MAX_EVENTS", 3)
    local = run(pipeline(), [scan(number) for number in range(5)])
    (first,) = letters(local)
    run(local, route(letter_of(first), original(local, first), TOPICS).sends)
    again = letters(local)[1:]
    assert [letter.reason for letter in again] == ["matter_full"]
    assert again[0].dead_letter_id != first.dead_letter_id
    assert original(local, again[0]).value == record_of(scan(4)).value
