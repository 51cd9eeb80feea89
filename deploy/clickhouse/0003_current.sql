-- What holds now: the newest statement of the current generation (table setting) that is not withdrawn, with the
-- customer and the matter that its id belongs to today.

CREATE VIEW IF NOT EXISTS current_order
(
    about String COMMENT 'Id of the order.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    status LowCardinality(String) COMMENT 'Newest state, by event time.',
    placed_at DateTime64(6, 'UTC') COMMENT 'When the customer bought.',
    approved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First approval of the payment.',
    shipped_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First handover to a carrier.',
    delivered_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the last of its parcels was delivered. Null: one is still under way, or none is known.',
    cancelled_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First cancellation, if it is cancelled.',
    promised_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest promise of delivery.',
    buyer Nullable(String) COMMENT 'The marketplace\'s pseudonym of the buyer for this order.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of delivery.',
    destination_region LowCardinality(Nullable(String)) COMMENT 'State or region of delivery.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    total_minor Nullable(Int64) COMMENT 'Total in minor units, as the marketplace says it.',
    line_count Int64 COMMENT 'Number of lines.',
    parcel_count Int64 COMMENT 'Number of parcels known.',
    goods_total Decimal(24, 6) COMMENT 'Sum of quantity times unit price over the lines.',
    freight_total Decimal(24, 6) COMMENT 'Sum of the freight of the lines.',
    total Nullable(Decimal(38, 6)) COMMENT 'Total as the marketplace says it, in units of the currency.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.status AS status,
    fact.placed_at AS placed_at,
    fact.approved_at AS approved_at,
    fact.shipped_at AS shipped_at,
    fact.delivered_at AS delivered_at,
    fact.cancelled_at AS cancelled_at,
    fact.promised_at AS promised_at,
    fact.buyer AS buyer,
    fact.destination_country AS destination_country,
    fact.destination_region AS destination_region,
    fact.currency AS currency,
    fact.total_minor AS total_minor,
    fact.line_count AS line_count,
    fact.parcel_count AS parcel_count,
    fact.goods_total AS goods_total,
    fact.freight_total AS freight_total,
    fact.total AS total,
    fact.revision AS revision
FROM
(
    SELECT *, total
    FROM order_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Orders as they are now.';

CREATE VIEW IF NOT EXISTS current_order_line
(
    about String COMMENT 'Id of its order.',
    line_id String COMMENT 'Number of the line.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    sku String COMMENT 'Product number.',
    seller Nullable(String) COMMENT 'Seller.',
    category LowCardinality(Nullable(String)) COMMENT 'Product category.',
    quantity Int64 COMMENT 'Pieces.',
    unit_price Decimal(24, 6) COMMENT 'Price of one piece.',
    freight Nullable(Decimal(24, 6)) COMMENT 'Freight of the line.',
    ship_by_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Latest handover promised.',
    line_at DateTime64(6, 'UTC') COMMENT 'Event time of the event that stated the line.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    fact.item AS line_id,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.sku AS sku,
    fact.seller AS seller,
    fact.category AS category,
    fact.quantity AS quantity,
    fact.unit_price AS unit_price,
    fact.freight AS freight,
    fact.ship_by_at AS ship_by_at,
    fact.line_at AS line_at,
    fact.currency AS currency,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM order_line_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Order lines as they are now.';

CREATE VIEW IF NOT EXISTS current_parcel
(
    about String COMMENT 'Id of the parcel.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account that reported it last.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    status LowCardinality(String) COMMENT 'Newest state by event time; delivered stays delivered.',
    carrier LowCardinality(Nullable(String)) COMMENT 'Carrier.',
    service LowCardinality(Nullable(String)) COMMENT 'Service.',
    promised_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest promise of delivery.',
    shipped_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First scan that shows it in the carrier\'s hands.',
    delivered_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First delivered scan.',
    last_scan_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest scan.',
    scan_count Int64 COMMENT 'Number of scans.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of delivery.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.status AS status,
    fact.carrier AS carrier,
    fact.service AS service,
    fact.promised_at AS promised_at,
    fact.shipped_at AS shipped_at,
    fact.delivered_at AS delivered_at,
    fact.last_scan_at AS last_scan_at,
    fact.scan_count AS scan_count,
    fact.destination_country AS destination_country,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM parcel_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Parcels as they are now.';

CREATE VIEW IF NOT EXISTS current_return
(
    about String COMMENT 'Id of the return.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    kind LowCardinality(String) COMMENT 'Return, exchange or cancellation.',
    status LowCardinality(String) COMMENT 'Newest state, by event time.',
    reason LowCardinality(Nullable(String)) COMMENT 'Reason code.',
    requested_at DateTime64(6, 'UTC') COMMENT 'First event.',
    received_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First receipt.',
    refunded_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First refund.',
    closed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When it was closed, refused or cancelled.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    refund_minor Nullable(Int64) COMMENT 'Newest refund amount, in minor units.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of the customer.',
    line_count Int64 COMMENT 'Number of lines.',
    goods_total Decimal(24, 6) COMMENT 'Sum of quantity times unit price over the lines.',
    refund Nullable(Decimal(38, 6)) COMMENT 'Newest refund amount, in units of the currency.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.kind AS kind,
    fact.status AS status,
    fact.reason AS reason,
    fact.requested_at AS requested_at,
    fact.received_at AS received_at,
    fact.refunded_at AS refunded_at,
    fact.closed_at AS closed_at,
    fact.currency AS currency,
    fact.refund_minor AS refund_minor,
    fact.destination_country AS destination_country,
    fact.line_count AS line_count,
    fact.goods_total AS goods_total,
    fact.refund AS refund,
    fact.revision AS revision
FROM
(
    SELECT *, refund
    FROM return_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Returns as they are now.';

CREATE VIEW IF NOT EXISTS current_return_line
(
    about String COMMENT 'Id of its return.',
    line_id String COMMENT 'Number of the line.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    sku String COMMENT 'Product number.',
    category LowCardinality(Nullable(String)) COMMENT 'Product category.',
    quantity Int64 COMMENT 'Pieces.',
    unit_price Decimal(24, 6) COMMENT 'Price credited for one piece.',
    line_at DateTime64(6, 'UTC') COMMENT 'Event time of the event that stated the line.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    fact.item AS line_id,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.sku AS sku,
    fact.category AS category,
    fact.quantity AS quantity,
    fact.unit_price AS unit_price,
    fact.line_at AS line_at,
    fact.currency AS currency,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM return_line_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Return lines as they are now.';

CREATE VIEW IF NOT EXISTS current_case
(
    about String COMMENT 'Id of its thread.',
    case_id String COMMENT 'Id of the case.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    channel LowCardinality(String) COMMENT 'Channel of the first message.',
    status LowCardinality(String) COMMENT 'Newest state, by event time; open where the desk has no states.',
    source_status LowCardinality(Nullable(String)) COMMENT 'Newest state in the desk\'s own word.',
    opened_at DateTime64(6, 'UTC') COMMENT 'First customer message; for a case an agent opened, its first message.',
    opened_by LowCardinality(String) COMMENT 'Who opened it.',
    first_response_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First public message of an agent not before the first customer message.',
    first_resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First solution.',
    resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Start of the present solved stretch: the first report that it is solved since it was last open. Null: not solved now.',
    last_resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest report that it is solved, of desks that report it again with every edit. Null: not solved now.',
    closed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the desk closed it, if it is closed now.',
    first_assigned_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First time that an agent had it.',
    reopen_count Int64 COMMENT 'Solved and opened again.',
    customer_message_count Int64 COMMENT 'Messages of the customer.',
    agent_message_count Int64 COMMENT 'Public messages of agents.',
    team LowCardinality(Nullable(String)) COMMENT 'Team that has it.',
    assignee Nullable(String) COMMENT 'Agent who has it.',
    priority LowCardinality(Nullable(String)) COMMENT 'Newest priority.',
    category LowCardinality(Nullable(String)) COMMENT 'Newest category of the issue.',
    last_event_at DateTime64(6, 'UTC') COMMENT 'Newest event.',
    reported_resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest value that the desk itself reports.',
    reported_closed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest value that the desk itself reports.',
    reported_reopen_count Nullable(Int64) COMMENT 'Newest value that the desk itself reports.',
    reported_sla_met Nullable(Bool) COMMENT 'Newest value that the desk itself reports.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    fact.item AS case_id,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.channel AS channel,
    fact.status AS status,
    fact.source_status AS source_status,
    fact.opened_at AS opened_at,
    fact.opened_by AS opened_by,
    fact.first_response_at AS first_response_at,
    fact.first_resolved_at AS first_resolved_at,
    fact.resolved_at AS resolved_at,
    fact.last_resolved_at AS last_resolved_at,
    fact.closed_at AS closed_at,
    fact.first_assigned_at AS first_assigned_at,
    fact.reopen_count AS reopen_count,
    fact.customer_message_count AS customer_message_count,
    fact.agent_message_count AS agent_message_count,
    fact.team AS team,
    fact.assignee AS assignee,
    fact.priority AS priority,
    fact.category AS category,
    fact.last_event_at AS last_event_at,
    fact.reported_resolved_at AS reported_resolved_at,
    fact.reported_closed_at AS reported_closed_at,
    fact.reported_reopen_count AS reported_reopen_count,
    fact.reported_sla_met AS reported_sla_met,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM case_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Cases (conversations with customers) as they are now.';

CREATE VIEW IF NOT EXISTS current_claim
(
    about String COMMENT 'Id of the claim.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    status LowCardinality(String) COMMENT 'Newest state, by event time.',
    reason LowCardinality(Nullable(String)) COMMENT 'Reason code.',
    opened_at DateTime64(6, 'UTC') COMMENT 'First event.',
    respond_by_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Newest limit of the platform.',
    responded_at Nullable(DateTime64(6, 'UTC')) COMMENT 'First answer.',
    decided_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When it was decided, withdrawn or closed.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    amount_minor Nullable(Int64) COMMENT 'Newest amount, in minor units.',
    amount Nullable(Decimal(38, 6)) COMMENT 'Newest amount in dispute, in units of the currency.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.status AS status,
    fact.reason AS reason,
    fact.opened_at AS opened_at,
    fact.respond_by_at AS respond_by_at,
    fact.responded_at AS responded_at,
    fact.decided_at AS decided_at,
    fact.currency AS currency,
    fact.amount_minor AS amount_minor,
    fact.amount AS amount,
    fact.revision AS revision
FROM
(
    SELECT *, amount
    FROM claim_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Claims as they are now.';

CREATE VIEW IF NOT EXISTS current_review
(
    about String COMMENT 'Id of the review.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    review_id String COMMENT 'The marketplace\'s own id.',
    score Int64 COMMENT 'Points given.',
    score_max Int64 COMMENT 'Most points possible.',
    has_text Bool COMMENT 'Whether the customer wrote something.',
    reviewed_at DateTime64(6, 'UTC') COMMENT 'Event time of the newest version.',
    asked_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the customer was asked.',
    sku Nullable(String) COMMENT 'Product, if only one.',
    seller Nullable(String) COMMENT 'Seller, if only one.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.review_id AS review_id,
    fact.score AS score,
    fact.score_max AS score_max,
    fact.has_text AS has_text,
    fact.reviewed_at AS reviewed_at,
    fact.asked_at AS asked_at,
    fact.sku AS sku,
    fact.seller AS seller,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM review_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Reviews as they are now.';

CREATE VIEW IF NOT EXISTS current_payment
(
    about String COMMENT 'Id of the payment.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    kind LowCardinality(String) COMMENT 'Why money moved.',
    method LowCardinality(String) COMMENT 'Means of payment.',
    currency LowCardinality(String) COMMENT 'ISO 4217 code.',
    amount_minor Int64 COMMENT 'Amount in minor units.',
    instalments Nullable(Int64) COMMENT 'Number of instalments.',
    paid_at DateTime64(6, 'UTC') COMMENT 'Event time of the newest version.',
    amount Decimal(38, 6) COMMENT 'Amount in units of the currency; a refund is positive.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.kind AS kind,
    fact.method AS method,
    fact.currency AS currency,
    fact.amount_minor AS amount_minor,
    fact.instalments AS instalments,
    fact.paid_at AS paid_at,
    fact.amount AS amount,
    fact.revision AS revision
FROM
(
    SELECT *, amount
    FROM payment_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Payments as they are now.';

CREATE VIEW IF NOT EXISTS quarantine
(
    about String COMMENT 'Id of the head of the matter.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    reason LowCardinality(String) COMMENT 'Code: `fold_failed`, `too_many_events`, `too_large`.',
    detail String COMMENT 'The error, without personal data.',
    event_count Int64 COMMENT 'Events kept.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.reason AS reason,
    fact.detail AS detail,
    fact.event_count AS event_count,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM quarantine_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Matters that the rules failed on: they keep their events and state nothing until they are retried.';

CREATE VIEW IF NOT EXISTS current_timer
(
    case_id String COMMENT 'Case or id that the timer measures.',
    timer LowCardinality(String) COMMENT 'Kind of timer: first_response, resolution, delivery.',
    cycle Int64 COMMENT 'Cycle of a timer that can run again, counted from 1.',
    level LowCardinality(String) COMMENT 'Level of the fact; `result` is the outcome.',
    about String COMMENT 'Id that gave rise to the timer.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    account LowCardinality(String) COMMENT 'Account whose event would stop the timer.',
    marketplace LowCardinality(String) COMMENT 'Marketplace of the case; empty where there is none.',
    started_at DateTime64(6, 'UTC') COMMENT 'Start.',
    due_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Latest stop that is in time; it may be equal. Null: none.',
    stopped_at Nullable(DateTime64(6, 'UTC')) COMMENT 'The stop. Null: none yet.',
    result LowCardinality(String) COMMENT 'Outcome: met if and only if stopped_at is not after due_at.',
    target_s Nullable(Int64) COMMENT 'Target, in seconds.',
    elapsed_s Nullable(Float64) COMMENT 'Start to stop in seconds. Null while running.',
    policy_version Nullable(Int64) COMMENT 'Version of the reference entry that set the target. Null: the target came with the event.',
    explained_by Array(String) COMMENT 'event_ids of the start and of the stop.',
    next_due_at Nullable(DateTime64(6, 'UTC')) COMMENT 'due_at of a running timer; null when nothing is due any more.',
    revision Int64 COMMENT 'How often the fact was stated.'
)
AS SELECT
    fact.case_id AS case_id,
    fact.timer AS timer,
    fact.cycle AS cycle,
    fact.level AS level,
    fact.about AS about,
    place.customer AS customer,
    place.matter AS matter,
    fact.account AS account,
    fact.marketplace AS marketplace,
    fact.started_at AS started_at,
    fact.due_at AS due_at,
    fact.stopped_at AS stopped_at,
    fact.result AS result,
    fact.target_s AS target_s,
    fact.elapsed_s AS elapsed_s,
    fact.policy_version AS policy_version,
    fact.explained_by AS explained_by,
    if(fact.result = 'running', fact.due_at, NULL) AS next_due_at,
    fact.revision AS revision
FROM
(
    SELECT *
    FROM timer_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS fact
LEFT JOIN
(
    SELECT id, customer, matter
    FROM place FINAL
) AS place ON place.id = fact.about
COMMENT 'Timers as they are now: running ones with what is due next, and outcomes.';

CREATE VIEW IF NOT EXISTS current_place
(
    id String COMMENT 'The id; the key of the record.',
    customer String COMMENT 'Customer; `provisional:<head>` while unknown.',
    matter String COMMENT 'Head of the matter.',
    revision Int64 COMMENT 'Number of moves so far; the highest holds.',
    provisional Bool COMMENT 'Whether the customer is still unknown.'
)
AS SELECT id, customer, matter, revision, provisional
FROM place FINAL
COMMENT 'Where each id belongs today.';

CREATE VIEW IF NOT EXISTS current_matter
(
    matter String COMMENT 'Id of the head of the matter.',
    customer String COMMENT 'Customer whose matter it is; `provisional:<head>` while unknown.',
    provisional Bool COMMENT 'Whether the customer is still unknown.',
    ids Array(String) COMMENT 'Ids that belong to it, the head among them.',
    events UInt64 COMMENT 'Number of events about its ids.',
    first_event_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Event time of the first event. Null: no event is stored.',
    last_event_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Event time of the newest event. Null: no event is stored.',
    open_timers UInt64 COMMENT 'Number of timers that are running.',
    next_due_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Earliest instant at which a running timer is due. Null: nothing is due.'
)
AS SELECT
    place.matter AS matter,
    place.customer AS customer,
    max(place.provisional) AS provisional,
    arraySort(groupArray(place.id)) AS ids,
    sum(event.events) AS events,
    min(event.first_event_at) AS first_event_at,
    max(event.last_event_at) AS last_event_at,
    sum(timer.open_timers) AS open_timers,
    min(timer.next_due_at) AS next_due_at
FROM
(
    SELECT id, customer, matter, provisional
    FROM place FINAL
) AS place
LEFT JOIN
(
    SELECT about, count() AS events, toNullable(min(event_at)) AS first_event_at, toNullable(max(event_at)) AS last_event_at
    FROM event FINAL
    GROUP BY about
) AS event ON event.about = place.id
LEFT JOIN
(
    SELECT about, count() AS open_timers, min(due_at) AS next_due_at
    FROM timer_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn AND result = 'running'
    GROUP BY about
) AS timer ON timer.about = place.id
GROUP BY matter, customer
COMMENT 'Matters: an order with all that follows it, or a thing that follows nothing, with what is due next.';

CREATE VIEW IF NOT EXISTS current_customer
(
    customer String COMMENT 'The customer, a pseudonym; `provisional:<head>` while unknown.',
    provisional Bool COMMENT 'Whether the customer is still unknown.',
    matters UInt64 COMMENT 'Number of matters.',
    orders UInt64 COMMENT 'Number of orders.',
    cancelled_orders UInt64 COMMENT 'Orders among them that are cancelled.',
    first_order_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the customer first bought. Null: never.',
    last_order_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the customer bought last. Null: never.',
    spend Map(String, Decimal(38, 6)) COMMENT 'Goods bought, without freight and cancelled orders, by currency (ISO 4217; empty text: unknown): spend[\'EUR\'].',
    parcels UInt64 COMMENT 'Number of parcels.',
    returns UInt64 COMMENT 'Number of returns, exchanges and cancellations.',
    cases UInt64 COMMENT 'Number of threads with a case.',
    claims UInt64 COMMENT 'Number of claims.'
)
AS SELECT
    place.customer AS customer,
    max(place.provisional) AS provisional,
    uniqExact(place.matter) AS matters,
    count(orders.placed_at) AS orders,
    countIf(orders.placed_at IS NOT NULL AND orders.status = 'cancelled') AS cancelled_orders,
    min(orders.placed_at) AS first_order_at,
    max(orders.placed_at) AS last_order_at,
    sumMap(if(orders.placed_at IS NOT NULL AND orders.status != 'cancelled',
        map(coalesce(toString(orders.currency), ''), CAST(orders.goods_total AS Decimal(38, 6))),
        CAST(map() AS Map(String, Decimal(38, 6))))) AS spend,
    countIf(startsWith(place.id, 'parcel:')) AS parcels,
    countIf(startsWith(place.id, 'return:')) AS returns,
    countIf(startsWith(place.id, 'thread:')) AS cases,
    countIf(startsWith(place.id, 'claim:')) AS claims
FROM
(
    SELECT id, customer, matter, provisional
    FROM place FINAL
) AS place
LEFT JOIN
(
    SELECT about, toNullable(placed_at) AS placed_at, status, currency, goods_total
    FROM order_fact FINAL
    WHERE generation = (SELECT value FROM setting FINAL WHERE name = 'generation') AND NOT withdrawn
) AS orders ON orders.about = place.id
GROUP BY customer
COMMENT 'Customers with what they bought and what else belongs to them.';
