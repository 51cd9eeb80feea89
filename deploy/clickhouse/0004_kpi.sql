-- Figures. Every kpi_* view has one row for each (dimension, value, month), so that a figure is read, never computed
-- again from others: percentiles are exact over the facts of that row, by linear interpolation, and are not averaged.
--
--   SELECT * FROM kpi_delivery WHERE dimension = 'all' AND month = 'all'              -- one row: everything
--   SELECT * FROM kpi_delivery WHERE dimension = 'all' AND month != 'all'             -- by month
--   SELECT * FROM kpi_delivery WHERE dimension = 'seller' AND month = 'all'           -- by seller
--   SELECT * FROM kpi_delivery WHERE dimension = 'marketplace' AND value = 'ebay-de'  -- one marketplace, all and by month
--
-- Always name a dimension and say what month you mean: rows of different dimensions count the same things again.

CREATE VIEW IF NOT EXISTS order_by_dimension
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
    FROM
    (
        SELECT about, category AS value, count() AS lines, sum(line.goods) AS goods, sum(line.freight) AS freight
        FROM line
        GROUP BY about, category
    ) AS part
    INNER JOIN orders ON orders.about = part.about
    UNION ALL
    SELECT 'seller' AS dimension, part.value AS value, part.lines AS lines, part.goods AS goods, part.freight AS freight, orders.*
    FROM
    (
        SELECT about, seller AS value, count() AS lines, sum(line.goods) AS goods, sum(line.freight) AS freight
        FROM line
        GROUP BY about, seller
    ) AS part
    INNER JOIN orders ON orders.about = part.about
)
COMMENT 'Orders, once for each dimension, value and month that they count for; an order counts once for each distinct category and seller of its lines. What kpi_orders and kpi_delivery are made of.';

CREATE VIEW IF NOT EXISTS kpi_orders
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, destination (country), region, status, category, seller.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of purchase as YYYY-MM, UTC; `all`: all months.',
    currency String COMMENT 'ISO 4217 code; empty: unknown. A row holds amounts of one currency.',
    orders UInt64 COMMENT 'Orders.',
    cancelled UInt64 COMMENT 'Orders among them that are cancelled.',
    delivered UInt64 COMMENT 'Orders among them that were delivered.',
    lines UInt64 COMMENT 'Lines with the dimension\'s value.',
    goods_total Decimal(38, 6) COMMENT 'Quantity times unit price over these lines.',
    freight_total Decimal(38, 6) COMMENT 'Freight of these lines.'
)
AS SELECT
    dimension,
    value,
    month,
    currency,
    count() AS orders,
    countIf(status = 'cancelled') AS cancelled,
    countIf(is_delivered) AS delivered,
    sum(order_by_dimension.lines) AS lines,
    sum(order_by_dimension.goods_total) AS goods_total,
    sum(order_by_dimension.freight_total) AS freight_total
FROM order_by_dimension
GROUP BY dimension, value, month, currency
COMMENT 'Orders and their value. By status: dimension status.';

