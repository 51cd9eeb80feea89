-- What the pipeline knows: one table per kind of fact, events, places, texts, classifications, dead letters.
--
-- A row written twice is a row, and a correction is a row with a higher revision: read with FINAL, or through the
-- views of the migrations after this one. A column that the sink writes bears the name of its field in schemas/.
-- Nothing is partitioned: an import holds years, and one insert must not fall apart into a part per month. How many minor
-- units make a unit of a currency: ISO 4217, list one (read 2026-11); what is not named there has 100.

CREATE TABLE IF NOT EXISTS setting
(
    name String COMMENT 'Name of the setting.',
    value String COMMENT 'Its value.',
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When it was set, UTC; the newest holds.'
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY name
COMMENT 'What views depend on. `generation`: the generation of facts that views read.';

ALTER TABLE migration
    MODIFY COMMENT 'Migrations that this database has seen.',
    COMMENT COLUMN version 'Number at the beginning of the file name.',
    COMMENT COLUMN md5 'Hash of the file; an applied file is never changed.',
    COMMENT COLUMN script 'Its text.',
    COMMENT COLUMN created_at 'When it was applied, UTC.';

CREATE TABLE IF NOT EXISTS event
(
    kind LowCardinality(String) COMMENT 'What happened: order, parcel, return, message, ticket, review, claim, payment or action_result.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    followers Array(String) COMMENT 'Ids of lower kinds that follow `about` (the parcels of an order).',
    body String COMMENT 'The event\'s own fields as JSON: instants in ISO 8601, decimals as text. The views <kind>_event read it.',
    earliness UInt64 MATERIALIZED 9223372036854775807 - toUnixTimestamp64Micro(ingested_at) COMMENT 'Larger the earlier it was taken in: of the same event, the row taken in first stays.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.',
    INDEX about_index about TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree(earliness)
ORDER BY (kind, event_at, event_id)
COMMENT 'Every event of the timeline, once. Customer and matter that its id belongs to today stand in current_place.';

CREATE TABLE IF NOT EXISTS order_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.',
    total Nullable(Decimal(38, 6)) ALIAS CAST(total_minor AS Nullable(Decimal(38, 6))) / multiIf(
        currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'), 1,
        currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'), 1000,
        currency IN ('CLF', 'UYW'), 10000,
        100)
        COMMENT 'Total as the marketplace says it, in units of the currency.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about an order that is not overtaken yet. Read current_order instead.';

CREATE TABLE IF NOT EXISTS order_line_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'line_id: number of the line within its order.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about an order line that is not overtaken yet. Read current_order_line instead.';

CREATE TABLE IF NOT EXISTS parcel_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a parcel that is not overtaken yet. Read current_parcel instead.';

CREATE TABLE IF NOT EXISTS return_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.',
    refund Nullable(Decimal(38, 6)) ALIAS CAST(refund_minor AS Nullable(Decimal(38, 6))) / multiIf(
        currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'), 1,
        currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'), 1000,
        currency IN ('CLF', 'UYW'), 10000,
        100)
        COMMENT 'Newest refund amount, in units of the currency.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a return that is not overtaken yet. Read current_return instead.';

CREATE TABLE IF NOT EXISTS return_line_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'line_id: number of the line within its return.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    sku String COMMENT 'Product number.',
    category LowCardinality(Nullable(String)) COMMENT 'Product category.',
    quantity Int64 COMMENT 'Pieces.',
    unit_price Decimal(24, 6) COMMENT 'Price credited for one piece.',
    line_at DateTime64(6, 'UTC') COMMENT 'Event time of the event that stated the line.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a return line that is not overtaken yet. Read current_return_line instead.';

CREATE TABLE IF NOT EXISTS case_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'case_id: the episode of contact.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a case, a conversation with a customer, that is not overtaken yet. Read current_case instead.';

CREATE TABLE IF NOT EXISTS claim_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.',
    amount Nullable(Decimal(38, 6)) ALIAS CAST(amount_minor AS Nullable(Decimal(38, 6))) / multiIf(
        currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'), 1,
        currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'), 1000,
        currency IN ('CLF', 'UYW'), 10000,
        100)
        COMMENT 'Newest amount in dispute, in units of the currency.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a claim that is not overtaken yet. Read current_claim instead.';

CREATE TABLE IF NOT EXISTS review_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a review that is not overtaken yet. Read current_review instead.';

CREATE TABLE IF NOT EXISTS payment_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
    account LowCardinality(String) COMMENT 'Account.',
    marketplace LowCardinality(String) COMMENT 'Marketplace.',
    kind LowCardinality(String) COMMENT 'Why money moved.',
    method LowCardinality(String) COMMENT 'Means of payment.',
    currency LowCardinality(String) COMMENT 'ISO 4217 code.',
    amount_minor Int64 COMMENT 'Amount in minor units.',
    instalments Nullable(Int64) COMMENT 'Number of instalments.',
    paid_at DateTime64(6, 'UTC') COMMENT 'Event time of the newest version.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.',
    amount Decimal(38, 6) ALIAS CAST(amount_minor AS Decimal(38, 6)) / multiIf(
        currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'), 1,
        currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'), 1000,
        currency IN ('CLF', 'UYW'), 10000,
        100)
        COMMENT 'Amount in units of the currency; a refund is positive.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a payment that is not overtaken yet. Read current_payment instead.';

CREATE TABLE IF NOT EXISTS quarantine_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    about String COMMENT 'Id that gave rise to the fact, e.g. `order:<account>:<id>`.',
    item String COMMENT 'Empty: the fact is about the whole id.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
    customer String COMMENT 'Customer at whom the matter lies.',
    reason LowCardinality(String) COMMENT 'Code: `fold_failed`, `too_many_events`, `too_large`.',
    detail String COMMENT 'The error, without personal data.',
    event_count Int64 COMMENT 'Events kept.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, about, item)
COMMENT 'Every statement about a matter that the rules failed on that is not overtaken yet. Read quarantine instead.';

CREATE TABLE IF NOT EXISTS timer_fact
(
    generation LowCardinality(String) COMMENT 'Generation of facts; the settings table names the one that views read.',
    case_id String COMMENT 'Case that the timer measures; the key of the record.',
    about String COMMENT 'Id that gave rise to the fact.',
    timer LowCardinality(String) COMMENT 'Kind of timer.',
    cycle Int64 COMMENT 'Cycle of a timer that can run again, counted from 1.',
    level LowCardinality(String) COMMENT 'Level: `result` is stated from the start, as running.',
    revision Int64 COMMENT 'Counted from 1 per key, without holes; the highest holds.',
    withdrawn Bool COMMENT 'True: no longer so; the rest repeats what was stated last.',
    cause LowCardinality(String) COMMENT 'Why it was stated.',
    fold_version Int64 COMMENT 'Version of the rules that stated it.',
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
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (generation, case_id, timer, cycle, level)
COMMENT 'Every statement about a timer that is not overtaken yet. Read current_timer instead.';

CREATE TABLE IF NOT EXISTS place
(
    id String COMMENT 'The id; the key of the record.',
    customer String COMMENT 'Customer; `provisional:<head>` while unknown.',
    matter String COMMENT 'Head of the matter.',
    revision Int64 COMMENT 'Number of moves so far; the highest holds.',
    provisional Bool COMMENT 'Whether the customer is still unknown.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY id
COMMENT 'Where each id belongs; the row with the highest revision holds.';

CREATE TABLE IF NOT EXISTS message_text
(
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    followers Array(String) COMMENT 'Ids of lower kinds that follow `about` (the parcels of an order).',
    text_of String COMMENT 'event_id of the message or review whose text this is.',
    subject Nullable(String) COMMENT 'Subject line or title.',
    text String COMMENT 'The text.',
    earliness UInt64 MATERIALIZED 9223372036854775807 - toUnixTimestamp64Micro(ingested_at) COMMENT 'Larger the earlier it was taken in: of the same event, the row taken in first stays.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree(earliness)
ORDER BY (about, event_id)
COMMENT 'Texts of messages and reviews. Personal data: kept for a short time (setting retention_days).';

CREATE TABLE IF NOT EXISTS classification
(
    text_of String COMMENT 'event_id of the message or review.',
    about String COMMENT 'Id that the text is about: a thread or a review.',
    account LowCardinality(String) COMMENT 'Account that was read.',
    event_at DateTime64(6, 'UTC') COMMENT 'When the text was written, UTC.',
    language LowCardinality(String) COMMENT 'ISO 639-1 code; `und` where the text is too short to tell.',
    language_probability Float64 COMMENT 'How sure the model is, 0 to 1.',
    model LowCardinality(String) COMMENT 'Model and version that said so.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree
ORDER BY (text_of, model)
COMMENT 'What triage read out of texts, one row per text and model.';

CREATE TABLE IF NOT EXISTS dead_letter
(
    dead_letter_id String COMMENT 'UUIDv5 of the origin; the key of the record.',
    reason LowCardinality(String) COMMENT 'Code, e.g. `unknown_schema`, `wrong_number`.',
    detail String COMMENT 'What is wrong: field, value, what to do.',
    agent LowCardinality(String) COMMENT 'Who refused it: an agent or `import`.',
    account LowCardinality(Nullable(String)) COMMENT 'Account, if known.',
    origin_topic Nullable(String) COMMENT 'Topic, by its noun.',
    origin_partition Nullable(Int64) COMMENT 'Partition.',
    origin_offset Nullable(Int64) COMMENT 'Offset.',
    origin_file Nullable(String) COMMENT 'File name, without its folders.',
    origin_line Nullable(Int64) COMMENT 'Line of the file, counted from 1; for a record of several lines, its first.',
    raw_size Int64 COMMENT 'Size of the whole, in bytes.',
    raw_sha256 String COMMENT 'SHA-256 of the whole, hexadecimal.',
    raw String COMMENT 'The first 64 KiB.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree
ORDER BY dead_letter_id
COMMENT 'Input that could not be processed, with the first 64 KiB of its bytes, to be found, mended and replayed.';
