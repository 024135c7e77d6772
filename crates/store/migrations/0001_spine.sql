-- Accounts, sessions, tasks, agents. One text for both databases: TEXT, BIGINT, BOOLEAN; times are µs since 1970.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Numbers that were given out; a number is never given twice.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    admin BOOLEAN NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'deactivated')),
    remote BOOLEAN NOT NULL,
    password_kind TEXT NOT NULL CHECK (password_kind IN ('blank', 'hash', 'impossible')),
    password_hash TEXT,
    agent_user TEXT,
    agent_uid BIGINT,
    agent_group TEXT,
    agent_gid BIGINT,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    last_login_at BIGINT
);

CREATE TABLE sessions (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE workspaces (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    owner_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL
);

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    public_key TEXT NOT NULL UNIQUE,
    enabled BOOLEAN NOT NULL,
    draining BOOLEAN NOT NULL,
    disabled_slots TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL
);

CREATE TABLE invitations (
    token_hash TEXT NOT NULL PRIMARY KEY,
    agent_id TEXT,
    used_by_key TEXT,
    invited_by BIGINT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner_id BIGINT NOT NULL REFERENCES users (id),
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    description TEXT NOT NULL,
    config TEXT NOT NULL,
    run_as TEXT NOT NULL,
    has_context BOOLEAN NOT NULL,
    priority BIGINT NOT NULL,
    state TEXT NOT NULL,
    run BIGINT NOT NULL,
    agent_id TEXT REFERENCES agents (id),
    slot_ids TEXT NOT NULL,
    token_hash TEXT UNIQUE,
    kill_requested BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    exit_code BIGINT,
    exit_reason TEXT
);

CREATE INDEX tasks_of_owner ON tasks (owner_id, kind, seq);
CREATE INDEX tasks_of_kind ON tasks (kind, seq);
CREATE INDEX tasks_alive ON tasks (seq) WHERE state <> 'terminated';
