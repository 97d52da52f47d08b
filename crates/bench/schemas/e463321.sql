-- The whole store. What a Rust type forbids, a constraint forbids here too, so that no
-- other program can store what the library could not read back.
--
-- Times are microseconds since 1970-01-01 00:00:00 UTC, years 0000 to 9999 (what RFC 3339
-- can write). Ids are text of 1 to 512 bytes without NUL. SQLite's length() stops at a NUL
-- and counts characters, hence the casts to BLOB. Any type word but BIGINT would give
-- Diesel 32-bit columns, so the typeof() checks do what STRICT tables would.
--
-- Free text (name, agent_role, prompt, result, error, retired_reason, content) may hold any
-- character. The library writes U+0000, which not every engine can hold, as U+0010 '0', and
-- U+0010 as U+0010 U+0010.

-- "TKEP": marks the file as a Turnkeep store (https://sqlite.org/pragma.html#pragma_application_id).
PRAGMA application_id = 1414219088;

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY
        CHECK (typeof(id) = 'text' AND length(CAST(id AS BLOB)) BETWEEN 1 AND 512 AND instr(id, char(0)) = 0),
    name TEXT NOT NULL CHECK (typeof(name) = 'text'),
    agent_role TEXT CHECK (agent_role IS NULL OR typeof(agent_role) = 'text'),
    prompt TEXT NOT NULL CHECK (typeof(prompt) = 'text'),
    -- A JSON array of texts: the one list form that survives commas, spaces and newlines.
    writes_files TEXT NOT NULL CHECK (json_valid(writes_files) AND json_type(writes_files) = 'array'),
    status TEXT NOT NULL
        CHECK (status IN ('pending', 'eligible', 'running', 'completed', 'failed', 'skipped')),
    failure_mode TEXT NOT NULL CHECK (failure_mode IN ('hard', 'soft', 'skip')),
    result TEXT CHECK (result IS NULL OR typeof(result) = 'text'),
    error TEXT CHECK (error IS NULL OR typeof(error) = 'text'),
    -- Who has the task on lease and until when, and how often it was given out. A write that names
    -- an older number comes from a worker that has lost it.
    worker TEXT
        CHECK (worker IS NULL OR (typeof(worker) = 'text'
            AND length(CAST(worker AS BLOB)) BETWEEN 1 AND 512 AND instr(worker, char(0)) = 0)),
    fence BIGINT NOT NULL DEFAULT 0 CHECK (typeof(fence) = 'integer' AND fence >= 0),
    lease_ends_at BIGINT
        CHECK (lease_ends_at IS NULL OR (typeof(lease_ends_at) = 'integer'
            AND lease_ends_at BETWEEN -62167219200000000 AND 253402300799999999)),
    created_at BIGINT NOT NULL
        CHECK (typeof(created_at) = 'integer' AND created_at BETWEEN -62167219200000000 AND 253402300799999999),
    updated_at BIGINT NOT NULL
        CHECK (typeof(updated_at) = 'integer' AND updated_at BETWEEN -62167219200000000 AND 253402300799999999),
    CHECK ((worker IS NULL) = (lease_ends_at IS NULL)),
    CHECK (rowid > 0)
);

-- In the order in which tasks are given out, so that a claim reads no more than it takes.
CREATE INDEX tasks_status ON tasks (status, created_at, id);

-- Each row once more. SQLite has no checksums: only by comparing the two does integrity_check tell
-- that a byte of one was changed past it. Turns, which never change, have a checksum instead. What
-- changes together is together: an update writes those indexes alone that it has a column of.
CREATE INDEX tasks_plan_twice ON tasks (id, name, agent_role, prompt, writes_files, failure_mode, created_at);
CREATE INDEX tasks_outcome_twice ON tasks (id, result, error);
CREATE INDEX tasks_state_twice ON tasks (id, status, worker, fence, lease_ends_at, updated_at);

-- INSERT OR REPLACE and UPDATE OR REPLACE delete the row in their way, by its key or its rowid,
-- fire no delete trigger for it and take along everything under the task. NEW.rowid reads as -1
-- when it is left to SQLite, hence the CHECK.
CREATE TRIGGER tasks_no_replace
BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id OR rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'tasks: there is such a task already; update it');
END;