CREATE VIEW IF NOT EXISTS kpi_delivery
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, destination (country), region, status, category, seller.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of purchase as YYYY-MM, UTC; `all`: all months.',
    orders UInt64 COMMENT 'Orders.',
    delivered UInt64 COMMENT 'Orders of which everything was delivered, and which are neither cancelled nor unavailable.',
    late UInt64 COMMENT 'Delivered after the promised instant.',
    late_share Nullable(Float64) COMMENT 'late as a share of delivered orders with a promise, 0 to 1. Null: there are none.',
    late_day UInt64 COMMENT 'Delivered on a calendar day (UTC) after the promised one.',
    late_day_share Nullable(Float64) COMMENT 'late_day as a share of delivered orders with a promise, 0 to 1. Null: there are none.',
    days_taken_mean Nullable(Float64) COMMENT 'Days from purchase to delivery: mean. Null: there are none.',
    days_taken_p50 Nullable(Float64) COMMENT 'Days from purchase to delivery: median. Null: there are none.',
    days_taken_p90 Nullable(Float64) COMMENT 'Days from purchase to delivery: 90th percentile. Null: there are none.',
    days_taken_p95 Nullable(Float64) COMMENT 'Days from purchase to delivery: 95th percentile. Null: there are none.',
    days_taken_p99 Nullable(Float64) COMMENT 'Days from purchase to delivery: 99th percentile. Null: there are none.',
    days_promised_p50 Nullable(Float64) COMMENT 'Days from purchase to the promised instant, of all orders: median. Null: there are none.',
    days_promised_p90 Nullable(Float64) COMMENT 'Days from purchase to the promised instant, of all orders: 90th percentile. Null: there are none.',
    hours_to_approval_p50 Nullable(Float64) COMMENT 'Hours from purchase to approval, of all orders: median. Null: there are none.',
    hours_to_approval_p90 Nullable(Float64) COMMENT 'Hours from purchase to approval, of all orders: 90th percentile. Null: there are none.',
    days_to_carrier_p50 Nullable(Float64) COMMENT 'Days from purchase to the handover to the carrier, of all orders: median. Null: there are none.',
    days_to_carrier_p90 Nullable(Float64) COMMENT 'Days from purchase to the handover to the carrier, of all orders: 90th percentile. Null: there are none.',
    days_in_transit_p50 Nullable(Float64) COMMENT 'Days from the handover to delivery, of all orders: median. Null: there are none.',
    days_in_transit_p90 Nullable(Float64) COMMENT 'Days from the handover to delivery, of all orders: 90th percentile. Null: there are none.',
    handed_over UInt64 COMMENT 'Orders handed over to a carrier of which a latest handover was promised.',
    handed_over_late UInt64 COMMENT 'Handed over after the latest handover promised for any of its lines.',
    handed_over_late_share Nullable(Float64) COMMENT 'handed_over_late as a share of handed_over, 0 to 1. Null: there are none.'
)
AS SELECT
    dimension,
    value,
    month,
    count() AS orders,
    countIf(is_delivered) AS delivered,
    countIf(is_delivered AND delivered_at > promised_at) AS late,
    late / nullIf(countIf(is_delivered AND promised_at IS NOT NULL), 0) AS late_share,
    countIf(is_delivered AND toDate(delivered_at, 'UTC') > toDate(promised_at, 'UTC')) AS late_day,
    late_day / nullIf(countIf(is_delivered AND promised_at IS NOT NULL), 0) AS late_day_share,
    avg(days_taken) AS days_taken_mean,
    quantileExactInclusive(0.50)(days_taken) AS days_taken_p50,
    quantileExactInclusive(0.90)(days_taken) AS days_taken_p90,
    quantileExactInclusive(0.95)(days_taken) AS days_taken_p95,
    quantileExactInclusive(0.99)(days_taken) AS days_taken_p99,
    quantileExactInclusive(0.50)(days_promised) AS days_promised_p50,
    quantileExactInclusive(0.90)(days_promised) AS days_promised_p90,
    quantileExactInclusive(0.50)(hours_to_approval) AS hours_to_approval_p50,
    quantileExactInclusive(0.90)(hours_to_approval) AS hours_to_approval_p90,
    quantileExactInclusive(0.50)(days_to_carrier) AS days_to_carrier_p50,
    quantileExactInclusive(0.90)(days_to_carrier) AS days_to_carrier_p90,
    quantileExactInclusive(0.50)(days_in_transit) AS days_in_transit_p50,
    quantileExactInclusive(0.90)(days_in_transit) AS days_in_transit_p90,
    countIf(shipped_at IS NOT NULL AND ship_by_at IS NOT NULL) AS handed_over,
    countIf(shipped_at > ship_by_at) AS handed_over_late,
    handed_over_late / nullIf(handed_over, 0) AS handed_over_late_share
