"""Quix Streams as its documentation shows it. `way`: its processing guarantee."""

from typing import Any

from quixstreams import Application, State

from tests.bench.contestants.contest import Mark, told


def main() -> None:
    contest = told()
    mark = Mark(contest)
    app = Application(
        broker_address=contest.bootstrap_servers,
        consumer_group=contest.name,
        auto_offset_reset="earliest",
        state_dir=contest.folder,
        processing_guarantee=contest.way,
        loglevel="WARNING",
    )
    source = app.topic(contest.topic(contest.source), value_deserializer="json")
    counted = app.topic(contest.topic(contest.counted), value_serializer="json")

    def count(event: dict[str, Any], state: State) -> dict[str, int]:
        mark()
        count = state.get("count", 0) + 1
        state.set("count", count)
        return {"number": event["number"], "count": count}

    app.dataframe(source).apply(count, stateful=True).to_topic(counted)
    app.run()


if __name__ == "__main__":
    main()
