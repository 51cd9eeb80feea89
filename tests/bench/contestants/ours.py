"""The delivery layer of this project: a step as its author writes it, in a worker process as in production."""

import msgspec

from streams.delivery.agent import Agent, Effects, Record, Send, State
from streams.delivery.worker import run_worker
from streams.settings import Settings
from tests.bench.contestants.contest import Counted, Mark, decode_event, encode, told


def main() -> None:
    contest = told()
    mark = Mark(contest)

    def decide(record: Record, state: State[int]) -> Effects[int]:
        mark()
        count = (state.get(record.key) or 0) + 1
        counted = encode(Counted(decode_event(record.value).number, count))
        return Effects(changes={record.key: count}, sends=(Send(contest.counted, record.key, counted),))

    agent = Agent(
        name=contest.name,
        inputs=(contest.source,),
        outputs=(contest.counted,),
        decide=decide,
        encode=encode,
        decode=msgspec.json.Decoder(int).decode,
    )
    settings = Settings(
        bootstrap_servers=contest.bootstrap_servers, namespace=contest.namespace, partitions=contest.partitions
    )
    run_worker([agent], settings)


if __name__ == "__main__":
    main()
