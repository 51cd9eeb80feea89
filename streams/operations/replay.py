"""Brings dead letters back after a fix: the input that was refused is published again, in order, once.

Read is the topic of dead letters; what is published again is the original record, whole and with its headers, from
where it came. One transaction holds the records of a chunk and a mark for each of their letters, so that a second run,
or one after a crash, finds them marked. Marks lie in the partition of their letter behind it, so they are kept as long.

What becomes of a letter is decided in `letters`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from streams import kafka
from streams.delivery.agent import Record, Send
from streams.delivery.dead_letters import DEAD_LETTER
from streams.delivery.names import topic_name
from streams.delivery.transactions import RETRY_MS
from streams.domain.events import DeadLetter, DeadLetterReplay
from streams.errors import Refused, Transient
from streams.operations.letters import Choice, Letter, Report, Route, check_choice, letter_of, mark, route
from streams.operations.reading import Reader, decoded
from streams.settings import Settings
from streams.timepieces import MACHINE, Timepieces
from streams.topics import MAX_MESSAGE_BYTES, Topic, read_topics

MAX_LETTERS = 1_000_000
"""Brought back by one run: they are held in memory, at some 500 bytes each."""
STOP_S = 3.0
"""Longest time for ending in good order."""
CHUNK_RECORDS = 500
CHUNK_BYTES = 2 << 20
"""A chunk is one transaction: what it holds back from readers is short."""
GAP = 2_000
"""Records between two originals that are read over rather than sought past."""
Tell: TypeAlias = Callable[[int, int], None]
"""Called with how many letters are done, and how many there are."""


async def replay(
    settings: Settings, choice: Choice, *, tell: Tell, timepieces: Timepieces = MACHINE, dry_run: bool = False
) -> Report:
    """Bring back the letters that are meant and were not brought back before; with `dry_run` only say what would be.

    May be interrupted at any moment and started again. Raises Refused when Kafka can't be reached, another run has
    taken over, or the choice can't be right; Transient when Kafka stops answering.
    """
    topics = read_topics(settings.partitions)
    writer = None if dry_run else Writer(settings)
    report = Report()
    try:
        # An earlier run is fenced before anything is read: what it has marked is marked for good, and no more comes.
        if writer is not None:
            await writer.start()
        async with Reader(settings) as reader:
            opened = await _read_letters(reader, settings, choice, topics, report)
            done = 0
            tell(done, len(opened))
            async for chunk in _chunks(reader, settings, opened, topics):
                if writer is not None:
                    await writer.write(_records(chunk, timepieces.now()))
                for letter, found in chunk:
                    report.add(letter, found)
                done += len(chunk)
                tell(done, len(opened))
    finally:
        if writer is not None:
            await writer.stop()
    return report


async def _read_letters(
    reader: Reader, settings: Settings, choice: Choice, topics: Mapping[str, Topic], report: Report
) -> list[Letter]:
    """The letters that are meant and open, by where they came from; what was brought back before is reported.

    Raises Refused for a choice that can't be right, or means too many.
    """
    spans = await reader.spans(reader.places(topic_name(settings.namespace, DEAD_LETTER)))
    letters = Letters(choice, report)
    # Twice: a mark lies behind its letter, and letters that are marked must not be held until it is found.
    for take in (letters.take_mark, letters.take_letter):
        for place, (begin, end) in spans.items():
            async for records in reader.read(place, begin, end):
                for record in records:
                    take(decoded(record.value))
    check_choice(choice, letters.reasons, topics)
    return sorted(
        letters.opened.values(), key=lambda letter: (letter.topic or "", letter.partition, letter.offset, letter.id)
    )


class Letters:
    """What stands on the topic of dead letters. All marks are to be taken in before the first letter."""

    def __init__(self, choice: Choice, report: Report) -> None:
        self._choice, self._report = choice, report
        self._marked: set[str] = set()
        self.opened: dict[str, Letter] = {}
        """Those that are meant."""
        self.reasons: set[str] = set()
        """Of all letters."""

    def take_mark(self, entry: Any) -> None:
        """What is no mark is passed over."""
        if isinstance(entry, DeadLetterReplay):
            self._marked.add(entry.dead_letter_id)

    def take_letter(self, entry: Any) -> None:
        """What is no letter is passed over. Raises Refused at the bound."""
        if not isinstance(entry, DeadLetter):
            return
        letter = letter_of(entry)
        self.reasons.add(letter.reason)
        if not self._choice.takes(letter):
            return
        if letter.id in self._marked:
            self._report.add(letter, Route("brought back before"))
            return
        self.opened[letter.id] = letter
        if len(self.opened) > MAX_LETTERS:
            raise Refused(f"more than {MAX_LETTERS:,} dead letters at once: choose by --reason, --agent or --topic")


Chunk: TypeAlias = list[tuple[Letter, Route]]


async def _chunks(
    reader: Reader, settings: Settings, letters: Sequence[Letter], topics: Mapping[str, Topic]
) -> AsyncIterator[Chunk]:
    """What becomes of each letter, in order, in bounded pieces."""
    chunk: Chunk = []
    size = 0
    async for letter, original in _originals(reader, settings, letters, topics):
        found = route(letter, original, topics)
        chunk.append((letter, found))
        size += sum(len(send.value) for send in found.sends)
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def _originals(
    reader: Reader, settings: Settings, letters: Sequence[Letter], topics: Mapping[str, Topic]
) -> AsyncIterator[tuple[Letter, Record | None]]:
    """Each letter with the record that it is about; None where there is none any more."""
    for (topic, partition), group in groupby(letters, key=lambda letter: (letter.topic, letter.partition)):
        begin = end = 0
        if topic in topics and partition < topics[topic].partitions:
            place = TopicPartition(topic_name(settings.namespace, topic), partition)
            begin, end = (await reader.spans([place]))[place]
        for run in runs(group):
            waiting = deque(run)
            first, last = max(run[0].offset, begin), min(run[-1].offset + 1, end)
            if first < last:
                async for records in reader.read(place, first, last):
                    for record in kafka.records_of(topic, records):
                        while waiting and waiting[0].offset <= record.offset:
                            letter = waiting.popleft()
                            yield letter, record if letter.offset == record.offset else None
            for letter in waiting:
                yield letter, None


def runs(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    """Letters of one partition in groups whose originals lie close enough together to be read at one go."""
    run: list[Letter] = []
    for letter in letters:
        if run and letter.offset - run[-1].offset > GAP:
            yield run
            run = []
        run.append(letter)
    if run:
        yield run


def _records(chunk: Chunk, now: datetime) -> list[Send]:
    """What a chunk writes: the records of each letter, and its mark."""
    sends: list[Send] = []
    for letter, found in chunk:
        if found.sends:
            sends += (*found.sends, mark(letter, now))
    return sends


class Writer:
    """Writes chunks, each as one transaction. A run that is started later fences this one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = kafka.Cluster(settings).producer(
            transactional_id=f"{settings.namespace}-dlq-replay",
            transaction_timeout_ms=int(settings.transaction_timeout_s * 1000),
            max_request_size=MAX_MESSAGE_BYTES,
            retry_backoff_ms=RETRY_MS,
        )

    async def start(self) -> None:
        """Fence an earlier run. Raises Refused when Kafka can't be reached."""
        await kafka.start(self._producer, self._settings)

    async def write(self, sends: Sequence[Send]) -> None:
        """All of it, or nothing. A chunk that was begun is ended before the command is, so that nobody waits for it."""
        if not sends:
            return
        writing = asyncio.ensure_future(self._write(sends))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:  # stopped by a person
            await _within(STOP_S, writing)
            raise

    async def _write(self, sends: Sequence[Send]) -> None:
        try:
            async with asyncio.timeout(self._settings.transaction_timeout_s), kafka.told_of_fence(self._producer):
                await self._producer.begin_transaction()
                waiting = [
                    await self._producer.send(
                        topic_name(self._settings.namespace, send.topic),
                        send.value,
                        key=send.key,
                        partition=send.partition,
                        headers=list(send.headers),
                    )
                    for send in sends
                ]
                await asyncio.gather(*waiting)
                await self._producer.commit_transaction()
        except ProducerFenced:
            raise Refused("another `aftersales dlq replay` has taken over, and brings back what is left") from None
        except (TimeoutError, KafkaError) as error:
            raise Transient(
                f"Kafka at {self._settings.bootstrap_servers} does not take what is brought back ({error!r}): run the "
                "command again, it goes on where it was"
            ) from error

    async def stop(self) -> None:
        """Close the connections; a transaction that is open is left to Kafka, or to the next run's fence."""
        await _within(STOP_S, self._producer.stop())


async def _within(seconds: float, ending: Awaitable[None]) -> None:
    """What should be done before the process ends, if Kafka still answers."""
    with suppress(TimeoutError, KafkaError, Refused, Transient):
        async with asyncio.timeout(seconds):
            await ending