CREATE TRIGGER tasks_no_rename
BEFORE UPDATE ON tasks
WHEN NEW.id IS NOT OLD.id OR NEW.rowid <> OLD.rowid
BEGIN
    SELECT RAISE(ABORT, 'tasks: the id of a task never changes');
END;

-- A number that comes back would let a worker write that has lost the task.
CREATE TRIGGER tasks_fence_grows
BEFORE UPDATE OF fence ON tasks
WHEN NEW.fence < OLD.fence
BEGIN
    SELECT RAISE(ABORT, 'tasks: fence never falls');
END;

-- A CHECK can't look into the list.
CREATE TRIGGER tasks_files_are_texts
BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM json_each(NEW.writes_files) WHERE type <> 'text')
BEGIN
    SELECT RAISE(ABORT, 'tasks: writes_files must be a JSON array of texts');
END;

CREATE TRIGGER tasks_files_stay_texts
BEFORE UPDATE OF writes_files ON tasks
WHEN EXISTS (SELECT 1 FROM json_each(NEW.writes_files) WHERE type <> 'text')
BEGIN
    SELECT RAISE(ABORT, 'tasks: writes_files must be a JSON array of texts');
END;

CREATE TABLE task_dependencies (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    PRIMARY KEY (task_id, depends_on),
    CHECK (task_id <> depends_on)
) WITHOUT ROWID;

CREATE INDEX task_dependencies_depends_on ON task_dependencies (depends_on);

CREATE TRIGGER task_dependencies_no_cycle
BEFORE INSERT ON task_dependencies
WHEN EXISTS (
    WITH RECURSIVE reached (id) AS (
        SELECT NEW.depends_on
        UNION
        SELECT task_dependencies.depends_on
        FROM task_dependencies JOIN reached ON task_dependencies.task_id = reached.id
    )
    SELECT 1 FROM reached WHERE id = NEW.task_id
)
BEGIN
    SELECT RAISE(ABORT, 'task_dependencies: a dependency must not close a circle');
END;

-- Without this an UPDATE would slip a circle past the trigger above.
CREATE TRIGGER task_dependencies_no_update
BEFORE UPDATE ON task_dependencies
BEGIN
    SELECT RAISE(ABORT, 'task_dependencies: delete and insert instead of an update');
END;

CREATE TABLE sessions (
    task_id TEXT NOT NULL PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    backend_type TEXT NOT NULL
        CHECK (typeof(backend_type) = 'text' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(backend_type, char(0)) = 0),
    session_id TEXT NOT NULL
        CHECK (typeof(session_id) = 'text' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(session_id, char(0)) = 0),
    working_dir TEXT
        CHECK (working_dir IS NULL OR (typeof(working_dir) = 'text'
            AND length(CAST(working_dir AS BLOB)) BETWEEN 1 AND 4096 AND instr(working_dir, char(0)) = 0)),
    created_at BIGINT NOT NULL
        CHECK (typeof(created_at) = 'integer' AND created_at BETWEEN -62167219200000000 AND 253402300799999999),
    updated_at BIGINT NOT NULL
        CHECK (typeof(updated_at) = 'integer' AND updated_at BETWEEN -62167219200000000 AND 253402300799999999)
) WITHOUT ROWID;

-- As with tasks.
CREATE INDEX sessions_twice ON sessions (
    task_id, backend_type, session_id, working_dir, created_at, updated_at
);

-- Every binding a task ever had. The open revision (retired_at IS NULL) is the one in sessions.
CREATE TABLE session_revisions (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL CHECK (typeof(revision) = 'integer' AND revision >= 1),
    backend_type TEXT NOT NULL
        CHECK (typeof(backend_type) = 'text' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(backend_type, char(0)) = 0),
    session_id TEXT NOT NULL
        CHECK (typeof(session_id) = 'text' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(session_id, char(0)) = 0),
    working_dir TEXT
        CHECK (working_dir IS NULL OR (typeof(working_dir) = 'text'
            AND length(CAST(working_dir AS BLOB)) BETWEEN 1 AND 4096 AND instr(working_dir, char(0)) = 0)),
    saved_at BIGINT NOT NULL
        CHECK (typeof(saved_at) = 'integer' AND saved_at BETWEEN -62167219200000000 AND 253402300799999999),
    retired_at BIGINT
        CHECK (retired_at IS NULL OR (typeof(retired_at) = 'integer'
            AND retired_at BETWEEN -62167219200000000 AND 253402300799999999)),
    retired_reason TEXT CHECK (retired_reason IS NULL OR typeof(retired_reason) = 'text'),
    PRIMARY KEY (task_id, revision),
    CHECK ((retired_at IS NULL) = (retired_reason IS NULL))
) WITHOUT ROWID;

