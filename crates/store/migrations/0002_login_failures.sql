-- Failed logins in a row (R18). Names are kept as digests: what people mistype into that field may be a password.

CREATE TABLE login_failures (
    scope TEXT NOT NULL,
    subject TEXT NOT NULL,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (scope, subject)
);

CREATE INDEX login_failures_by_time ON login_failures (last_at);
