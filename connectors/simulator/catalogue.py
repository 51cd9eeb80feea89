"""What the simulated seller sells, where, for how much, and who carries it. Values only; all of it is made up.

Must not know how stories go.
"""

from dataclasses import dataclass
from decimal import Decimal

CENT_EXPONENT = {"EUR": 2, "USD": 2, "GBP": 2, "JPY": 0}
"""Digits after the point of a currency (ISO 4217)."""
PER_EURO = {"EUR": Decimal(1), "USD": Decimal("1.10"), "GBP": Decimal("0.85"), "JPY": Decimal(160)}
"""Price factor of a currency; not an exchange rate of any day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """A product; `price` in euro, `return_share` and `defect_share` of the orders that hold it."""

    sku: str
    category: str
    price: Decimal
    weight: float
    return_share: float
    defect_share: float


def _products() -> tuple[Product, ...]:
    ranges = {
        # category: (prices in euro, weight, return share, defect share)
        "smartphone": ((199, 289, 389, 549, 799), 1.0, 0.07, 0.035),
        "laptop": ((449, 699, 999, 1399), 0.6, 0.06, 0.03),
        "camera": ((129, 249, 499, 899), 0.7, 0.06, 0.025),
        "wearable": ((39, 79, 129, 229), 1.6, 0.11, 0.04),
        "audio": ((19, 49, 99, 179), 1.8, 0.09, 0.035),
        "case": ((9, 12, 15, 19, 24), 3.2, 0.05, 0.01),
        "cable": ((6, 8, 11, 14), 3.0, 0.03, 0.015),
        "charger": ((15, 22, 29, 45), 2.2, 0.04, 0.025),
    }
    products = []
    for category, (prices, weight, return_share, defect_share) in ranges.items():
        for number, euro in enumerate(prices, start=1):
            # One wearable is a lemon, so that a look at products finds something.
            lemon = 3 if (category, number) == ("wearable", 2) else 1
            products.append(
                Product(
                    sku=f"{category[:3].upper()}-{number:02d}",
                    category=category,
                    price=Decimal(euro) - Decimal("0.01"),
                    weight=weight / len(prices),
                    return_share=return_share * lemon,
                    defect_share=defect_share * lemon,
                )
            )
    return tuple(products)


PRODUCTS = _products()


@dataclass(frozen=True, kw_only=True, slots=True)
class Marketplace:
    """A seller account on a marketplace; its name is the account's."""

    name: str
    share: float
    """Of all orders."""
    currency: str
    countries: tuple[tuple[str, float], ...]
    """Country of delivery and its share."""
    ships_from: str
    order_number: str
    """Pattern of `str.format`: `a` three digits, `b` seven digits that no other order has."""
    methods: tuple[str, ...]
    """Means of payment, the most usual first."""
    money_account: str
    """Account that tells of payments."""
    channel: str
    """Channel that most of its customers write through."""
    guest_share: float = 0.0
    """Of the orders: bought without a customer account."""
    names_parcels: bool = False
    """Whether the marketplace itself lists an order's parcels; else only the warehouse does."""
    runs_claims: bool = True


MARKETPLACES = (
    Marketplace(
        name="amazon-de",
        share=0.27,
        currency="EUR",
        countries=(("DE", 0.86), ("AT", 0.14)),
        ships_from="DE",
        order_number="{a}-1{b}-{b}",
        methods=("marketplace",),
        money_account="amazon-de",
        channel="marketplace",
        names_parcels=True,
    ),
    Marketplace(
        name="amazon-us",
        share=0.27,
        currency="USD",
        countries=(("US", 0.92), ("CA", 0.08)),
        ships_from="US",
        order_number="{a}-2{b}-{b}",
        methods=("marketplace",),
        money_account="amazon-us",
        channel="marketplace",
        names_parcels=True,
    ),
    Marketplace(
        name="ebay-uk",
        share=0.15,
        currency="GBP",
        countries=(("GB", 0.93), ("IE", 0.07)),
        ships_from="DE",
        order_number="{a}-{b}",
        methods=("paypal", "card", "apple_pay"),
        money_account="ebay-uk",
        channel="marketplace",
    ),
    Marketplace(
        name="shop-eu",
        share=0.17,
        currency="EUR",
        countries=(("FR", 0.34), ("ES", 0.24), ("IT", 0.24), ("DE", 0.12), ("BE", 0.06)),
        ships_from="DE",
        order_number="E{b}",
        methods=("card", "paypal", "bank_transfer", "instalments"),
        money_account="payments",
        channel="email",
        guest_share=0.22,
        runs_claims=False,
    ),
    Marketplace(
        name="amazon-jp",
        share=0.08,
        currency="JPY",
        countries=(("JP", 1.0),),
        ships_from="CN",
        order_number="{a}-3{b}-{b}",
        methods=("marketplace", "konbini"),
        money_account="amazon-jp",
        channel="marketplace",
        names_parcels=True,
    ),
    Marketplace(
        name="shop-asia",
        share=0.06,
        currency="USD",
        countries=(("TW", 0.45), ("HK", 0.3), ("SG", 0.25)),
        ships_from="CN",
        order_number="A{b}",
        methods=("card", "paypal"),
        money_account="payments",
        channel="chat",
        guest_share=0.15,
        runs_claims=False,
    ),
)

