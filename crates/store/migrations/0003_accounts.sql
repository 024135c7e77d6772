-- Accounts complete: tokens, groups, settings, ownership, registration, mail, audit.

ALTER TABLE users ADD COLUMN email TEXT;
-- Belongs to no person, logs in with no password.
ALTER TABLE users ADD COLUMN service BOOLEAN NOT NULL DEFAULT FALSE;
-- The row stays: what the account made stays attributed, and nobody gets its name (R35).
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
-- Both names in small letters, a line each: what searches look through.
ALTER TABLE users ADD COLUMN search TEXT NOT NULL DEFAULT '';
-- To count them, and to skip those before a page, without reading them.
CREATE INDEX users_by_state ON users (deleted_at, id, status, admin);
UPDATE users SET search = lower(username) || '
' || lower(display_name);

CREATE TABLE tokens (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    token_hash TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'full')),
    created_by BIGINT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT
);

CREATE INDEX tokens_of_user ON tokens (user_id, id);

CREATE TABLE user_groups (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE group_members (
    group_id BIGINT NOT NULL REFERENCES user_groups (id),
    user_id BIGINT NOT NULL REFERENCES users (id),
    PRIMARY KEY (group_id, user_id)
);

CREATE INDEX group_members_by_user ON group_members (user_id);

-- What clients keep for their user.
CREATE TABLE user_settings (
    user_id BIGINT NOT NULL REFERENCES users (id),
    storage_path TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (user_id, storage_path, name)
);

ALTER TABLE workspaces ADD COLUMN private BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE workspaces ADD COLUMN archived BOOLEAN NOT NULL DEFAULT FALSE;
-- Each part overlays that of the user's own Unix identity.
ALTER TABLE workspaces ADD COLUMN agent_user TEXT;
ALTER TABLE workspaces ADD COLUMN agent_uid BIGINT;
ALTER TABLE workspaces ADD COLUMN agent_group TEXT;
ALTER TABLE workspaces ADD COLUMN agent_gid BIGINT;
-- Where this account's Polyaxon projects are.
ALTER TABLE workspaces ADD COLUMN personal_of BIGINT;
ALTER TABLE workspaces ADD COLUMN deleted_at BIGINT;

CREATE INDEX workspaces_of_person ON workspaces (personal_of);

CREATE TABLE projects (
    id BIGINT NOT NULL PRIMARY KEY,
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    code TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    notes TEXT NOT NULL,
    tags TEXT NOT NULL,
    private BOOLEAN NOT NULL,
    archived BOOLEAN NOT NULL,
    owner_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX projects_by_name ON projects (workspace_id, name);

-- Who may do more in a workspace or project than the public.
CREATE TABLE memberships (
    scope TEXT NOT NULL CHECK (scope IN ('workspace', 'project')),
    scope_id BIGINT NOT NULL,
    member_kind TEXT NOT NULL CHECK (member_kind IN ('user', 'group')),
    member_id BIGINT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'editor', 'administrator')),
    PRIMARY KEY (scope, scope_id, member_kind, member_id)
);

CREATE INDEX memberships_by_member ON memberships (member_kind, member_id);

CREATE TABLE bookmarks (
    user_id BIGINT NOT NULL REFERENCES users (id),
    project_id BIGINT NOT NULL REFERENCES projects (id),
    PRIMARY KEY (user_id, project_id)
);

CREATE TABLE templates (
    name TEXT NOT NULL PRIMARY KEY,
    config TEXT NOT NULL,
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    owner_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL
);

-- Who asked to be let in, and what became of it. The account's row is gone after a rejection.
CREATE TABLE registrations (
    id BIGINT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL,
    email TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'accepted', 'rejected')),
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    decided_at BIGINT,
    decided_by BIGINT REFERENCES users (id)
);

CREATE INDEX registrations_by_state ON registrations (state, id);
CREATE INDEX registrations_by_time ON registrations (created_at);
CREATE INDEX registrations_of_name ON registrations (username, id);

-- Invitations of people; those of agents have a table of their own.
CREATE TABLE user_invitations (
    id BIGINT NOT NULL PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    email TEXT,
    created_by BIGINT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_by BIGINT REFERENCES users (id),
    used_at BIGINT
);

-- Mail to be sent; a row goes when it was taken by the mail server or given up.
CREATE TABLE mails (
    id BIGINT NOT NULL PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL
);

CREATE INDEX mails_by_attempt ON mails (next_attempt_at);

-- What happened, each line with the digest of all before it. Rows are only ever added.
CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL
);

CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_of_actor ON audit (actor, seq);
CREATE INDEX audit_of_action ON audit (action, seq);
CREATE INDEX audit_of_target ON audit (target, seq);

-- Installations that are there already: the shared workspace gets its project, and both numbers are taken.
INSERT INTO projects (id, workspace_id, name, code, description, notes, tags, private, archived, owner_id, created_at, modified_at)
    SELECT 1, id, 'Uncategorized', 'UNCAT', '', '[]', '[]', FALSE, FALSE, owner_id, created_at, created_at FROM workspaces WHERE id = 1;
INSERT INTO counters (name, value) SELECT 'workspace', 1 FROM workspaces WHERE id = 1;
INSERT INTO counters (name, value) SELECT 'project', 1 FROM workspaces WHERE id = 1;
