-- What is over for long is found by when it ended.
CREATE INDEX allocations_ended ON allocations (ended_at) WHERE ended_at IS NOT NULL;
