-- The events of each kind with their own fields as columns, for analysts. A field that an event does not name is null.

CREATE VIEW IF NOT EXISTS order_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    status LowCardinality(Nullable(String)) COMMENT 'New state of the order.',
    placed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the customer bought; of several, the earliest holds.',
    promised_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Delivery promised to the customer for this instant at the latest.',
    buyer Nullable(String) COMMENT 'Pseudonym that the marketplace gives the buyer for this one order.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of delivery: ISO 3166-1 alpha-2 where the source has it, else the source\'s name.',
    destination_region LowCardinality(Nullable(String)) COMMENT 'State or region of delivery, as the source writes it.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of all amounts of the order.',
    total_minor Nullable(Int64) COMMENT 'Total that the customer pays, in minor units of the currency.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'status', 'Nullable(String)') AS status,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'placed_at', 'Nullable(String)'), 6, 'UTC') AS placed_at,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'promised_at', 'Nullable(String)'), 6, 'UTC') AS promised_at,
    JSONExtract(body, 'buyer', 'Nullable(String)') AS buyer,
    JSONExtract(body, 'destination_country', 'Nullable(String)') AS destination_country,
    JSONExtract(body, 'destination_region', 'Nullable(String)') AS destination_region,
    JSONExtract(body, 'currency', 'Nullable(String)') AS currency,
    JSONExtract(body, 'total_minor', 'Nullable(Int64)') AS total_minor
FROM event FINAL
WHERE event.kind = 'order'
COMMENT 'Events of kind order: an order was placed, changed its state, or a part of it became known.';

CREATE VIEW IF NOT EXISTS order_line_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of all amounts of the order.',
    line_id String COMMENT 'Number of the line within its order; for a source without line numbers, content hash and occurrence.',
    sku String COMMENT 'Seller\'s or marketplace\'s product number.',
    seller Nullable(String) COMMENT 'Seller of the line, where one order has several.',
    category LowCardinality(Nullable(String)) COMMENT 'Product category.',
    quantity Int64 COMMENT 'Pieces; negative where the source corrects a quantity.',
    unit_price Decimal(24, 6) COMMENT 'Price of one piece in the order\'s currency; more decimals than the currency has; negative for an adjustment.',
    freight Nullable(Decimal(24, 6)) COMMENT 'Freight charged for the line, in the order\'s currency.',
    ship_by_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Latest handover to the carrier that the seller promised for this line.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'currency', 'Nullable(String)') AS currency,
    JSONExtract(line, 'line_id', 'String') AS line_id,
    JSONExtract(line, 'sku', 'String') AS sku,
    JSONExtract(line, 'seller', 'Nullable(String)') AS seller,
    JSONExtract(line, 'category', 'Nullable(String)') AS category,
    JSONExtract(line, 'quantity', 'Int64') AS quantity,
    JSONExtract(line, 'unit_price', 'Decimal(24, 6)') AS unit_price,
    JSONExtract(line, 'freight', 'Nullable(Decimal(24, 6))') AS freight,
    parseDateTime64BestEffortOrNull(JSONExtract(line, 'ship_by_at', 'Nullable(String)'), 6, 'UTC') AS ship_by_at
FROM event FINAL
ARRAY JOIN JSONExtractArrayRaw(body, 'lines') AS line
WHERE event.kind = 'order'
COMMENT 'Lines that events of kind order state, one row per line and event.';

