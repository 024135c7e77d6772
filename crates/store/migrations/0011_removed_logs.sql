-- When a task's log was removed because the master's disk was nearly full (A4): nobody takes that for damage.

ALTER TABLE tasks ADD COLUMN log_removed_at BIGINT;
