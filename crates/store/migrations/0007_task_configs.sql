-- What a task runs stands apart from what lists show of it (A6): on SQLite a row's last columns lie behind a large one.
-- `slots` is NULL until it was read out of the configuration, right after this migration.

CREATE TABLE task_configs (
    task_id TEXT NOT NULL PRIMARY KEY REFERENCES tasks (id),
    config TEXT NOT NULL
);

INSERT INTO task_configs (task_id, config) SELECT id, config FROM tasks;

ALTER TABLE tasks DROP COLUMN config;

ALTER TABLE tasks ADD COLUMN slots BIGINT;