CREATE VIEW IF NOT EXISTS parcel_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    change LowCardinality(String) COMMENT 'What happened.',
    status LowCardinality(Nullable(String)) COMMENT 'State that a scan reports.',
    carrier LowCardinality(Nullable(String)) COMMENT 'Carrier, e.g. `dhl`.',
    service LowCardinality(Nullable(String)) COMMENT 'Service of the carrier, e.g. `express`.',
    promised_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Delivery promised by the carrier or the seller.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of delivery, ISO 3166-1 alpha-2.',
    country LowCardinality(Nullable(String)) COMMENT 'Country of the scan, ISO 3166-1 alpha-2.',
    code LowCardinality(Nullable(String)) COMMENT 'The carrier\'s own code of the scan.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'change', 'String') AS change,
    JSONExtract(body, 'status', 'Nullable(String)') AS status,
    JSONExtract(body, 'carrier', 'Nullable(String)') AS carrier,
    JSONExtract(body, 'service', 'Nullable(String)') AS service,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'promised_at', 'Nullable(String)'), 6, 'UTC') AS promised_at,
    JSONExtract(body, 'destination_country', 'Nullable(String)') AS destination_country,
    JSONExtract(body, 'country', 'Nullable(String)') AS country,
    JSONExtract(body, 'code', 'Nullable(String)') AS code
FROM event FINAL
WHERE event.kind = 'parcel'
COMMENT 'Events of kind parcel: a shipment became known, or a carrier scanned a parcel.';

CREATE VIEW IF NOT EXISTS return_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    kind LowCardinality(String) COMMENT 'Return, exchange or cancellation.',
    status LowCardinality(Nullable(String)) COMMENT 'New state.',
    reason LowCardinality(Nullable(String)) COMMENT 'Reason code of the source, never free text.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of all amounts.',
    refund_minor Nullable(Int64) COMMENT 'Amount refunded or to be refunded, in minor units.',
    destination_country LowCardinality(Nullable(String)) COMMENT 'Country of the customer: ISO 3166-1 alpha-2 where the source has it, else the source\'s name.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'kind', 'String') AS kind,
    JSONExtract(body, 'status', 'Nullable(String)') AS status,
    JSONExtract(body, 'reason', 'Nullable(String)') AS reason,
    JSONExtract(body, 'currency', 'Nullable(String)') AS currency,
    JSONExtract(body, 'refund_minor', 'Nullable(Int64)') AS refund_minor,
    JSONExtract(body, 'destination_country', 'Nullable(String)') AS destination_country
FROM event FINAL
WHERE event.kind = 'return'
COMMENT 'Events of kind return: a return, an exchange or a cancellation after the sale was asked for, or moved on.';

CREATE VIEW IF NOT EXISTS return_line_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of all amounts.',
    line_id String COMMENT 'Number of the line within its return; for a source without line numbers, content hash and occurrence.',
    sku String COMMENT 'Product number.',
    category LowCardinality(Nullable(String)) COMMENT 'Product category.',
    quantity Int64 COMMENT 'Pieces that come back or are cancelled; positive.',
    unit_price Decimal(24, 6) COMMENT 'Price credited for one piece, in the return\'s currency.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'currency', 'Nullable(String)') AS currency,
    JSONExtract(line, 'line_id', 'String') AS line_id,
    JSONExtract(line, 'sku', 'String') AS sku,
    JSONExtract(line, 'category', 'Nullable(String)') AS category,
    JSONExtract(line, 'quantity', 'Int64') AS quantity,
    JSONExtract(line, 'unit_price', 'Decimal(24, 6)') AS unit_price
FROM event FINAL
ARRAY JOIN JSONExtractArrayRaw(body, 'lines') AS line
WHERE event.kind = 'return'
COMMENT 'Lines that events of kind return state, one row per line and event.';

CREATE VIEW IF NOT EXISTS message_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    message_id String COMMENT 'The channel\'s own id of the message.',
    author LowCardinality(String) COMMENT 'Who wrote it.',
    channel LowCardinality(String) COMMENT 'Channel: `email`, `chat`, `marketplace`, `social`, `phone` or the source\'s word.',
    in_reply_to Nullable(String) COMMENT 'message_id that this message answers directly.',
    agent LowCardinality(Nullable(String)) COMMENT 'Who or which brand answered; never a person\'s name.',
    has_attachment Bool COMMENT 'Whether files came with it.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'message_id', 'String') AS message_id,
    JSONExtract(body, 'author', 'String') AS author,
    JSONExtract(body, 'channel', 'String') AS channel,
    JSONExtract(body, 'in_reply_to', 'Nullable(String)') AS in_reply_to,
    JSONExtract(body, 'agent', 'Nullable(String)') AS agent,
    JSONExtract(body, 'has_attachment', 'Bool') AS has_attachment
