-- How a process ended: a status is no signal (B14).
ALTER TABLE tasks ADD COLUMN exit_signal BIGINT;