FROM
(
    SELECT
        *,
        if(is_delivered, (toUnixTimestamp64Micro(delivered_at) - toUnixTimestamp64Micro(placed_at)) / 86400e6, NULL) AS days_taken,
        (toUnixTimestamp64Micro(promised_at) - toUnixTimestamp64Micro(placed_at)) / 86400e6 AS days_promised,
        (toUnixTimestamp64Micro(approved_at) - toUnixTimestamp64Micro(placed_at)) / 3600e6 AS hours_to_approval,
        (toUnixTimestamp64Micro(shipped_at) - toUnixTimestamp64Micro(placed_at)) / 86400e6 AS days_to_carrier,
        (toUnixTimestamp64Micro(delivered_at) - toUnixTimestamp64Micro(shipped_at)) / 86400e6 AS days_in_transit
    FROM order_by_dimension
)
GROUP BY dimension, value, month
COMMENT 'Delivery: how long it takes and how often it is late. Late: after the promised instant; late_day: after the promised calendar day.';

CREATE VIEW IF NOT EXISTS kpi_reviews
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
    FROM (SELECT DISTINCT about, category AS value FROM line) AS part
    INNER JOIN review ON review.matter = part.about
    UNION ALL
    SELECT 'seller' AS dimension, part.value AS value, review.*
    FROM (SELECT DISTINCT about, seller AS value FROM line) AS part
    INNER JOIN review ON review.matter = part.about
    WHERE review.seller IS NULL
    UNION ALL
    SELECT 'seller' AS dimension, assumeNotNull(review.seller) AS value, review.*
    FROM review
    WHERE review.seller IS NOT NULL
)
GROUP BY dimension, value, month
COMMENT 'Reviews and how many are low. A review counts once for each distinct category and seller of its order; for its own seller if it names one.';

CREATE VIEW IF NOT EXISTS kpi_first_response
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, channel, team, priority, category.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the start as YYYY-MM, UTC; `all`: all months.',
    cases UInt64 COMMENT 'Cases with a first_response timer, cancelled ones apart.',
    answered UInt64 COMMENT 'Cases among them that were answered.',
    running UInt64 COMMENT 'Cases among them that wait and are not overdue.',
    hours_p50 Nullable(Float64) COMMENT 'Hours from start to the first answer, of those answered: median. Null: there are none.',
    hours_p90 Nullable(Float64) COMMENT 'Hours from start to the first answer, of those answered: 90th percentile. Null: there are none.',
    hours_p95 Nullable(Float64) COMMENT 'Hours from start to the first answer, of those answered: 95th percentile. Null: there are none.',
    within_target UInt64 COMMENT 'Timers that were met.',
    breached UInt64 COMMENT 'Timers that were not met.',
    within_target_share Nullable(Float64) COMMENT 'within_target as a share of those met or breached, 0 to 1. Null: there are none.',
    within_4h UInt64 COMMENT 'Answered within 4 hours, whatever the target.',
    within_4h_share Nullable(Float64) COMMENT 'within_4h as a share of answered, 0 to 1. Null: there are none.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    arrayJoin(['all', formatDateTime(started_at, '%Y-%m')]) AS month,
    count() AS cases,
    countIf(hours IS NOT NULL) AS answered,
    countIf(result = 'running') AS running,
    quantileExactInclusive(0.50)(hours) AS hours_p50,
    quantileExactInclusive(0.90)(hours) AS hours_p90,
    quantileExactInclusive(0.95)(hours) AS hours_p95,
    countIf(result = 'met') AS within_target,
    countIf(result = 'breached') AS breached,
    within_target / nullIf(within_target + breached, 0) AS within_target_share,
    countIf(hours <= 4) AS within_4h,
    within_4h / nullIf(answered, 0) AS within_4h_share