FROM event FINAL
WHERE event.kind = 'message'
COMMENT 'Events of kind message: a message in a conversation, without its text.';

CREATE VIEW IF NOT EXISTS ticket_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    change LowCardinality(String) COMMENT 'What was changed.',
    status LowCardinality(Nullable(String)) COMMENT 'New state.',
    source_status LowCardinality(Nullable(String)) COMMENT 'New state in the desk\'s own word.',
    team LowCardinality(Nullable(String)) COMMENT 'Team that has it from now on.',
    assignee Nullable(String) COMMENT 'Agent who has it from now on; the desk\'s id, never a name.',
    priority LowCardinality(Nullable(String)) COMMENT 'Priority, in the desk\'s own word.',
    category LowCardinality(Nullable(String)) COMMENT 'Category of the issue, in the desk\'s own word.',
    other Nullable(String) COMMENT 'Thread that it was merged into, or split from.',
    reported_resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the desk itself says it was resolved. For comparison; decides nothing.',
    reported_closed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the desk itself says it was closed. For comparison; decides nothing.',
    reported_reopen_count Nullable(Int64) COMMENT 'How often the desk itself says it was reopened.',
    reported_sla_met Nullable(Bool) COMMENT 'Whether the desk itself says that its target was met.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'change', 'String') AS change,
    JSONExtract(body, 'status', 'Nullable(String)') AS status,
    JSONExtract(body, 'source_status', 'Nullable(String)') AS source_status,
    JSONExtract(body, 'team', 'Nullable(String)') AS team,
    JSONExtract(body, 'assignee', 'Nullable(String)') AS assignee,
    JSONExtract(body, 'priority', 'Nullable(String)') AS priority,
    JSONExtract(body, 'category', 'Nullable(String)') AS category,
    JSONExtract(body, 'other', 'Nullable(String)') AS other,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'reported_resolved_at', 'Nullable(String)'), 6, 'UTC') AS reported_resolved_at,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'reported_closed_at', 'Nullable(String)'), 6, 'UTC') AS reported_closed_at,
    JSONExtract(body, 'reported_reopen_count', 'Nullable(Int64)') AS reported_reopen_count,
    JSONExtract(body, 'reported_sla_met', 'Nullable(Bool)') AS reported_sla_met
FROM event FINAL
WHERE event.kind = 'ticket'
COMMENT 'Events of kind ticket: a help desk changed something about a conversation.';

CREATE VIEW IF NOT EXISTS review_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    review_id String COMMENT 'The marketplace\'s own id of the review.',
    score Int64 COMMENT 'Points given.',
    score_max Int64 COMMENT 'Most points possible.',
    has_text Bool COMMENT 'Whether the customer wrote something.',
    asked_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When the customer was asked for it.',
    sku Nullable(String) COMMENT 'Product that it is about, if only one.',
    seller Nullable(String) COMMENT 'Seller that it is about, if only one.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'review_id', 'String') AS review_id,
    JSONExtract(body, 'score', 'Int64') AS score,
    JSONExtract(body, 'score_max', 'Int64') AS score_max,
    JSONExtract(body, 'has_text', 'Bool') AS has_text,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'asked_at', 'Nullable(String)'), 6, 'UTC') AS asked_at,
    JSONExtract(body, 'sku', 'Nullable(String)') AS sku,
    JSONExtract(body, 'seller', 'Nullable(String)') AS seller
FROM event FINAL
WHERE event.kind = 'review'
COMMENT 'Events of kind review: a customer rated an order, a product or a seller.';

