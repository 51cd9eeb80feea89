"""The simulated market: a sequence of records without end, in the order of their publication, from a seed alone. Pure.

The market has a time of its own. Who reads the sequence decides what of it is history and what is live (`pace`), and
may stop and go on anywhere: the same seed, start and rate always give the same records. Must not know the present.
"""

import hashlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from random import Random

from connectors.simulator.catalogue import MARKETPLACES, UTC_OFFSETS_H, Marketplace
from connectors.simulator.planned import Planned
from connectors.simulator.sale import Purchase
from connectors.simulator.stories import tell_story

ORDERS_PER_DAY = 28.0
RETURNING_SHARE = 0.32
"""Of the orders: from somebody who has bought before."""
HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 11, 11, 10, 10, 10, 11, 12, 13, 15, 16, 14, 10, 5)
"""How much is bought in each hour of the local day."""
WEEKDAYS = (1.05, 1.0, 0.97, 0.95, 0.9, 0.98, 1.15)
"""How much is bought on each day of the week, Monday first."""
PROMOTION_EVERY_D = 42
PROMOTION_ON_D = 18
PROMOTION_FACTOR = 2.4
"""One day of each period sells more; the after-sales peak follows it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """A market; iterating gives its records, from the start, each time anew."""

    seed: int
    start_at: datetime
    """When it opens; an aware datetime, whole seconds."""
    orders_per_day: float = ORDERS_PER_DAY

    def __iter__(self) -> Iterator[Planned]:
        """All planned records, earliest publication first. Never ends."""
        waiting: list[tuple[datetime, int, int, Planned]] = []
        numbers, known = count(1), dict.fromkeys((marketplace.name for marketplace in MARKETPLACES), 0)
        for day in count():
            for purchase in self._purchases(day, numbers, known):
                story = tell_story(self._random("story", purchase.number), purchase)
                for step, planned in enumerate(story):
                    heapq.heappush(waiting, (planned.publish_at, purchase.number, step, planned))
            tomorrow = self.start_at + timedelta(days=day + 1)
            while waiting and waiting[0][0] < tomorrow:
                yield heapq.heappop(waiting)[3]

    def _random(self, *of: object) -> Random:
        # A text as seed is hashed with SHA-512, so this does not depend on the process.
        return Random("/".join(map(str, (self.seed, *of))))  # noqa: S311  nothing secret is drawn

    def _purchases(self, day: int, numbers: Iterator[int], known: dict[str, int]) -> list[Purchase]:
        """What is bought within one day from the start; `known` counts each marketplace's customers and goes on."""
        rng, day_at = self._random("day", day), self.start_at + timedelta(days=day)
        rate = self.orders_per_day * WEEKDAYS[day_at.weekday()]
        if day % PROMOTION_EVERY_D == PROMOTION_ON_D:
            rate *= PROMOTION_FACTOR
        purchases = []
        for marketplace in MARKETPLACES:
            for _ in range(_poisson(rng, rate * marketplace.share)):
                countries, shares = zip(*marketplace.countries, strict=True)
                country = rng.choices(countries, shares)[0]
                customer = self._choose_customer(rng, marketplace, known)
                purchases.append(
                    Purchase(
                        number=next(numbers),
                        marketplace=marketplace,
                        placed_at=_instant(rng, day_at, country),
                        country=country,
                        account_customer=customer,
                        guest=rng.random() < marketplace.guest_share,
                    )
                )
        return purchases

    def _choose_customer(self, rng: Random, marketplace: Marketplace, known: dict[str, int]) -> str:
        count_known = known[marketplace.name]
        if count_known and rng.random() < RETURNING_SHARE:
            number = int(count_known * rng.random() ** 2)  # a few buy often
        else:
            number = known[marketplace.name] = count_known + 1
        digest = hashlib.sha256(f"{self.seed}/{marketplace.name}/{number}".encode()).hexdigest()
        return f"customer:{marketplace.name}:{digest[:20]}"


def _instant(rng: Random, day_at: datetime, country: str) -> datetime:
    """An instant within 24 hours from `day_at`, in the rhythm of the country's day."""
    offset = UTC_OFFSETS_H.get(country, 1)
    hours = [HOURS[(day_at.hour + ahead + offset) % 24] for ahead in range(24)]
    return day_at + timedelta(hours=rng.choices(range(24), hours)[0], seconds=rng.randrange(3600))


def _poisson(rng: Random, mean: float) -> int:
    """How many of independent events happen: Knuth's product of uniforms, in steps so that nothing underflows."""
    found, left = 0, mean
    while left > 0:
        limit, product = math.exp(-min(left, 500.0)), rng.random()
        while product > limit:
            found, product = found + 1, product * rng.random()
        left -= 500.0
    return found
