-- Until when a run whose end is asked for may take to end by itself; without it, it is being ended.
ALTER TABLE allocations ADD COLUMN asked_until BIGINT;
