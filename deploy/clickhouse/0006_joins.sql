-- The views of orders and reviews again, with their joins the other way round. With lines on the left, the engine took a
-- product of all lines and all reviews, and the time grew with the square of their number.

CREATE OR REPLACE VIEW order_by_dimension
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, destination (country), region, status, category, seller.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of purchase as YYYY-MM, UTC; `all`: all months.',
    about String COMMENT 'Id of the order.',
    status LowCardinality(String) COMMENT 'State of the order.',
    currency String COMMENT 'ISO 4217 code; empty: unknown.',
    lines UInt64 COMMENT 'Lines of the order that bear the dimension\'s value; all of them where the dimension is not of lines.',
    goods_total Decimal(38, 6) COMMENT 'Quantity times unit price over these lines.',
    freight_total Decimal(38, 6) COMMENT 'Freight of these lines.',
    placed_at DateTime64(6, 'UTC') COMMENT 'When the customer bought.',
    approved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First approval of the payment.',
    shipped_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First handover to a carrier.',
    delivered_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the last parcel was delivered.',
    promised_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest promise of delivery.',
    ship_by_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Latest handover promised for a line.',
    is_delivered Bool COMMENT 'Whether all of it was delivered, and it is neither cancelled nor unavailable.'
)
AS WITH
    line AS
    (
        SELECT about, if(coalesce(category, '') = '', 'unknown', assumeNotNull(category)) AS category, if(coalesce(seller, '') = '', 'unknown', assumeNotNull(seller)) AS seller, ship_by_at,
            CAST(quantity * unit_price AS Decimal(38, 6)) AS goods, CAST(coalesce(freight, 0) AS Decimal(38, 6)) AS freight
        FROM order_line_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ),
    orders AS
    (
        SELECT *, line.ship_by_at AS ship_by_at
        FROM
        (
            SELECT * EXCEPT (revision, withdrawn, cause, fold_version, stored_at)
            FROM order_fact FINAL
            WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
        ) AS stated
        LEFT JOIN
        (
            SELECT about, max(ship_by_at) AS ship_by_at
            FROM line
            GROUP BY about
        ) AS line ON line.about = stated.about
    )
SELECT
    dimension,
    value,
    arrayJoin(['all', formatDateTime(placed_at, '%Y-%m')]) AS month,
    about,
    status,
    coalesce(toString(currency), '') AS currency,
    lines,
    goods AS goods_total,
    freight AS freight_total,
    placed_at,
    approved_at,
    shipped_at,
    delivered_at,
    promised_at,
    ship_by_at,
    delivered_at IS NOT NULL AND status NOT IN ('cancelled', 'unavailable') AS is_delivered
FROM
(
    -- A branch for each dimension that is of lines: one that a query does not ask for costs next to nothing.
    SELECT
        slice.1 AS dimension,
        slice.2 AS value,
        toUInt64(orders.line_count) AS lines,
        CAST(orders.goods_total AS Decimal(38, 6)) AS goods,
        CAST(orders.freight_total AS Decimal(38, 6)) AS freight,
        orders.*
    FROM orders
    ARRAY JOIN [
        ('all', 'all'),
        ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
        ('account', toString(account)),
        ('destination', if(coalesce(destination_country, '') = '', 'unknown', assumeNotNull(destination_country))),
        ('region', if(coalesce(destination_region, '') = '', 'unknown', assumeNotNull(destination_region))),
        ('status', toString(status))] AS slice
    UNION ALL
    SELECT 'category' AS dimension, part.value AS value, part.lines AS lines, part.goods AS goods, part.freight AS freight, orders.*
    FROM orders
    INNER JOIN
    (
        SELECT about, category AS value, count() AS lines, sum(line.goods) AS goods, sum(line.freight) AS freight
        FROM line
        GROUP BY about, category
    ) AS part ON orders.about = part.about
    UNION ALL
    SELECT 'seller' AS dimension, part.value AS value, part.lines AS lines, part.goods AS goods, part.freight AS freight, orders.*
    FROM orders
    INNER JOIN
    (
        SELECT about, seller AS value, count() AS lines, sum(line.goods) AS goods, sum(line.freight) AS freight
        FROM line
        GROUP BY about, seller
    ) AS part ON orders.about = part.about
)
COMMENT 'Orders, once for each dimension, value and month that they count for; an order counts once for each distinct category and seller of its lines. What kpi_orders and kpi_delivery are made of.';

