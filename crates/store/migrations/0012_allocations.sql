-- A task and its runs are two things. Each task of before has the one run that it had.

ALTER TABLE tasks RENAME TO old_tasks;

DROP INDEX tasks_of_owner;
DROP INDEX tasks_of_kind;
DROP INDEX tasks_alive;
DROP INDEX tasks_alive_of_owner;

-- `run` is the number of the latest one; `weight` is in thousandths.
CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner_id BIGINT NOT NULL REFERENCES users (id),
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    description TEXT NOT NULL,
    pool TEXT NOT NULL,
    slots BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    max_slots BIGINT,
    priority BIGINT NOT NULL,
    run_as TEXT NOT NULL,
    has_context BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    standing TEXT NOT NULL CHECK (standing IN ('active', 'paused', 'over')),
    run BIGINT NOT NULL,
    restarts BIGINT NOT NULL,
    max_restarts BIGINT NOT NULL,
    log_removed_at BIGINT
);

INSERT INTO tasks (id, seq, kind, owner_id, workspace_id, description, pool, slots, weight, max_slots, priority, run_as,
    has_context, created_at, standing, run, restarts, max_restarts, log_removed_at)
SELECT id, seq, kind, owner_id, workspace_id, description, 'default', slots, 1000, NULL, priority, run_as, has_context,
    created_at, CASE state WHEN 'terminated' THEN 'over' ELSE 'active' END, run, 0, 0, log_removed_at
FROM old_tasks;

CREATE INDEX tasks_of_owner ON tasks (owner_id, kind, seq);
CREATE INDEX tasks_of_kind ON tasks (kind, seq);
CREATE INDEX tasks_alive ON tasks (seq) WHERE standing <> 'over';
CREATE INDEX tasks_alive_of_owner ON tasks (owner_id) WHERE standing <> 'over';

-- `placement` is JSON, a list of agents with their slots. `asked` is why its end was asked for, `heard` that it knows.
CREATE TABLE allocations (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    run BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    phase TEXT NOT NULL,
    placement TEXT,
    started_at BIGINT,
    ready BOOLEAN NOT NULL,
    asked TEXT,
    heard BOOLEAN NOT NULL,
    ended_at BIGINT,
    exit_code BIGINT,
    exit_signal BIGINT,
    exit_reason TEXT,
    token_hash TEXT UNIQUE,
    PRIMARY KEY (task_id, run)
);

-- A run of before that had no place couldn't start. Reasons were once kept as long as an agent liked (KB3).
INSERT INTO allocations (task_id, run, created_at, phase, placement, started_at, ready, asked, heard, ended_at, exit_code,
    exit_signal, exit_reason, token_hash)
SELECT id, run, created_at,
    CASE
        WHEN state = 'terminated' THEN 'ended'
        WHEN agent_id IS NULL THEN CASE WHEN kill_requested THEN 'withdrawn' ELSE 'waiting' END
        WHEN kill_requested OR state = 'terminating' THEN 'ending'
        WHEN started_at IS NOT NULL THEN 'running'
        ELSE 'assigned'
    END,
    CASE WHEN agent_id IS NULL THEN NULL
        ELSE '[{"agent":"' || agent_id || '","slots":' || slot_ids || '}]' END,
    CASE WHEN agent_id IS NULL THEN NULL ELSE started_at END, FALSE,
    CASE WHEN kill_requested OR state = 'terminating' THEN 'killed' ELSE NULL END, FALSE,
    CASE WHEN state = 'terminated' THEN COALESCE(ended_at, started_at, created_at) ELSE NULL END,
    exit_code, exit_signal, SUBSTR(exit_reason, 1, 2000), token_hash
FROM old_tasks;

CREATE TABLE new_task_configs (
    task_id TEXT NOT NULL PRIMARY KEY REFERENCES tasks (id),
    config TEXT NOT NULL
);

INSERT INTO new_task_configs (task_id, config) SELECT task_id, config FROM task_configs;

DROP TABLE task_configs;

ALTER TABLE new_task_configs RENAME TO task_configs;

DROP TABLE old_tasks;
