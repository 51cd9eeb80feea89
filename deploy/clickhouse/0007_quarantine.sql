-- What is said of quarantines names every reason there is.

ALTER TABLE quarantine_fact
    COMMENT COLUMN reason 'Code: `fold_failed`, `too_many_events`, `too_large`, `too_late` (news of what was archived).';

CREATE OR REPLACE VIEW quarantine
(
    about String COMMENT 'Id of the head of the matter.',
    customer String COMMENT 'Customer that the id belongs to today; `provisional:<head>` while unknown, empty if the id has no place yet.',
    matter String COMMENT 'Matter that the id belongs to today: the id of its head.',
    reason LowCardinality(String) COMMENT 'Code: `fold_failed`, `too_many_events`, `too_large`, `too_late` (news of what was archived).',
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
COMMENT 'Matters that are set aside: they keep their events and state nothing until they are retried or recalled.';
