"""Correlate: sends each event to the timeline of the customer it belongs to. State: one `Identity` per id.

Nothing waits: an event of an unknown customer goes on at once, to a provisional one. The rules are in
`streams.domain.identity`; here they are given records and turned into records.
"""

import msgspec

from streams import codec
from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.domain import identity, ids
from streams.domain.admission import check_event
from streams.domain.events import Event, PlaceMessage
from streams.domain.identity import Identity
from streams.errors import BadInput

SOURCES = ("order", "parcel", "return", "message", "ticket", "review", "claim", "payment", "action_result")
MATTER_HEADER = "matter"


def decide(record: Record, state: State[Identity]) -> Effects[Identity]:
    """The effects of a source event, or of a message from another id. Raises BadInput."""
    if record.topic == "place_message":
        id = ids.check_id(record.key.decode(errors="replace"))
        message = codec.decode(record.value)
        if not isinstance(message, PlaceMessage):
            raise BadInput("wrong_record", f"a {message.NAME} on the topic place_message")
        known, outputs = identity.hear_message(id, state.get(record.key), message)
        return Effects(changes={record.key: known}, sends=sends_of(outputs))
    event = codec.decode(record.value)
    if not isinstance(event, Event) or record.topic != event.NAME:
        raise BadInput("wrong_record", f"a {event.NAME} on the topic {record.topic}")
    key = event.about.encode()
    # A record under another key would be decided on by a task that does not own the id.
    if key != record.key:
        raise BadInput("wrong_key", f"the record is keyed {record.key[:100]!r} but is about {event.about!r}")
    check_event(event, len(record.value))
    known, outputs = identity.hear_event(state.get(key), event)
    entry = Send("timeline", known.customer.encode(), record.value, ((MATTER_HEADER, known.matter.encode()),))
    return Effects(changes={key: known}, sends=[*sends_of(outputs), entry])


def sends_of(outputs: list[identity.Output]) -> list[Send]:
    """What ids say, as records."""
    sends = []
    for output in outputs:
        if isinstance(output, identity.ToId):
            sends.append(Send("place_message", output.id.encode(), codec.encode(output.message)))
        elif isinstance(output, identity.ToCustomer):
            sends.append(Send("timeline", output.customer.encode(), codec.encode(output.move)))
        else:
            sends.append(Send("place", output.place.id.encode(), codec.encode(output.place)))
    return sends


_PLAIN, _PROVISIONAL = b"\x00", b"\x01"
_encode_identity = msgspec.msgpack.Encoder().encode
_decode_identity = msgspec.msgpack.Decoder(Identity).decode


def encode(known: Identity) -> bytes:
    """A state value as bytes. The first says whether it heads a matter of nobody that is known: it is counted."""
    is_provisional = known.leader is None and ids.is_provisional(known.customer)
    return (_PROVISIONAL if is_provisional else _PLAIN) + _encode_identity(known)


def decode(encoded: bytes) -> Identity:
    """The value of its bytes."""
    return _decode_identity(memoryview(encoded)[1:])


AGENT: Agent[Identity] = Agent(
    name="correlate",
    inputs=(*SOURCES, "place_message"),
    outputs=("timeline", "place_message", "place"),
    decide=decide,
    encode=encode,
    decode=decode,
    marks={_PROVISIONAL[0]: "provisional_customers"},
    bounds=frozenset({"too_many_followers"}),
)