CREATE OR REPLACE VIEW kpi_reviews
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, destination (country), region, status (of the order), delivery (on_time, late, no_promise, not_delivered, unknown), score, category, seller.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the review as YYYY-MM, UTC; `all`: all months.',
    reviews UInt64 COMMENT 'Reviews.',
    low UInt64 COMMENT 'Reviews with at most two fifths of the points possible: 1 or 2 of 5.',
    low_share Nullable(Float64) COMMENT 'low as a share of reviews, 0 to 1. Null: there are none.',
    with_text UInt64 COMMENT 'Reviews in which the customer wrote something.',
    score_mean Nullable(Float64) COMMENT 'Points as a share of those possible, 0 to 1: mean.',
    answer_hours_p50 Nullable(Float64) COMMENT 'Hours from asking to the review: median. Null: there are none.',
    answer_hours_p90 Nullable(Float64) COMMENT 'Hours from asking to the review: 90th percentile. Null: there are none.'
)
AS WITH
    line AS
    (
        SELECT about, if(coalesce(category, '') = '', 'unknown', assumeNotNull(category)) AS category, if(coalesce(seller, '') = '', 'unknown', assumeNotNull(seller)) AS seller
        FROM order_line_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ),
    review AS
    (
        SELECT stated.*, place.matter AS matter, (toUnixTimestamp64Micro(reviewed_at) - toUnixTimestamp64Micro(asked_at)) / 3600e6 AS answer_hours
        FROM
        (
            SELECT about, account, marketplace, seller, score, score_max, has_text, asked_at, reviewed_at
            FROM review_fact FINAL
            WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
        ) AS stated
        LEFT JOIN
        (
            SELECT id, matter
            FROM place FINAL
        ) AS place ON place.id = stated.about
    )
SELECT
    dimension,
    value,
    arrayJoin(['all', formatDateTime(reviewed_at, '%Y-%m')]) AS month,
    count() AS reviews,
    countIf(score * 5 <= 2 * score_max) AS low,
    low / reviews AS low_share,
    countIf(has_text) AS with_text,
    avg(score / nullIf(score_max, 0)) AS score_mean,
    quantileExactInclusive(0.50)(answer_hours) AS answer_hours_p50,
    quantileExactInclusive(0.90)(answer_hours) AS answer_hours_p90
FROM
(
    -- A branch for each dimension that is of lines: one that a query does not ask for costs next to nothing.
    SELECT slice.1 AS dimension, slice.2 AS value, review.*
    FROM review
    LEFT JOIN
    (
        SELECT
            about,
            toString(status) AS status,
            multiIf(
                delivered_at IS NULL OR status IN ('cancelled', 'unavailable'), 'not_delivered',
                promised_at IS NULL, 'no_promise',
                delivered_at > promised_at, 'late',
                'on_time') AS delivery,
            destination_country,
            destination_region
        FROM order_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ) AS orders ON orders.about = review.matter
    ARRAY JOIN [
        ('all', 'all'),
        ('marketplace', if(coalesce(review.marketplace, '') = '', 'unknown', assumeNotNull(review.marketplace))),
        ('account', toString(review.account)),
        ('destination', if(coalesce(orders.destination_country, '') = '', 'unknown', assumeNotNull(orders.destination_country))),
        ('region', if(coalesce(orders.destination_region, '') = '', 'unknown', assumeNotNull(orders.destination_region))),
        ('status', if(coalesce(orders.status, '') = '', 'unknown', assumeNotNull(orders.status))),
        ('delivery', if(coalesce(orders.delivery, '') = '', 'unknown', assumeNotNull(orders.delivery))),
        ('score', toString(review.score))] AS slice
    UNION ALL
    SELECT 'category' AS dimension, part.value AS value, review.*
    FROM review
    INNER JOIN (SELECT DISTINCT about, category AS value FROM line) AS part ON review.matter = part.about
    UNION ALL
    SELECT 'seller' AS dimension, part.value AS value, review.*
    FROM review
    INNER JOIN (SELECT DISTINCT about, seller AS value FROM line) AS part ON review.matter = part.about
    WHERE review.seller IS NULL
    UNION ALL
    SELECT 'seller' AS dimension, assumeNotNull(review.seller) AS value, review.*
    FROM review
    WHERE review.seller IS NOT NULL
)
GROUP BY dimension, value, month
COMMENT 'Reviews and how many are low. A review counts once for each distinct category and seller of its order; for its own seller if it names one.';
