-- Whose doing a run's end was; of runs of before, and of agents that don't say it, nobody knows.
ALTER TABLE allocations ADD COLUMN exit_fault TEXT;