CREATE VIEW IF NOT EXISTS claim_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    status LowCardinality(String) COMMENT 'New state.',
    reason LowCardinality(Nullable(String)) COMMENT 'Reason code of the platform.',
    respond_by_at Nullable(DateTime64(6, 'UTC')) COMMENT 'The platform\'s own limit for the seller\'s answer.',
    currency LowCardinality(Nullable(String)) COMMENT 'ISO 4217 code of the amount.',
    amount_minor Nullable(Int64) COMMENT 'Amount in dispute, in minor units.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'status', 'String') AS status,
    JSONExtract(body, 'reason', 'Nullable(String)') AS reason,
    parseDateTime64BestEffortOrNull(JSONExtract(body, 'respond_by_at', 'Nullable(String)'), 6, 'UTC') AS respond_by_at,
    JSONExtract(body, 'currency', 'Nullable(String)') AS currency,
    JSONExtract(body, 'amount_minor', 'Nullable(Int64)') AS amount_minor
FROM event FINAL
WHERE event.kind = 'claim'
COMMENT 'Events of kind claim: a dispute that a platform runs was opened or moved on.';

CREATE VIEW IF NOT EXISTS payment_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    kind LowCardinality(String) COMMENT 'Why money moved.',
    method LowCardinality(String) COMMENT 'Means of payment, in the source\'s word.',
    currency LowCardinality(String) COMMENT 'ISO 4217 code.',
    amount_minor Int64 COMMENT 'Amount in minor units; a refund is positive.',
    instalments Nullable(Int64) COMMENT 'Number of instalments.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'kind', 'String') AS kind,
    JSONExtract(body, 'method', 'String') AS method,
    JSONExtract(body, 'currency', 'String') AS currency,
    JSONExtract(body, 'amount_minor', 'Int64') AS amount_minor,
    JSONExtract(body, 'instalments', 'Nullable(Int64)') AS instalments
FROM event FINAL
WHERE event.kind = 'payment'
COMMENT 'Events of kind payment: money moved for an order.';

CREATE VIEW IF NOT EXISTS action_result_event
(
    event_id String COMMENT 'UUIDv5 of what the source says: account, kind, its own id and version; for a file without ids, content hash and occurrence number. The same id is the same event.',
    event_at DateTime64(6, 'UTC') COMMENT 'When it happened by the source\'s own clock, UTC. Decides every start, stop and order.',
    ingested_at DateTime64(6, 'UTC') COMMENT 'When the connector took it in, UTC. Measures delay; decides nothing.',
    account LowCardinality(String) COMMENT 'Account that was read: a seller account on a marketplace, a carrier contract, a desk.',
    marketplace LowCardinality(String) COMMENT 'Marketplace the event is about, e.g. `amazon-de`; empty where there is none.',
    sequence Int64 COMMENT 'The source\'s own order of events with the same instant.',
    about String COMMENT 'The most specific id that the event is about; the key of the record.',
    customer Nullable(String) COMMENT 'Customer, as a pseudonym: `customer:<account>:<hmac>`. Null: the event does not say.',
    leader Nullable(String) COMMENT 'Id of a higher kind that `about` follows (a parcel its order). Null: the event does not say.',
    action_id String COMMENT 'Id of the action.',
    action LowCardinality(String) COMMENT 'What was to be done.',
    result LowCardinality(String) COMMENT 'What came of it.',
    detail Nullable(String) COMMENT 'Code or short text of the platform.'
)
AS SELECT
    event_id,
    event_at,
    ingested_at,
    account,
    marketplace,
    sequence,
    about,
    customer,
    leader,
    JSONExtract(body, 'action_id', 'String') AS action_id,
    JSONExtract(body, 'action', 'String') AS action,
    JSONExtract(body, 'result', 'String') AS result,
    JSONExtract(body, 'detail', 'Nullable(String)') AS detail
FROM event FINAL
WHERE event.kind = 'action_result'
COMMENT 'Events of kind action_result: what came of something that the pipeline wanted done outside.';
