"""A loop over confluent-kafka's clients that writes the same transactions: outputs, changed counts, positions.

No restore, no rebalance, no deadlines: what a loop of a few lines can do.
"""

from confluent_kafka import Consumer, KafkaException, Message, Producer

from tests.bench.contestants.contest import Counted, Mark, decode_event, encode, told

TRANSACTION_RECORDS = 2000
POLL_S = 0.05


def main() -> None:
    contest = told()
    mark = Mark(contest)
    servers = {"bootstrap.servers": contest.bootstrap_servers}
    consumer = Consumer(
        {
            **servers,
            "group.id": contest.name,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({**servers, "transactional.id": contest.name, "partitioner": "murmur2_random"})
    producer.init_transactions()
    consumer.subscribe([contest.topic(contest.source)])
    counted, changelog = contest.topic(contest.counted), contest.topic(contest.changelog)
    counts: dict[bytes, int] = {}
    while True:
        messages: list[Message] = consumer.consume(TRANSACTION_RECORDS, POLL_S)
        if not messages:
            continue
        mark()
        producer.begin_transaction()
        changed: dict[bytes, int] = {}
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            key = message.key()
            count = counts[key] = counts.get(key, 0) + 1
            changed[key] = message.partition()
            producer.produce(counted, encode(Counted(decode_event(message.value()).number, count)), key)
        for key, partition in changed.items():
            producer.produce(changelog, encode(counts[key]), key, partition)
        positions = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
        producer.commit_transaction()


if __name__ == "__main__":
    main()