FROM
(
    SELECT *, if(stopped_at IS NULL, NULL, elapsed_s / 3600) AS hours
    FROM timer_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
        AND timer = 'first_response' AND level = 'result' AND result NOT IN ('cancelled', 'not_applicable')
) AS timer
LEFT JOIN
(
    SELECT about, item, channel, team, priority, category, reopen_count
    FROM case_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS cases ON cases.about = timer.about AND cases.item = timer.case_id
ARRAY JOIN [
    ('all', 'all'),
    ('marketplace', if(coalesce(timer.marketplace, '') = '', 'unknown', assumeNotNull(timer.marketplace))),
    ('account', toString(timer.account)),
    ('channel', if(coalesce(cases.channel, '') = '', 'unknown', assumeNotNull(cases.channel))),
    ('team', if(coalesce(cases.team, '') = '', 'unknown', assumeNotNull(cases.team))),
    ('priority', if(coalesce(cases.priority, '') = '', 'unknown', assumeNotNull(cases.priority))),
    ('category', if(coalesce(cases.category, '') = '', 'unknown', assumeNotNull(cases.category)))] AS slice
GROUP BY dimension, value, month
COMMENT 'How fast customers get a first answer from a person. Hours are those that the timer counts.';

CREATE VIEW IF NOT EXISTS kpi_resolution
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, channel, team, priority, category.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the start as YYYY-MM, UTC; `all`: all months.',
    cases UInt64 COMMENT 'Cases with a resolution timer, cancelled ones apart.',
    resolved UInt64 COMMENT 'Cases among them that were resolved.',
    running UInt64 COMMENT 'Cases among them that wait and are not overdue.',
    hours_p50 Nullable(Float64) COMMENT 'Hours from start to the solution, of those resolved: median. Null: there are none.',
    hours_p90 Nullable(Float64) COMMENT 'Hours from start to the solution, of those resolved: 90th percentile. Null: there are none.',
    hours_p95 Nullable(Float64) COMMENT 'Hours from start to the solution, of those resolved: 95th percentile. Null: there are none.',
    within_target UInt64 COMMENT 'Timers that were met.',
    breached UInt64 COMMENT 'Timers that were not met.',
    within_target_share Nullable(Float64) COMMENT 'within_target as a share of those met or breached, 0 to 1. Null: there are none.',
    within_48h UInt64 COMMENT 'Resolved within 48 hours, whatever the target.',
    within_48h_share Nullable(Float64) COMMENT 'within_48h as a share of resolved, 0 to 1. Null: there are none.',
    reopened UInt64 COMMENT 'Cases that were solved and opened again.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    arrayJoin(['all', formatDateTime(started_at, '%Y-%m')]) AS month,
    count() AS cases,
    countIf(hours IS NOT NULL) AS resolved,
    countIf(result = 'running') AS running,
    quantileExactInclusive(0.50)(hours) AS hours_p50,
    quantileExactInclusive(0.90)(hours) AS hours_p90,
    quantileExactInclusive(0.95)(hours) AS hours_p95,
    countIf(result = 'met') AS within_target,
    countIf(result = 'breached') AS breached,
    within_target / nullIf(within_target + breached, 0) AS within_target_share,
    countIf(hours <= 48) AS within_48h,
    within_48h / nullIf(resolved, 0) AS within_48h_share,
    countIf(cases.reopen_count > 0) AS reopened
FROM
(
    SELECT *, if(stopped_at IS NULL, NULL, elapsed_s / 3600) AS hours
    FROM timer_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
        AND timer = 'resolution' AND level = 'result' AND result NOT IN ('cancelled', 'not_applicable')
) AS timer
LEFT JOIN
(
    SELECT about, item, channel, team, priority, category, reopen_count
    FROM case_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS cases ON cases.about = timer.about AND cases.item = timer.case_id
ARRAY JOIN [
    ('all', 'all'),
    ('marketplace', if(coalesce(timer.marketplace, '') = '', 'unknown', assumeNotNull(timer.marketplace))),
    ('account', toString(timer.account)),
    ('channel', if(coalesce(cases.channel, '') = '', 'unknown', assumeNotNull(cases.channel))),
    ('team', if(coalesce(cases.team, '') = '', 'unknown', assumeNotNull(cases.team))),
    ('priority', if(coalesce(cases.priority, '') = '', 'unknown', assumeNotNull(cases.priority))),
    ('category', if(coalesce(cases.category, '') = '', 'unknown', assumeNotNull(cases.category)))] AS slice
GROUP BY dimension, value, month
COMMENT 'How long cases take to be solved. Hours are those that the timer counts.';

CREATE VIEW IF NOT EXISTS kpi_returns
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, destination (country), kind, status, reason, category.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the request as YYYY-MM, UTC; `all`: all months.',
    currency String COMMENT 'ISO 4217 code; empty: unknown. A row holds amounts of one currency.',
    returns UInt64 COMMENT 'Returns and exchanges.',
    cancellations UInt64 COMMENT 'Cancellations after the sale.',
    lines UInt64 COMMENT 'Lines with the dimension\'s value.',
    quantity Int64 COMMENT 'Pieces of these lines.',
    goods_total Decimal(38, 6) COMMENT 'Quantity times unit price over these lines.',
    refunded UInt64 COMMENT 'Returns and cancellations that were refunded.',
    days_to_refund_p50 Nullable(Float64) COMMENT 'Days from the request to the refund: median. Null: there are none.',
    days_to_refund_p90 Nullable(Float64) COMMENT 'Days from the request to the refund: 90th percentile. Null: there are none.'
)
AS WITH
    line AS
    (
        SELECT about, if(coalesce(category, '') = '', 'unknown', assumeNotNull(category)) AS category, quantity, CAST(quantity * unit_price AS Decimal(38, 6)) AS goods
        FROM return_line_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ),
    returned AS
    (
        SELECT about, account, marketplace, kind, status, reason, requested_at, refunded_at, destination_country,
            coalesce(toString(return_fact.currency), '') AS currency, (toUnixTimestamp64Micro(refunded_at) - toUnixTimestamp64Micro(requested_at)) / 86400e6 AS days_to_refund
        FROM return_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    )
SELECT
    dimension,
    value,
    arrayJoin(['all', formatDateTime(requested_at, '%Y-%m')]) AS month,
    currency,
    countIf(kind != 'cancellation') AS returns,
    countIf(kind = 'cancellation') AS cancellations,
    sum(part_lines) AS lines,
    sum(part_quantity) AS quantity,
    sum(part_goods) AS goods_total,
    countIf(refunded_at IS NOT NULL) AS refunded,
    quantileExactInclusive(0.50)(days_to_refund) AS days_to_refund_p50,
    quantileExactInclusive(0.90)(days_to_refund) AS days_to_refund_p90
FROM
(
    SELECT slice.1 AS dimension, slice.2 AS value, part.lines AS part_lines, part.quantity AS part_quantity, part.goods AS part_goods,
        returned.*
    FROM returned
    LEFT JOIN
    (
        SELECT about, count() AS lines, sum(line.quantity) AS quantity, sum(line.goods) AS goods
        FROM line
        GROUP BY about
    ) AS part ON part.about = returned.about
    ARRAY JOIN [
        ('all', 'all'),
        ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
        ('account', toString(account)),
        ('destination', if(coalesce(destination_country, '') = '', 'unknown', assumeNotNull(destination_country))),
        ('kind', toString(kind)),
        ('status', toString(status)),
        ('reason', if(coalesce(reason, '') = '', 'unknown', assumeNotNull(reason)))] AS slice
    UNION ALL
    SELECT 'category' AS dimension, part.value AS value, part.lines AS part_lines, part.quantity AS part_quantity, part.goods AS part_goods,
        returned.*
    FROM
    (
        SELECT about, category AS value, count() AS lines, sum(line.quantity) AS quantity, sum(line.goods) AS goods
        FROM line
        GROUP BY about, category
    ) AS part
    INNER JOIN returned ON returned.about = part.about
)
GROUP BY dimension, value, month, currency
COMMENT 'Returns, exchanges and cancellations after the sale, and their value. A return counts once for each distinct category of its lines.';

CREATE VIEW IF NOT EXISTS kpi_return_rate
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, category, sku.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the sale, for what was sold, and of the return, for what came back as YYYY-MM, UTC; `all`: all months.',
    sold Int64 COMMENT 'Pieces of order lines; negative corrections do not count.',
    returned Int64 COMMENT 'Pieces of lines of returns, exchanges and cancellations.',
    return_rate Nullable(Float64) COMMENT 'returned divided by sold; above 1 where more came back than was sold in the same time. Null: there are none.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    arrayJoin(['all', of_month]) AS month,
    sum(sold_quantity) AS sold,
    sum(returned_quantity) AS returned,
    returned / nullIf(sold, 0) AS return_rate
FROM
(
    SELECT
        arrayJoin([
            ('all', 'all'),
            ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
            ('account', toString(account)),
            ('category', if(coalesce(category, '') = '', 'unknown', assumeNotNull(category))),
            ('sku', sku)]) AS slice,
        formatDateTime(line_at, '%Y-%m') AS of_month,
        greatest(quantity, 0) AS sold_quantity,
        0 AS returned_quantity
    FROM order_line_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    UNION ALL
    SELECT
        arrayJoin([
            ('all', 'all'),
            ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
            ('account', toString(account)),
            ('category', if(coalesce(category, '') = '', 'unknown', assumeNotNull(category))),
            ('sku', sku)]) AS slice,
        formatDateTime(line_at, '%Y-%m') AS of_month,
        0 AS sold_quantity,
        quantity AS returned_quantity
    FROM return_line_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
)
GROUP BY dimension, value, month
COMMENT 'Pieces returned or cancelled by pieces sold, down to the product (dimension sku).';

CREATE VIEW IF NOT EXISTS kpi_payments
(
    dimension String COMMENT 'What the row is about: all, marketplace, account, method.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the payment as YYYY-MM, UTC; `all`: all months.',
    currency String COMMENT 'ISO 4217 code. A row holds amounts of one currency.',
    payments UInt64 COMMENT 'Payments of customers.',
    amount Decimal(38, 6) COMMENT 'Their sum.',
    refunds UInt64 COMMENT 'Refunds to customers.',
    refunded Decimal(38, 6) COMMENT 'Their sum.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    arrayJoin(['all', formatDateTime(paid_at, '%Y-%m')]) AS month,
    toString(currency) AS currency,
    countIf(kind = 'payment') AS payments,
    sumIf(paid, kind = 'payment') AS amount,
    countIf(kind = 'refund') AS refunds,
    sumIf(paid, kind = 'refund') AS refunded
FROM
(
    SELECT *, payment_fact.amount AS paid
    FROM payment_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
)
ARRAY JOIN [
    ('all', 'all'),
    ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
    ('account', toString(account)),
    ('method', if(coalesce(method, '') = '', 'unknown', assumeNotNull(method)))] AS slice
GROUP BY dimension, value, month, currency
COMMENT 'Payments and refunds by means of payment.';

CREATE VIEW IF NOT EXISTS return_line_match
(
    customer String COMMENT 'The customer, who is known.',
    about String COMMENT 'Id of the return.',
    line_id String COMMENT 'Number of the line of the return.',
    account LowCardinality(String) COMMENT 'Account of the return.',
    marketplace LowCardinality(String) COMMENT 'Marketplace of the return.',
    sku String COMMENT 'Product number.',
    quantity Int64 COMMENT 'Pieces that came back or were cancelled.',
    line_at DateTime64(6, 'UTC') COMMENT 'Event time of the return line.',
    order_about String COMMENT 'Id of the order with the matching line; empty: none.',
    order_line_id String COMMENT 'Number of that line; empty: none.',
    order_line_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Event time of that line. Null: none.',
    days Nullable(Float64) COMMENT 'Days from order line to return line. Null: no match.'
)
AS SELECT
    returned.customer AS customer,
    returned.about AS about,
    returned.item AS line_id,
    returned.account AS account,
    returned.marketplace AS marketplace,
    returned.sku AS sku,
    returned.quantity AS quantity,
    returned.line_at AS line_at,
    sold.about AS order_about,
    sold.item AS order_line_id,
    if(order_about = '', NULL, sold.line_at) AS order_line_at,
    (toUnixTimestamp64Micro(returned.line_at) - toUnixTimestamp64Micro(order_line_at)) / 86400e6 AS days
FROM
(
    SELECT place.customer AS customer, line.*
    FROM
    (
        SELECT *
        FROM return_line_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ) AS line
    INNER JOIN
    (
        SELECT id, customer
        FROM place FINAL
        WHERE NOT provisional
    ) AS place ON place.id = line.about
) AS returned
ASOF LEFT JOIN
(
    SELECT place.customer AS customer, line.*
    FROM
    (
        SELECT *
        FROM order_line_fact FINAL
        WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
    ) AS line
    INNER JOIN
    (
        SELECT id, customer
        FROM place FINAL
        WHERE NOT provisional
    ) AS place ON place.id = line.about
    WHERE line.quantity > 0
) AS sold ON sold.customer = returned.customer AND sold.sku = returned.sku AND returned.line_at >= sold.line_at
COMMENT 'Return lines of known customers, each with the latest order line of the same customer and product that is not later. For sources that do not say which order a return is of.';

CREATE VIEW IF NOT EXISTS kpi_cancellation_match
(
    dimension String COMMENT 'What the row is about: all, marketplace, account.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    month String COMMENT 'Month of the return as YYYY-MM, UTC; `all`: all months.',
    lines UInt64 COMMENT 'Lines of returns and cancellations of known customers.',
    matched UInt64 COMMENT 'Lines among them for which the customer bought the product before.',
    matched_share Nullable(Float64) COMMENT 'matched as a share of lines, 0 to 1. Null: there are none.',
    days_p50 Nullable(Float64) COMMENT 'Days from the order line to the return line: median. Null: there are none.',
    days_p90 Nullable(Float64) COMMENT 'Days from the order line to the return line: 90th percentile. Null: there are none.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    arrayJoin(['all', formatDateTime(line_at, '%Y-%m')]) AS month,
    count() AS lines,
    countIf(order_about != '') AS matched,
    matched / lines AS matched_share,
    quantileExactInclusive(0.50)(days) AS days_p50,
    quantileExactInclusive(0.90)(days) AS days_p90
FROM return_line_match
ARRAY JOIN [
    ('all', 'all'),
    ('marketplace', if(coalesce(marketplace, '') = '', 'unknown', assumeNotNull(marketplace))),
    ('account', toString(account))] AS slice
GROUP BY dimension, value, month
COMMENT 'Return lines matched with what the same customer bought before (view return_line_match).';

CREATE VIEW IF NOT EXISTS kpi_provisional
(
    dimension String COMMENT 'What the row is about: all, account.',
    value String COMMENT 'Value of the dimension; `all` for the dimension `all`, `unknown` where the facts do not say.',
    customers UInt64 COMMENT 'Customers, provisional ones included.',
    provisional UInt64 COMMENT 'Customers that are still unknown.',
    provisional_share Nullable(Float64) COMMENT 'provisional as a share of customers, 0 to 1. Null: there are none.',
    oldest_event_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Event time of the oldest event of a provisional customer. Null: there are none.',
    age_hours_p50 Nullable(Float64) COMMENT 'Hours since the first event of a provisional customer was taken in: median. Null: there are none.',
    age_hours_max Nullable(Float64) COMMENT 'Hours since the first event of a provisional customer was taken in: the longest. Null: there are none.'
)
AS SELECT
    slice.1 AS dimension,
    slice.2 AS value,
    count() AS customers,
    countIf(provisional_now) AS provisional,
    provisional / customers AS provisional_share,
    min(if(provisional_now, first_event_at, NULL)) AS oldest_event_at,
    quantileExactInclusive(0.50)(age_hours) AS age_hours_p50,
    max(age_hours) AS age_hours_max
FROM
(
    SELECT
        customer,
        max(place.provisional) AS provisional_now,
        min(event.first_event_at) AS first_event_at,
        if(provisional_now, (toUnixTimestamp64Micro(now64(6)) - toUnixTimestamp64Micro(min(event.first_ingested_at))) / 3600e6, NULL) AS age_hours,
        arrayDistinct(arrayFlatten(groupArray(event.accounts))) AS accounts
    FROM
    (
        SELECT id, customer, provisional
        FROM place FINAL
    ) AS place
    LEFT JOIN
    (
        SELECT
            about,
            toNullable(min(event_at)) AS first_event_at,
            toNullable(min(ingested_at)) AS first_ingested_at,
            groupUniqArray(toString(account)) AS accounts
        FROM event FINAL
        GROUP BY about
    ) AS event ON event.about = place.id
    GROUP BY customer
)
ARRAY JOIN arrayConcat([('all', 'all')], arrayMap(account -> ('account', account), accounts)) AS slice
GROUP BY dimension, value
COMMENT 'Customers that are still unknown: how many, and since when. A customer counts once for each account that told of it.';
