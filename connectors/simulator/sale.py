"""A sale and what is known of it: who bought what where, and the money that moved. Pure.

What happens to it, and when, stands in `stories` and `aftersales`.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from connectors.simulator.catalogue import LANGUAGES, PRODUCTS, Marketplace, Product, price_in, to_minor
from connectors.simulator.planned import MARKETPLACE, Teller, span
from streams.domain.events import Order, Payment

SECOND_LINE_SHARE = 0.22
TWO_PIECES_SHARE = 0.2
"""Of the lines of goods of low value."""
SPLIT_PAYMENT_SHARE = 0.05
GUEST_ID_SHARE = 0.4
"""Of the guests: the shop gives them an id of their own; the others have none."""
LOW_VALUE = Decimal(20)
"""In euro: goods below are refunded without being sent back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Purchase:
    """What starts a story. `guest`: bought without an account; `account_customer` is who it would be with one."""

    number: int
    marketplace: Marketplace
    placed_at: datetime
    country: str
    account_customer: str
    guest: bool


class Sale:
    """One order in the making. `reachable_at`: before, the marketplace can't be read."""

    def __init__(self, rng: Random, purchase: Purchase) -> None:
        self.rng, self.purchase, self.marketplace = rng, purchase, purchase.marketplace
        self.teller = Teller(rng=rng, marketplace=self.marketplace.name)
        # Scrambled, so that numbers look drawn; 7919 and 10**7 have no common divisor, so none comes twice.
        scrambled = f"{(purchase.number * 7919 + 104729) % 10**7:07d}"
        self.order_number = self.marketplace.order_number.format(a=f"{rng.randrange(100, 1000)}", b=scrambled)
        self.order = f"order:{self.marketplace.name}:{self.order_number}"
        self.language = LANGUAGES.get(purchase.country, "en")
        self.currency = self.marketplace.currency
        self.customer: str | None = purchase.account_customer
        if purchase.guest:
            has_id = rng.random() < GUEST_ID_SHARE
            self.customer = f"customer:{self.marketplace.name}:guest-{purchase.number}" if has_id else None
        self.products = rng.choices(PRODUCTS, [product.weight for product in PRODUCTS], k=self._line_count())
        self.quantities = [2 if p.price < LOW_VALUE and rng.random() < TWO_PIECES_SHARE else 1 for p in self.products]
        self.freight = Decimal(0) if self.marketplace.names_parcels else price_in(self.currency, Decimal("5"))
        self.paid_minor = self.total_minor = self._total_minor()
        self.refunded_minor = 0
        self.reachable_at = purchase.placed_at
        self.payments = 0
        self.contacts = 0
        self.method = self.marketplace.methods[0]

    def _line_count(self) -> int:
        return 1 if self.rng.random() >= SECOND_LINE_SHARE else self.rng.choice((2, 2, 2, 3))

    def price(self, product: Product) -> Decimal:
        """Of one piece, in the order's currency."""
        return price_in(self.currency, product.price)

    def _total_minor(self) -> int:
        goods = sum(
            (self.price(product) * quantity for product, quantity in zip(self.products, self.quantities, strict=True)),
            Decimal(0),
        )
        return to_minor(self.currency, goods + self.freight)

    def say(self, at: datetime, status: str, **fields: Any) -> None:
        """The marketplace tells a new state of the order."""
        self.tell_order(at, status, status=status, **fields)

    def tell_order(self, at: datetime, version: str, **fields: Any) -> None:
        """The marketplace tells something else of the order."""
        account = self.marketplace.name
        self.teller.tell(Order, at, MARKETPLACE, account, self.order, version, not_before=self.reachable_at, **fields)

    def pay(self) -> datetime:
        """The payment or payments, and the approval; returns when it was approved."""
        rng, at = self.rng, self.purchase.placed_at
        weights = [2**-position for position in range(len(self.marketplace.methods))]
        method = rng.choices(self.marketplace.methods, weights)[0]
        at += span(rng, 6, 50) if method == "bank_transfer" else span(rng, 0.005, 0.3)
        voucher_minor = self.total_minor // 5 if rng.random() < SPLIT_PAYMENT_SHARE else 0
        if voucher_minor:
            self._move_money("payment", "voucher", voucher_minor, at)
        instalments = rng.choice((3, 6, 12)) if method == "instalments" else None
        self._move_money("payment", method, self.total_minor - voucher_minor, at, instalments=instalments)
        self.method = method
        approved_at = at + span(rng, 0.01, 0.3)
        self.say(approved_at, "approved")
        return approved_at

    def _move_money(self, kind: str, method: str, minor: int, at: datetime, *, instalments: int | None = None) -> None:
        self.payments += 1
        payment = f"payment:{self.marketplace.money_account}:{self.order_number}-{self.payments}"
        self.teller.tell(
            Payment,
            at,
            MARKETPLACE,
            self.marketplace.money_account,
            payment,
            kind,
            leader=self.order,
            kind=kind,
            method=method,
            currency=self.currency,
            amount_minor=minor,
            instalments=instalments,
        )

    def refund(self, at: datetime, minor: int) -> int:
        """Pay back, never more than was paid; returns what was paid back."""
        minor = min(minor, self.paid_minor - self.refunded_minor)
        if minor > 0:
            self.refunded_minor += minor
            self._move_money("refund", self.method, minor, at)
        return minor
