"""`dlq list` and `dlq show`."""

from streams.cli.query import ask, print_table, text
from streams.cli.screen import harmless, on_one_line
from streams.cli.stack import command
from streams.errors import Refused
from streams.settings import Settings

MAX_RAW = 4_000
"""Characters of the raw bytes that are printed."""
SHORT = 8
"""Characters of an id that tell one dead letter from another."""


def list_(settings: Settings, reason: str | None, limit: int) -> int:
    """Print how many dead letters there are of each reason, and the newest."""
    _, counts = ask(
        settings, "SELECT reason, agent, count() AS letters FROM dead_letter FINAL GROUP BY ALL ORDER BY letters DESC"
    )
    if not counts:
        print("no dead letters")
        return 0
    print_table(("reason", "refused by", "dead letters"), counts)
    _, rows = ask(
        settings,
        """
        SELECT dead_letter_id, stored_at, reason, agent,
            coalesce(concat(origin_file, ':', toString(origin_line)),
                concat(origin_topic, '/', toString(origin_partition), '@', toString(origin_offset)), '') AS origin,
            detail
        FROM dead_letter FINAL
        WHERE {reason:String} = '' OR reason = {reason:String}
        ORDER BY stored_at DESC, dead_letter_id LIMIT {limit:UInt32}
        """,
        {"reason": reason or "", "limit": limit},
    )
    print()
    for id, stored_at, code, agent, origin, detail in rows:
        print(on_one_line(f"{id[:SHORT]}  {text(stored_at)}  {code} ({agent})  {origin}"))
        print(on_one_line(f"{'':{SHORT}}  {detail}"))
    if not rows:
        print(on_one_line(f"none of reason {reason}"))
        return 0
    print(f"\none of them whole: {command(settings, 'dlq', 'show', rows[0][0][:SHORT])}")
    return 0


def show(settings: Settings, id: str) -> int:
    """Print one dead letter whole. Raises Refused when none or several begin with `id`."""
    names, rows = ask(
        settings,
        "SELECT * FROM dead_letter FINAL WHERE startsWith(dead_letter_id, {id:String}) LIMIT 2",
        {"id": id},
    )
    if not rows:
        raise Refused(f"no dead letter begins with {id!r}: see `aftersales dlq list`")
    if len(rows) > 1:
        raise Refused(f"several dead letters begin with {id!r}: give more of the id")
    for name, value in zip(names, rows[0], strict=True):
        if name != "raw" and value is not None:
            print(on_one_line(f"{name:18}{text(value)}"))
    raw = dict(zip(names, rows[0], strict=True))["raw"]
    print("raw:")
    print(harmless(text(raw)[:MAX_RAW]))
    return 0