CREATE UNIQUE INDEX session_revisions_open ON session_revisions (task_id) WHERE retired_at IS NULL;

CREATE INDEX session_revisions_twice ON session_revisions (
    task_id, revision, backend_type, session_id, working_dir, saved_at, retired_at, retired_reason
);

-- INSERT OR REPLACE fires no delete trigger; the next-number rule leaves it nothing to replace.
CREATE TRIGGER session_revisions_append_only
BEFORE INSERT ON session_revisions
WHEN NEW.revision IS NOT
    (SELECT coalesce(max(revision), 0) + 1 FROM session_revisions WHERE task_id = NEW.task_id)
BEGIN
    SELECT RAISE(ABORT, 'session_revisions: revision must be the next number of its task');
END;

CREATE TRIGGER session_revisions_no_update
BEFORE UPDATE ON session_revisions
WHEN OLD.retired_at IS NOT NULL
    OR NEW.retired_at IS NULL
    OR (NEW.task_id, NEW.revision, NEW.backend_type, NEW.session_id, NEW.saved_at)
        <> (OLD.task_id, OLD.revision, OLD.backend_type, OLD.session_id, OLD.saved_at)
    OR NEW.working_dir IS NOT OLD.working_dir
BEGIN
    SELECT RAISE(ABORT, 'session_revisions: a revision can only be retired, once');
END;

CREATE TRIGGER session_revisions_no_delete
BEFORE DELETE ON session_revisions
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id)
BEGIN
    SELECT RAISE(ABORT, 'session_revisions: revisions go only with their task');
END;

-- Whoever writes to sessions, the record is kept: no binding goes without a trace. The library
-- saves and retires bindings through these as well.
CREATE TRIGGER sessions_record_insert
AFTER INSERT ON sessions
-- A copy of a store brings the record along, before the binding.
WHEN NOT EXISTS (
    SELECT 1 FROM session_revisions
    WHERE task_id = NEW.task_id AND retired_at IS NULL AND backend_type = NEW.backend_type
        AND session_id = NEW.session_id AND working_dir IS NEW.working_dir
)
BEGIN
    -- There is an open one only after an INSERT OR REPLACE.
    UPDATE session_revisions SET retired_at = NEW.updated_at, retired_reason = 'replaced'
    WHERE task_id = NEW.task_id AND retired_at IS NULL;
    INSERT INTO session_revisions (task_id, revision, backend_type, session_id, working_dir, saved_at)
    SELECT NEW.task_id, coalesce(max(revision), 0) + 1,
        NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.updated_at
    FROM session_revisions WHERE task_id = NEW.task_id;
END;

CREATE TRIGGER sessions_record_update
AFTER UPDATE ON sessions
WHEN NEW.backend_type <> OLD.backend_type
    OR NEW.session_id <> OLD.session_id
    OR NEW.working_dir IS NOT OLD.working_dir
BEGIN
    UPDATE session_revisions SET retired_at = NEW.updated_at, retired_reason = 'replaced'
    WHERE task_id = NEW.task_id AND retired_at IS NULL;
    INSERT INTO session_revisions (task_id, revision, backend_type, session_id, working_dir, saved_at)
    SELECT NEW.task_id, coalesce(max(revision), 0) + 1,
        NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.updated_at
    FROM session_revisions WHERE task_id = NEW.task_id;
END;

CREATE TRIGGER sessions_no_rebind
BEFORE UPDATE OF task_id ON sessions
WHEN NEW.task_id IS NOT OLD.task_id
BEGIN
    SELECT RAISE(ABORT, 'sessions: a binding stays with its task');
END;

-- The library retires the revision, with its reason, before it removes the binding.
CREATE TRIGGER sessions_record_delete
AFTER DELETE ON sessions
BEGIN
    UPDATE session_revisions
    SET retired_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000
            + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000,
        retired_reason = 'removed'
    WHERE task_id = OLD.task_id AND retired_at IS NULL;
END;

