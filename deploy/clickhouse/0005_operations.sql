-- What operators did: dead letters that were brought back by `aftersales dlq replay`.

CREATE TABLE IF NOT EXISTS dead_letter_replay
(
    dead_letter_id String COMMENT 'The letter; the key of the record.',
    replayed_at DateTime64(6, 'UTC') COMMENT 'When it was brought back, UTC.',
    stored_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When the row was written here, UTC. Retention counts from it; it decides nothing else.'
)
ENGINE = ReplacingMergeTree
ORDER BY dead_letter_id
COMMENT 'Dead letters whose input stands on a topic again. A letter that is not named here is open.';
