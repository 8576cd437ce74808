-- What is still to be told of the lives of keys, in the order in which it happened.
CREATE TABLE lifecycle_event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    key_id TEXT NOT NULL,
    happened INTEGER NOT NULL
) STRICT;

CREATE INDEX lifecycle_event_by_kind ON lifecycle_event (kind, number);
