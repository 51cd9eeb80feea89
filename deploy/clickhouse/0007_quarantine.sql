-- What is said of quarantines names every reason there is.

ALTER TABLE quarantine_fact
    COMMENT COLUMN reason 'Code: `fold_failed`, `too_many_events`, `too_large`, `too_late` (news of what was archived).';

ALTER TABLE quarantine
    COMMENT COLUMN reason 'Code: `fold_failed`, `too_many_events`, `too_large`, `too_late` (news of what was archived).';

ALTER TABLE quarantine
    MODIFY COMMENT 'Matters that are set aside: they keep their events and state nothing until they are retried or recalled.';
