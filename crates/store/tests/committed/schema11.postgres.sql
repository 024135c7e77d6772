SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.agents (
    id text NOT NULL,
    public_key text NOT NULL,
    enabled boolean NOT NULL,
    draining boolean NOT NULL,
    disabled_slots text NOT NULL,
    enrolled_at bigint NOT NULL,
    revoked_at bigint,
    last_seen_at bigint,
    last_address text
);
CREATE TABLE public.audit (
    seq bigint NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    result text NOT NULL,
    body text NOT NULL,
    hash text NOT NULL
);
CREATE TABLE public.bookmarks (
    user_id bigint NOT NULL,
    project_id bigint NOT NULL
);
CREATE TABLE public.counters (
    name text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.group_members (
    group_id bigint NOT NULL,
    user_id bigint NOT NULL
);
CREATE TABLE public.invitations (
    token_hash text NOT NULL,
    agent_id text,
    used_by_key text,
    invited_by bigint,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    replaces boolean DEFAULT false NOT NULL
);
CREATE TABLE public.login_failures (
    scope text NOT NULL,
    subject text NOT NULL,
    failures bigint NOT NULL,
    last_at bigint NOT NULL
);
CREATE TABLE public.login_places (
    account text NOT NULL,
    address text NOT NULL,
    last_at bigint NOT NULL
);
CREATE TABLE public.mails (
    id bigint NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    created_at bigint NOT NULL,
    attempts bigint NOT NULL,
    next_attempt_at bigint NOT NULL
);
CREATE TABLE public.memberships (
    scope text NOT NULL,
    scope_id bigint NOT NULL,
    member_kind text NOT NULL,
    member_id bigint NOT NULL,
    role text NOT NULL,
    CONSTRAINT memberships_member_kind_check CHECK ((member_kind = ANY (ARRAY['user'::text, 'group'::text]))),
    CONSTRAINT memberships_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'editor'::text, 'administrator'::text]))),
    CONSTRAINT memberships_scope_check CHECK ((scope = ANY (ARRAY['workspace'::text, 'project'::text])))
);
CREATE TABLE public.meta (
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.projects (
    id bigint NOT NULL,
    workspace_id bigint NOT NULL,
    name text NOT NULL,
    code text NOT NULL,
    description text NOT NULL,
    notes text NOT NULL,
    tags text NOT NULL,
    private boolean NOT NULL,
    archived boolean NOT NULL,
    owner_id bigint NOT NULL,
    created_at bigint NOT NULL,
    modified_at bigint NOT NULL
);
CREATE TABLE public.registrations (
    id bigint NOT NULL,
    username text NOT NULL,
    email text NOT NULL,
    user_id bigint NOT NULL,
    state text NOT NULL,
    address text NOT NULL,
    created_at bigint NOT NULL,
    decided_at bigint,
    decided_by bigint,
    CONSTRAINT registrations_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'accepted'::text, 'rejected'::text])))
);
CREATE TABLE public.reserve (
    filler text NOT NULL
);
CREATE TABLE public.revoked_agent_keys (
    public_key text NOT NULL,
    agent_id text NOT NULL,
    revoked_at bigint NOT NULL
);
CREATE TABLE public.schema_checksums (
    version bigint NOT NULL,
    checksum text NOT NULL
);
CREATE TABLE public.schema_version (
    version bigint NOT NULL
);
CREATE TABLE public.sessions (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    token_hash text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.task_configs (
    task_id text NOT NULL,
    config text NOT NULL
);
CREATE TABLE public.tasks (
    id text NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    owner_id bigint NOT NULL,
    workspace_id bigint NOT NULL,
    description text NOT NULL,
    run_as text NOT NULL,
    has_context boolean NOT NULL,
    priority bigint NOT NULL,
    state text NOT NULL,
    run bigint NOT NULL,
    agent_id text,
    slot_ids text NOT NULL,
    token_hash text,
    kill_requested boolean NOT NULL,
    created_at bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    exit_code bigint,
    exit_reason text,
    exit_signal bigint,
    slots bigint,
    log_removed_at bigint
);
CREATE TABLE public.templates (
    name text NOT NULL,
    config text NOT NULL,
    workspace_id bigint NOT NULL,
    owner_id bigint NOT NULL,
    created_at bigint NOT NULL,
    modified_at bigint NOT NULL
);
CREATE TABLE public.tokens (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    token_hash text NOT NULL,
    description text NOT NULL,
    scope text NOT NULL,
    created_by bigint,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint,
    last_used_at bigint,
    CONSTRAINT tokens_scope_check CHECK ((scope = ANY (ARRAY['read'::text, 'full'::text])))
);
CREATE TABLE public.user_groups (
    id bigint NOT NULL,
    name text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.user_invitations (
    id bigint NOT NULL,
    token_hash text NOT NULL,
    email text,
    created_by bigint,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_by bigint,
    used_at bigint
);
CREATE TABLE public.user_settings (
    user_id bigint NOT NULL,
    storage_path text NOT NULL,
    name text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.users (
    id bigint NOT NULL,
    username text NOT NULL,
    display_name text NOT NULL,
    admin boolean NOT NULL,
    status text NOT NULL,
    remote boolean NOT NULL,
    password_kind text NOT NULL,
    password_hash text,
    agent_user text,
    agent_uid bigint,
    agent_group text,
    agent_gid bigint,
    created_at bigint NOT NULL,
    modified_at bigint NOT NULL,
    last_login_at bigint,
    email text,
    service boolean DEFAULT false NOT NULL,
    deleted_at bigint,
    search text DEFAULT ''::text NOT NULL,
    machine_number bigint,
    CONSTRAINT users_machine_number_check CHECK (((machine_number >= 0) AND (machine_number <= 519999))),
    CONSTRAINT users_password_kind_check CHECK ((password_kind = ANY (ARRAY['blank'::text, 'hash'::text, 'impossible'::text]))),
    CONSTRAINT users_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'active'::text, 'deactivated'::text])))
);
CREATE TABLE public.workspaces (
    id bigint NOT NULL,
    name text NOT NULL,
    owner_id bigint NOT NULL,
    created_at bigint NOT NULL,
    private boolean DEFAULT false NOT NULL,
    archived boolean DEFAULT false NOT NULL,
    agent_user text,
    agent_uid bigint,
    agent_group text,
    agent_gid bigint,
    personal_of bigint,
    deleted_at bigint
);
INSERT INTO public.agents VALUES ('vm', 'asAlAf9P0aD661QV2QBuIyZjKm78AqhIZEZpz66ywzw=', true, false, '[]', 1795739066306230, NULL, 1795739066310929, '127.0.0.1');
INSERT INTO public.audit VALUES (1, 1795739066211617, 'system', 'installation.create', 'installation 34353fdc-631e-4529-8f4d-500359f0e219', 'done', '{"seq":1,"at":"2026-11-27T00:24:26.211617Z","actor":{"kind":"system","id":"","name":""},"as":null,"via":"a new installation","address":"","action":"installation.create","target":{"kind":"installation","id":"34353fdc-631e-4529-8f4d-500359f0e219","name":""},"before":null,"after":null,"result":"done","reason":"","previous":"0000000000000000000000000000000000000000000000000000000000000000"}', 'c97fd07cd0e63bd9f91c38b4c3d3de9943c4f4175df7add26623becd25f650b8');
INSERT INTO public.audit VALUES (2, 1795739066228402, 'system', 'agent.invite', 'agent vm', 'done', '{"seq":2,"at":"2026-11-27T00:24:26.228402Z","actor":{"kind":"system","id":"","name":""},"as":null,"via":"the agent of `muster up`","address":"","action":"agent.invite","target":{"kind":"agent","id":"vm","name":"vm"},"before":{},"after":{"replaces":true},"result":"done","reason":"","previous":"c97fd07cd0e63bd9f91c38b4c3d3de9943c4f4175df7add26623becd25f650b8"}', 'ee57d86384b542d5ae5ae735b126423b3bd8fac414648c634b74043463465ef5');
INSERT INTO public.audit VALUES (3, 1795739066245913, 'user 2', 'session.open', 'user 2', 'done', '{"seq":3,"at":"2026-11-27T00:24:26.245913Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"session.open","target":{"kind":"user","id":"2","name":"determined"},"before":null,"after":null,"result":"done","reason":"","previous":"ee57d86384b542d5ae5ae735b126423b3bd8fac414648c634b74043463465ef5"}', 'b41a48903090cf3b3f95d8cde4221c83767e8b24f50ae01afbab3685d639cb6f');
INSERT INTO public.audit VALUES (4, 1795739066305481, 'agent vm', 'agent.enrol', 'agent vm', 'done', '{"seq":4,"at":"2026-11-27T00:24:26.305481Z","actor":{"kind":"agent","id":"vm","name":"vm"},"as":null,"via":"agent key","address":"127.0.0.1","action":"agent.enrol","target":{"kind":"agent","id":"vm","name":"vm"},"before":{"key":null},"after":{"key":"85b01df6:a876b672:6aa05014:4dcc4ace"},"result":"done","reason":"","previous":"b41a48903090cf3b3f95d8cde4221c83767e8b24f50ae01afbab3685d639cb6f"}', '487ff85f46c3e8ddc1e424e6117311a1d6407a48358212be0dd998f3e4bf0d37');
INSERT INTO public.audit VALUES (5, 1795739066321386, 'user 2', 'task.start', 'task 4d61cd15-5cfd-4a6e-8b53-44d4bc3d6853', 'done', '{"seq":5,"at":"2026-11-27T00:24:26.321386Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"4d61cd15-5cfd-4a6e-8b53-44d4bc3d6853","name":"Command (briskly-trusting-wallaby)"},"before":null,"after":{"description":"Command (briskly-trusting-wallaby)","entrypoint":["sh","-c","echo one; echo two >&2"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"487ff85f46c3e8ddc1e424e6117311a1d6407a48358212be0dd998f3e4bf0d37"}', '087db87c5c0a500b17cee475844aba45354acfa5389bc7b573df68f831c2890b');
INSERT INTO public.audit VALUES (6, 1795739066440054, 'user 2', 'task.start', 'task 3838e3c0-106a-4357-bc3a-7b0b992d3f0f', 'done', '{"seq":6,"at":"2026-11-27T00:24:26.440054Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"3838e3c0-106a-4357-bc3a-7b0b992d3f0f","name":"Command (joyously-esteemed-locust)"},"before":null,"after":{"description":"Command (joyously-esteemed-locust)","entrypoint":["sh","-c","echo three; exit 3"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"087db87c5c0a500b17cee475844aba45354acfa5389bc7b573df68f831c2890b"}', 'ac612bb1adc23bc484f4a7f83024ae95f76960c661f0717ce2792a2ee4482809');
INSERT INTO public.audit VALUES (7, 1795739066654424, 'user 2', 'task.start', 'task 2449db75-9629-4290-8b8e-febc65df4941', 'done', '{"seq":7,"at":"2026-11-27T00:24:26.654424Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"2449db75-9629-4290-8b8e-febc65df4941","name":"Command (unarguably-perky-porpoise)"},"before":null,"after":{"description":"Command (unarguably-perky-porpoise)","entrypoint":["sh","-c","kill -S******** ********"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"ac612bb1adc23bc484f4a7f83024ae95f76960c661f0717ce2792a2ee4482809"}', 'dac1fac687dd797db0d4595e747dfeff91f0e19ec6d2fb0d798a6e49aa195690');
INSERT INTO public.audit VALUES (8, 1795739066758534, 'user 2', 'task.start', 'task 51be2c69-836b-4971-a941-7f02b05d561b', 'done', '{"seq":8,"at":"2026-11-27T00:24:26.758534Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"51be2c69-836b-4971-a941-7f02b05d561b","name":"Command (reputably-smart-yellowthroat)"},"before":null,"after":{"description":"Command (reputably-smart-yellowthroat)","entrypoint":["sleep","100"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"dac1fac687dd797db0d4595e747dfeff91f0e19ec6d2fb0d798a6e49aa195690"}', '4e5210e226a0b42f75072222ed1d2b4de36ac736e4beb1bce51ee30348237df5');
INSERT INTO public.audit VALUES (9, 1795739071027206, 'user 2', 'task.start', 'task d29e98c1-95ce-4edb-8e36-d8568b0ad721', 'done', '{"seq":9,"at":"2026-11-27T00:24:31.027206Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"d29e98c1-95ce-4edb-8e36-d8568b0ad721","name":"Command (promptly-bubbly-newfoundland)"},"before":null,"after":{"description":"Command (promptly-bubbly-newfoundland)","entrypoint":["sh","-c","echo runs; sleep 1000"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"4e5210e226a0b42f75072222ed1d2b4de36ac736e4beb1bce51ee30348237df5"}', 'fcbb73148d09746626581be08fbba516e739ba48386f831af086000466cbde1a');
INSERT INTO public.audit VALUES (10, 1795739073058905, 'user 2', 'task.start', 'task 077d2f7b-42c6-49d2-a3cb-6a0ddffc3db8', 'done', '{"seq":10,"at":"2026-11-27T00:24:33.058905Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"077d2f7b-42c6-49d2-a3cb-6a0ddffc3db8","name":"Command (tortuously-unerring-starfish)"},"before":null,"after":{"description":"Command (tortuously-unerring-starfish)","entrypoint":["sh","-c","echo waits"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"fcbb73148d09746626581be08fbba516e739ba48386f831af086000466cbde1a"}', 'c9ba8edec36921ef122a22c8251098516896e6a98bc9be3b8939d7bf138c0a97');
INSERT INTO public.audit VALUES (11, 1795739074297419, 'user 2', 'task.kill', 'task 51be2c69-836b-4971-a941-7f02b05d561b', 'done', '{"seq":11,"at":"2026-11-27T00:24:34.297419Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.kill","target":{"kind":"task","id":"51be2c69-836b-4971-a941-7f02b05d561b","name":"Command (reputably-smart-yellowthroat)"},"before":null,"after":null,"result":"done","reason":"","previous":"c9ba8edec36921ef122a22c8251098516896e6a98bc9be3b8939d7bf138c0a97"}', '0930e32fd83f9a137560d2c4b8fc42dab9bf1e793efb943c6b9df33468f3fe37');
INSERT INTO public.audit VALUES (12, 1795739075827275, 'user 2', 'task.start', 'task 88ebb50d-9690-4135-a052-3b9011d581cc', 'done', '{"seq":12,"at":"2026-11-27T00:24:35.827275Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.start","target":{"kind":"task","id":"88ebb50d-9690-4135-a052-3b9011d581cc","name":"Command (ponderously-sporting-piglet)"},"before":null,"after":{"description":"Command (ponderously-sporting-piglet)","entrypoint":["sh","-c","trap \"\" TERM; echo stays; while :; do sleep 1; done"],"runsAs":"root:0:root:0","workspace":1},"result":"done","reason":"","previous":"0930e32fd83f9a137560d2c4b8fc42dab9bf1e793efb943c6b9df33468f3fe37"}', 'cab375ec824b2401f6a45d4d8c2e5c90ff73d3586f6c07284efad076d11597eb');
INSERT INTO public.audit VALUES (13, 1795739077855674, 'user 2', 'task.kill', 'task 88ebb50d-9690-4135-a052-3b9011d581cc', 'done', '{"seq":13,"at":"2026-11-27T00:24:37.855674Z","actor":{"kind":"user","id":"2","name":"determined"},"as":{"kind":"user","id":"2","name":"determined"},"via":"session 1","address":"127.0.0.1","action":"task.kill","target":{"kind":"task","id":"88ebb50d-9690-4135-a052-3b9011d581cc","name":"Command (ponderously-sporting-piglet)"},"before":null,"after":null,"result":"done","reason":"","previous":"cab375ec824b2401f6a45d4d8c2e5c90ff73d3586f6c07284efad076d11597eb"}', '5875dbbe9fff53ca34c1623992cd11de7e20d81926aa731bf52461aaf040a864');
INSERT INTO public.counters VALUES ('user', 2);
INSERT INTO public.counters VALUES ('workspace', 1);
INSERT INTO public.counters VALUES ('project', 1);
INSERT INTO public.counters VALUES ('session', 1);
INSERT INTO public.counters VALUES ('task', 7);
INSERT INTO public.invitations VALUES ('41a1dab9f0c3ec6e840a0673e4fb2015bb287452fdc2dfd690e5d675ea58c619', 'vm', 'asAlAf9P0aD661QV2QBuIyZjKm78AqhIZEZpz66ywzw=', NULL, 1795739066228402, 1795742666228402, true);
INSERT INTO public.meta VALUES ('cluster_id', '34353fdc-631e-4529-8f4d-500359f0e219');
INSERT INTO public.meta VALUES ('admin_user_id', '1');
INSERT INTO public.meta VALUES ('default_user_id', '2');
INSERT INTO public.meta VALUES ('link_key', '8WGsk51Ks5eUk8D4azExsLGFljFcL633rcGWU8PCjiw');
INSERT INTO public.projects VALUES (1, 1, 'Uncategorized', 'UNCAT', '', '[]', '[]', false, false, 1, 1795739066207659, 1795739066207659);
INSERT INTO public.schema_checksums VALUES (1, '08d5f90be7eeb456b0e767344a4353105b1fe5fa40495d9f52cb16470bb03d3e');
INSERT INTO public.schema_checksums VALUES (2, '289ac061347eb141f4566dd3fdb25c3dd82c975c772ae42afdf6ae40e2c50f89');
INSERT INTO public.schema_checksums VALUES (3, '4c322ab870a2f9630e5790a1c3c27d273b5a9ff971cc0f77d10745f33df5a38d');
INSERT INTO public.schema_checksums VALUES (4, 'ba5808a0d2a58904e53640656449d464842b0427d83031d5c11ee99781dbfdef');
INSERT INTO public.schema_checksums VALUES (5, 'a455de615365e1de21ea4721ec5821052ebb130b87c4ce666f2cce022e8d7778');
INSERT INTO public.schema_checksums VALUES (6, '70318ea23783ee4b523f58f5248abc7ee9e7e39348c0b106bbe669a621059f41');
INSERT INTO public.schema_checksums VALUES (7, '60c00874b213252cd5ef18c66fb74d02bbb66ac2e1fcbed1db732584662bcba9');
INSERT INTO public.schema_checksums VALUES (8, 'c236743aa1a4643e546c2baeef9bcc5dd6f5f5ccfeb6ba0b736fa98b61dd918e');
INSERT INTO public.schema_checksums VALUES (9, '4a84ec7815f2273e93be56690ac7c2c74d242b71d513a0ca851e05d75d2d70da');
INSERT INTO public.schema_checksums VALUES (10, '86fe4771721ad43ad516d297cbcd421c3ead77b8b5f7d45e34d842ad44a9b778');
INSERT INTO public.schema_checksums VALUES (11, '91acb948a254d8781914220255b4835509956bcfb959dfd08e707f0b362d5175');
INSERT INTO public.schema_version VALUES (1);
INSERT INTO public.schema_version VALUES (2);
INSERT INTO public.schema_version VALUES (3);
INSERT INTO public.schema_version VALUES (4);
INSERT INTO public.schema_version VALUES (5);
INSERT INTO public.schema_version VALUES (6);
INSERT INTO public.schema_version VALUES (7);
INSERT INTO public.schema_version VALUES (8);
INSERT INTO public.schema_version VALUES (9);
INSERT INTO public.schema_version VALUES (10);
INSERT INTO public.schema_version VALUES (11);
INSERT INTO public.sessions VALUES (1, 2, '651abeb02fe768cc0c38426b393c1b655c6b1b71c3ee5633fad838ee7b032fce', 1795739066245913, 1798331066245913);
INSERT INTO public.task_configs VALUES ('4d61cd15-5cfd-4a6e-8b53-44d4bc3d6853', '{"description":"Command (briskly-trusting-wallaby)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":1,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","echo one; echo two >&2"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('3838e3c0-106a-4357-bc3a-7b0b992d3f0f', '{"description":"Command (joyously-esteemed-locust)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":1,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","echo three; exit 3"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('2449db75-9629-4290-8b8e-febc65df4941', '{"description":"Command (unarguably-perky-porpoise)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":1,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","kill -SEGV $$"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('51be2c69-836b-4971-a941-7f02b05d561b', '{"description":"Command (reputably-smart-yellowthroat)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":1,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sleep","100"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('d29e98c1-95ce-4edb-8e36-d8568b0ad721', '{"description":"Command (promptly-bubbly-newfoundland)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":1,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","echo runs; sleep 1000"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('077d2f7b-42c6-49d2-a3cb-6a0ddffc3db8', '{"description":"Command (tortuously-unerring-starfish)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":2,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","echo waits"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.task_configs VALUES ('88ebb50d-9690-4135-a052-3b9011d581cc', '{"description":"Command (ponderously-sporting-piglet)","bind_mounts":[],"environment":{"image":null,"environment_variables":{"cpu":[],"cuda":[],"rocm":[]},"proxy_ports":[],"ports":{},"force_pull_image":false,"add_capabilities":[],"drop_capabilities":[]},"resources":{"slots":0,"resource_pool":"default","priority":null,"weight":1.0,"max_slots":null,"shm_size":null,"devices":[],"is_single_node":null},"entrypoint":["sh","-c","trap \"\" TERM; echo stays; while :; do sleep 1; done"],"tensorboard_args":[],"idle_timeout":null,"notebook_idle_type":"kernels_or_terminals","work_dir":null,"debug":false,"pbs":{},"slurm":{}}');
INSERT INTO public.tasks VALUES ('4d61cd15-5cfd-4a6e-8b53-44d4bc3d6853', 1, 'command', 2, 1, 'Command (briskly-trusting-wallaby)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'terminated', 1, 'vm', '[0]', NULL, false, 1795739066319267, 1795739066344427, 1795739066410524, 0, 'allocation exited successfully', NULL, 1, NULL);
INSERT INTO public.tasks VALUES ('3838e3c0-106a-4357-bc3a-7b0b992d3f0f', 2, 'command', 2, 1, 'Command (joyously-esteemed-locust)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'terminated', 1, 'vm', '[0]', NULL, false, 1795739066438072, 1795739066466654, 1795739066596417, 3, 'resources failed with non-zero exit code: container failed with non-zero exit code: 3 (exit code 3)', NULL, 1, NULL);
INSERT INTO public.tasks VALUES ('2449db75-9629-4290-8b8e-febc65df4941', 3, 'command', 2, 1, 'Command (unarguably-perky-porpoise)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'terminated', 1, 'vm', '[0]', NULL, false, 1795739066650869, 1795739066685860, 1795739066718149, 139, 'resources failed with non-zero exit code: process was ended by SIGSEGV (11) (exit code 139)', 11, 1, NULL);
INSERT INTO public.tasks VALUES ('d29e98c1-95ce-4edb-8e36-d8568b0ad721', 5, 'command', 2, 1, 'Command (promptly-bubbly-newfoundland)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'running', 1, 'vm', '[1]', 'ea63b8888d9aa14e2a83743e8df0e5d30ae129b686385b7c203d172db3473483', false, 1795739071024386, 1795739071058362, NULL, NULL, NULL, NULL, 1, NULL);
INSERT INTO public.tasks VALUES ('077d2f7b-42c6-49d2-a3cb-6a0ddffc3db8', 6, 'command', 2, 1, 'Command (tortuously-unerring-starfish)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'queued', 1, NULL, '[]', NULL, false, 1795739073056004, NULL, NULL, NULL, NULL, NULL, 2, NULL);
INSERT INTO public.tasks VALUES ('51be2c69-836b-4971-a941-7f02b05d561b', 4, 'command', 2, 1, 'Command (reputably-smart-yellowthroat)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'terminated', 1, 'vm', '[0]', NULL, true, 1795739066744372, 1795739066781287, 1795739074326643, 143, 'allocation was killed by determined', 15, 1, NULL);
INSERT INTO public.tasks VALUES ('88ebb50d-9690-4135-a052-3b9011d581cc', 7, 'command', 2, 1, 'Command (ponderously-sporting-piglet)', '{"user":"root","uid":0,"group":"root","gid":0}', false, 42, 'terminating', 1, 'vm', '[]', 'f31c3c1031c0826d0c79a0dc99431cf9ecaee2e6a6a5b19e047fc9cafac09a35', true, 1795739075823416, 1795739075862807, NULL, NULL, NULL, NULL, 0, NULL);
INSERT INTO public.users VALUES (1, 'admin', '', true, 'active', false, 'blank', NULL, NULL, NULL, NULL, NULL, 1795739066207659, 1795739066207659, NULL, NULL, false, NULL, 'admin
', NULL);
INSERT INTO public.users VALUES (2, 'determined', '', false, 'active', false, 'blank', NULL, NULL, NULL, NULL, NULL, 1795739066207659, 1795739066207659, 1795739066245913, NULL, false, NULL, 'determined
', 189310);
INSERT INTO public.workspaces VALUES (1, 'Uncategorized', 1, 1795739066207659, false, false, NULL, NULL, NULL, NULL, NULL, NULL);
ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.agents
    ADD CONSTRAINT agents_public_key_key UNIQUE (public_key);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.bookmarks
    ADD CONSTRAINT bookmarks_pkey PRIMARY KEY (user_id, project_id);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_pkey PRIMARY KEY (group_id, user_id);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.login_failures
    ADD CONSTRAINT login_failures_pkey PRIMARY KEY (scope, subject);
ALTER TABLE ONLY public.login_places
    ADD CONSTRAINT login_places_pkey PRIMARY KEY (account, address);
ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.memberships
    ADD CONSTRAINT memberships_pkey PRIMARY KEY (scope, scope_id, member_kind, member_id);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_code_key UNIQUE (code);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.registrations
    ADD CONSTRAINT registrations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.revoked_agent_keys
    ADD CONSTRAINT revoked_agent_keys_pkey PRIMARY KEY (public_key);
ALTER TABLE ONLY public.schema_checksums
    ADD CONSTRAINT schema_checksums_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.task_configs
    ADD CONSTRAINT task_configs_pkey PRIMARY KEY (task_id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_seq_key UNIQUE (seq);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.user_groups
    ADD CONSTRAINT user_groups_name_key UNIQUE (name);
ALTER TABLE ONLY public.user_groups
    ADD CONSTRAINT user_groups_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.user_invitations
    ADD CONSTRAINT user_invitations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.user_invitations
    ADD CONSTRAINT user_invitations_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.user_settings
    ADD CONSTRAINT user_settings_pkey PRIMARY KEY (user_id, storage_path, name);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_username_key UNIQUE (username);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_name_key UNIQUE (name);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);
CREATE INDEX audit_by_time ON public.audit USING btree (at);
CREATE INDEX audit_of_action ON public.audit USING btree (action, seq);
CREATE INDEX audit_of_actor ON public.audit USING btree (actor, seq);
CREATE INDEX audit_of_target ON public.audit USING btree (target, seq);
CREATE INDEX group_members_by_user ON public.group_members USING btree (user_id);
CREATE INDEX login_failures_by_time ON public.login_failures USING btree (last_at);
CREATE INDEX login_places_by_time ON public.login_places USING btree (last_at);
CREATE INDEX mails_by_attempt ON public.mails USING btree (next_attempt_at);
CREATE INDEX memberships_by_member ON public.memberships USING btree (member_kind, member_id);
CREATE UNIQUE INDEX projects_by_name ON public.projects USING btree (workspace_id, name);
CREATE INDEX registrations_by_state ON public.registrations USING btree (state, id);
CREATE INDEX registrations_by_time ON public.registrations USING btree (created_at);
CREATE INDEX registrations_of_name ON public.registrations USING btree (username, id);
CREATE INDEX sessions_by_end ON public.sessions USING btree (expires_at);
CREATE INDEX sessions_of_user ON public.sessions USING btree (user_id);
CREATE INDEX tasks_alive ON public.tasks USING btree (seq) WHERE (state <> 'terminated'::text);
CREATE INDEX tasks_alive_of_owner ON public.tasks USING btree (owner_id) WHERE (state <> 'terminated'::text);
CREATE INDEX tasks_of_kind ON public.tasks USING btree (kind, seq);
CREATE INDEX tasks_of_owner ON public.tasks USING btree (owner_id, kind, seq);
CREATE INDEX tokens_of_user ON public.tokens USING btree (user_id, id);
CREATE UNIQUE INDEX users_by_machine_number ON public.users USING btree (machine_number);
CREATE INDEX users_by_state ON public.users USING btree (deleted_at, id, status, admin);
CREATE INDEX workspaces_of_person ON public.workspaces USING btree (personal_of);
ALTER TABLE ONLY public.bookmarks
    ADD CONSTRAINT bookmarks_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.bookmarks
    ADD CONSTRAINT bookmarks_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_groups(id);
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.invitations
    ADD CONSTRAINT invitations_invited_by_fkey FOREIGN KEY (invited_by) REFERENCES public.users(id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.registrations
    ADD CONSTRAINT registrations_decided_by_fkey FOREIGN KEY (decided_by) REFERENCES public.users(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.task_configs
    ADD CONSTRAINT task_configs_task_id_fkey FOREIGN KEY (task_id) REFERENCES public.tasks(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES public.agents(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_created_by_fkey FOREIGN KEY (created_by) REFERENCES public.users(id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.user_invitations
    ADD CONSTRAINT user_invitations_created_by_fkey FOREIGN KEY (created_by) REFERENCES public.users(id);
ALTER TABLE ONLY public.user_invitations
    ADD CONSTRAINT user_invitations_used_by_fkey FOREIGN KEY (used_by) REFERENCES public.users(id);
ALTER TABLE ONLY public.user_settings
    ADD CONSTRAINT user_settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);