CREATE TABLE conversation_history (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL CHECK (typeof(seq) = 'integer' AND seq >= 1),
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    content TEXT NOT NULL CHECK (typeof(content) = 'text'),
    "timestamp" BIGINT NOT NULL
        CHECK (typeof("timestamp") = 'integer' AND "timestamp" BETWEEN -62167219200000000 AND 253402300799999999),
    message_key TEXT
        CHECK (message_key IS NULL OR (typeof(message_key) = 'text'
            AND length(CAST(message_key AS BLOB)) BETWEEN 1 AND 512 AND instr(message_key, char(0)) = 0)),
    -- CRC-32 of the rest, by which a check tells a damaged text. NULL where another program wrote it.
    checksum BIGINT CHECK (checksum IS NULL OR typeof(checksum) = 'integer'),
    PRIMARY KEY (task_id, seq),
    CHECK (rowid > 0)
);

-- Partial: a turn without a key pays nothing for it.
CREATE UNIQUE INDEX conversation_history_message_key
ON conversation_history (task_id, message_key) WHERE message_key IS NOT NULL;

-- Gapless, and again nothing for INSERT OR REPLACE to replace: not by seq, key or rowid (which
-- reads as -1 here when it is left to SQLite).
CREATE TRIGGER conversation_history_append_only
BEFORE INSERT ON conversation_history
WHEN NEW.seq IS NOT
        (SELECT coalesce(max(seq), 0) + 1 FROM conversation_history WHERE task_id = NEW.task_id)
    OR (NEW.message_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM conversation_history
        WHERE task_id = NEW.task_id AND message_key = NEW.message_key))
    OR EXISTS (SELECT 1 FROM conversation_history WHERE rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'conversation_history: seq must be the next number of its task, and a key new');
END;

CREATE TRIGGER conversation_history_no_update
BEFORE UPDATE ON conversation_history
BEGIN
    SELECT RAISE(ABORT, 'conversation_history: turns are never changed');
END;

CREATE TRIGGER conversation_history_no_delete
BEFORE DELETE ON conversation_history
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id)
BEGIN
    SELECT RAISE(ABORT, 'conversation_history: turns go only with their task');
END;

-- What the foreign keys do, for programs that have them turned off (SQLite's own default).
CREATE TRIGGER tasks_take_everything
AFTER DELETE ON tasks
BEGIN
    DELETE FROM conversation_history WHERE task_id = OLD.id;
    DELETE FROM sessions WHERE task_id = OLD.id;
    DELETE FROM session_revisions WHERE task_id = OLD.id;
    DELETE FROM task_dependencies WHERE task_id = OLD.id OR depends_on = OLD.id;
END;

-- The same rows for human eyes, times in RFC 3339. The library never reads these.
-- Whole seconds are floored, so that times before 1970 come out right too.
CREATE VIEW tasks_readable AS
SELECT
    id, name, agent_role, prompt, writes_files, status, failure_mode, result, error, worker, fence,
    strftime('%Y-%m-%dT%H:%M:%S', (lease_ends_at - (lease_ends_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (lease_ends_at % 1000000 + 1000000) % 1000000) AS lease_ends_at,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000) AS updated_at
FROM tasks;

CREATE VIEW task_dependencies_readable AS
SELECT
    task_dependencies.task_id, task.name AS task_name,
    task_dependencies.depends_on, dependency.name AS depends_on_name, dependency.status AS depends_on_status
FROM task_dependencies
JOIN tasks AS task ON task.id = task_dependencies.task_id
JOIN tasks AS dependency ON dependency.id = task_dependencies.depends_on;

CREATE VIEW sessions_readable AS
SELECT
    task_id, backend_type, session_id, working_dir,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000) AS updated_at
FROM sessions;

CREATE VIEW session_revisions_readable AS
SELECT
    task_id, revision, backend_type, session_id, working_dir,
    strftime('%Y-%m-%dT%H:%M:%S', (saved_at - (saved_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (saved_at % 1000000 + 1000000) % 1000000) AS saved_at,
    strftime('%Y-%m-%dT%H:%M:%S', (retired_at - (retired_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (retired_at % 1000000 + 1000000) % 1000000) AS retired_at,
    retired_reason
FROM session_revisions;

CREATE VIEW conversation_history_readable AS
SELECT
    task_id, seq, role, content,
    strftime('%Y-%m-%dT%H:%M:%S', ("timestamp" - ("timestamp" % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', ("timestamp" % 1000000 + 1000000) % 1000000) AS "timestamp",
    message_key
FROM conversation_history;
