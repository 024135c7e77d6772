-- From where accounts have logged in (A8): there, others' failures don't stop them. Names are kept as digests.

CREATE TABLE login_places (
    account TEXT NOT NULL,
    address TEXT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (account, address)
);

CREATE INDEX login_places_by_time ON login_places (last_at);