LANGUAGES = {
    "DE": "de", "AT": "de", "FR": "fr", "BE": "fr", "ES": "es", "IT": "it",
    "JP": "ja", "TW": "zh", "HK": "zh", "SG": "zh",
}  # fmt: skip
"""Language in which customers of a country write; English where none is named."""

UTC_OFFSETS_H = {"US": -6, "CA": -5, "GB": 0, "IE": 0, "JP": 9, "TW": 8, "HK": 8, "SG": 8, "CN": 8}
"""Local time of a country, without summer time; one hour ahead of UTC where none is named."""

CUSTOMS_ZONES = {"DE": "EU", "AT": "EU", "FR": "EU", "BE": "EU", "ES": "EU", "IT": "EU", "IE": "EU"}
"""Countries that share a customs border; every other country is its own zone."""

REGIONS = {"US": ("CA", "TX", "NY", "FL", "WA", "IL"), "CA": ("ON", "BC", "QC"), "DE": ("BY", "NW", "BE", "HH", "SN")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """A carrier contract; its name is the account's."""

    name: str
    service: str
    transit_d: tuple[float, float]
    """From the hand-over to the day of delivery."""
    delayed_share: float
    lost_share: float
    number: str
    """Pattern of `str.format` of its parcel numbers: `n`."""


DHL = Carrier(
    name="dhl", service="parcel", transit_d=(0.8, 2.2), delayed_share=0.06, lost_share=0.004, number="00340{n:015d}"
)
DPD = Carrier(
    name="dpd", service="classic", transit_d=(1.0, 3.0), delayed_share=0.09, lost_share=0.007, number="09{n:012d}"
)
UPS = Carrier(
    name="ups", service="standard", transit_d=(1.0, 2.6), delayed_share=0.05, lost_share=0.003, number="1Z{n:016d}"
)
USPS = Carrier(
    name="usps", service="ground", transit_d=(1.8, 4.0), delayed_share=0.08, lost_share=0.007, number="94{n:020d}"
)
ROYAL_MAIL = Carrier(
    name="royal-mail",
    service="tracked",
    transit_d=(2.6, 5.0),
    delayed_share=0.09,
    lost_share=0.008,
    number="RM{n:09d}GB",
)
EXPRESS = Carrier(
    name="dhl-express",
    service="express",
    transit_d=(2.0, 4.0),
    delayed_share=0.05,
    lost_share=0.002,
    number="JD{n:016d}",
)
# The cheap line, with more losses than a seller should put up with.
YUNEXPRESS = Carrier(
    name="yunexpress", service="economy", transit_d=(5.0, 9.0), delayed_share=0.14, lost_share=0.06, number="YT{n:016d}"
)

CARRIERS = (DHL, DPD, UPS, USPS, ROYAL_MAIL, EXPRESS, YUNEXPRESS)

ROUTES: dict[tuple[str, str], tuple[tuple[Carrier, float], ...]] = {
    ("DE", "GB"): ((ROYAL_MAIL, 0.7), (EXPRESS, 0.3)),
    ("US", "US"): ((USPS, 0.6), (UPS, 0.4)),
    ("US", "CA"): ((UPS, 0.6), (EXPRESS, 0.4)),
    ("CN", "JP"): ((EXPRESS, 0.6), (YUNEXPRESS, 0.4)),
    ("CN", "TW"): ((YUNEXPRESS, 0.7), (EXPRESS, 0.3)),
    ("CN", "HK"): ((YUNEXPRESS, 0.7), (EXPRESS, 0.3)),
    ("CN", "SG"): ((YUNEXPRESS, 0.7), (EXPRESS, 0.3)),
}
INSIDE_EUROPE = ((DHL, 0.55), (DPD, 0.35), (UPS, 0.1))
"""Carriers of every route that is not named."""

WAREHOUSE_ACCOUNT = "warehouse"
DESK_ACCOUNT = "desk"
ACCOUNTS = tuple(
    dict.fromkeys(
        (
            *(marketplace.name for marketplace in MARKETPLACES),
            *(marketplace.money_account for marketplace in MARKETPLACES),
            *(carrier.name for carrier in CARRIERS),
            WAREHOUSE_ACCOUNT,
            DESK_ACCOUNT,
        )
    )
)
"""Every account that is read."""


def crosses_border(origin: str, destination: str) -> bool:
    """Whether a parcel passes customs."""
    return CUSTOMS_ZONES.get(origin, origin) != CUSTOMS_ZONES.get(destination, destination)


def price_in(currency: str, euro: Decimal) -> Decimal:
    """A shelf price: just below a whole unit, or whole tens where the currency has no cents."""
    units = (euro * PER_EURO[currency]).to_integral_value()
    if CENT_EXPONENT[currency] == 0:
        return units // 10 * 10
    return max(units, Decimal(1)) - Decimal("0.01")


def to_minor(currency: str, amount: Decimal) -> int:
    """Minor units of an amount that has no more digits than its currency."""
    return int(amount.scaleb(CENT_EXPONENT[currency]))
