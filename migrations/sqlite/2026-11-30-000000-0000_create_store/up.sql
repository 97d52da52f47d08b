-- The whole store. Constraints repeat the rules of the Rust types, so that no other program can
-- store a row that the library could not read back.
--
-- Times are microseconds since 1970-01-01 00:00:00 UTC, years 0000 to 9999 (what RFC 3339
-- can write). Ids are text of 1 to 512 bytes without NUL. SQLite's length() stops at a NUL
-- and counts characters, hence the casts to BLOB.
--
-- Any type word but BIGINT would give Diesel 32-bit columns, so CHECKs do what STRICT tables would.
-- Comparisons cost less than typeof(). Every text sorts before every blob, so `text < x''` refuses
-- blobs. Every number sorts before every text and blob, so an upper limit leaves only fractions,
-- which differ from their cast. NULL passes a CHECK. No CHECK has IN with more than two values:
-- SQLite would build a temporary table for each row, at half the cost of an append.
--
-- Free text (name, agent_role, prompt, result, error, retired_reason, content) may hold any
-- character. The library writes U+0000, which not every engine can hold, as U+0010 '0', and
-- U+0010 as U+0010 U+0010.

-- "TKEP": marks the file as a Turnkeep store (https://sqlite.org/pragma.html#pragma_application_id).
PRAGMA application_id = 1414219088;

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY
        CHECK (id < x'' AND length(CAST(id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(id AS BLOB), x'00') = 0),
    name TEXT NOT NULL CHECK (name < x''),
    agent_role TEXT CHECK (agent_role < x''),
    prompt TEXT NOT NULL CHECK (prompt < x''),
    -- A JSON array of texts: the one list form that survives commas, spaces and newlines.
    writes_files TEXT NOT NULL
        CHECK (writes_files = '[]' OR (writes_files < x''
            AND json_valid(writes_files) AND json_type(writes_files) = 'array')),
    status TEXT NOT NULL
        CHECK (status = 'pending' OR status = 'eligible' OR status = 'running'
            OR status = 'completed' OR status = 'failed' OR status = 'skipped'),
    failure_mode TEXT NOT NULL
        CHECK (failure_mode = 'hard' OR failure_mode = 'soft' OR failure_mode = 'skip'),
    -- The task is not given out before that time.
    not_before BIGINT
        CHECK (not_before BETWEEN -62167219200000000 AND 253402300799999999
            AND not_before = CAST(not_before AS INTEGER)),
    -- A JSON object of the caller's, without U+0000, which PostgreSQL can't look into: a backslash that is
    -- escaped begins no other escape. The functions would run for NULL too, hence the first comparison.
    metadata TEXT
        CHECK (metadata IS NULL OR (metadata < x'' AND length(CAST(metadata AS BLOB)) <= 1048576
            AND json_valid(metadata) AND json_type(metadata) = 'object'
            AND instr(replace(metadata, '\\', ''), '\u0000') = 0)),
    result TEXT CHECK (result < x''),
    error TEXT CHECK (error < x''),
    -- Who has the task on lease and until when, and how often it was given out. A write that names
    -- an older number comes from a worker that has lost it.
    worker TEXT
        CHECK (worker IS NULL OR (worker < x'' AND length(CAST(worker AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(worker AS BLOB), x'00') = 0)),
    fence BIGINT NOT NULL DEFAULT 0
        CHECK (fence BETWEEN 0 AND 9007199254740991 AND fence = CAST(fence AS INTEGER)),
    lease_ends_at BIGINT
        CHECK (lease_ends_at BETWEEN -62167219200000000 AND 253402300799999999
            AND lease_ends_at = CAST(lease_ends_at AS INTEGER)),
    -- In microseconds, at most 24 hours. A lease that ends later than that from now was given out by a
    -- wrong clock, and is over.
    lease_length BIGINT
        CHECK (lease_length BETWEEN 1 AND 86400000000 AND lease_length = CAST(lease_length AS INTEGER)),
    created_at BIGINT NOT NULL
        CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999
            AND created_at = CAST(created_at AS INTEGER)),
    updated_at BIGINT NOT NULL
        CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999
            AND updated_at = CAST(updated_at AS INTEGER)),
    -- When status, result and error were last written. Unlike updated_at, a plan that is saved again
    -- does not move it: with the times of the turns it says when the task was last active.
    status_changed_at BIGINT NOT NULL
        CHECK (status_changed_at BETWEEN -62167219200000000 AND 253402300799999999
            AND status_changed_at = CAST(status_changed_at AS INTEGER)),
    -- The latest of all changes of the status and of the turns but those of the last minute, so that not every
    -- turn writes the task. With the time of the last turn it is the exact last activity. An index is its
    -- second copy.
    last_active_at BIGINT NOT NULL
        CHECK (last_active_at BETWEEN -62167219200000000 AND 253402300799999999
            AND last_active_at = CAST(last_active_at AS INTEGER)),
    CHECK ((worker IS NULL) = (lease_ends_at IS NULL)),
    CHECK ((worker IS NULL) = (lease_length IS NULL)),
    CHECK (rowid > 0)
);

-- In the order in which tasks are given out, so that a claim reads no more than it takes.
CREATE INDEX tasks_status ON tasks (status, created_at, id);

-- In the order of lists, which read the first rows of each status.
CREATE INDEX tasks_last_active ON tasks (status, last_active_at, id);

-- Each row once more. SQLite has no checksums: only by comparing the two does integrity_check tell
-- that a byte of one was changed past it. Turns, which never change, have a checksum instead. What
-- changes together is together: an update writes those indexes alone that it has a column of.
CREATE INDEX tasks_plan_twice ON tasks (
    id, name, agent_role, prompt, writes_files, failure_mode, not_before, created_at
);
CREATE INDEX tasks_metadata_twice ON tasks (id, metadata) WHERE metadata IS NOT NULL;
CREATE INDEX tasks_outcome_twice ON tasks (id, result, error);
CREATE INDEX tasks_state_twice ON tasks (
    id, status, worker, fence, lease_ends_at, lease_length, updated_at, status_changed_at
);

-- INSERT OR REPLACE and UPDATE OR REPLACE delete the row in their way, by its key or its rowid,
-- fire no delete trigger for it and take along everything under the task. So a rowid is SQLite's to
-- choose: NEW.rowid reads as -1 then, which the CHECK keeps others from choosing.
CREATE TRIGGER tasks_no_replace
BEFORE INSERT ON tasks
WHEN NEW.rowid > 0 OR EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'tasks: there is such a task already; update it');
END;

-- By all of its names, so that no other update pays for the trigger.
CREATE TRIGGER tasks_no_rename
BEFORE UPDATE OF id, rowid, oid, _rowid_ ON tasks
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
WHEN NEW.writes_files <> '[]' AND EXISTS (SELECT 1 FROM json_each(NEW.writes_files) WHERE type <> 'text')
BEGIN
    SELECT RAISE(ABORT, 'tasks: writes_files must be a JSON array of texts');
END;

CREATE TRIGGER tasks_files_stay_texts
BEFORE UPDATE OF writes_files ON tasks
WHEN NEW.writes_files <> '[]' AND EXISTS (SELECT 1 FROM json_each(NEW.writes_files) WHERE type <> 'text')
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

-- A circle needs a task that waits for this one, and something that the dependency waits for. Where there
-- is neither, in a plan that is inserted in either order, nothing is walked.
CREATE TRIGGER task_dependencies_no_cycle
BEFORE INSERT ON task_dependencies
WHEN EXISTS (SELECT 1 FROM task_dependencies WHERE task_id = NEW.depends_on) AND EXISTS (
    WITH RECURSIVE waiting (id) AS (
        SELECT task_id FROM task_dependencies WHERE depends_on = NEW.task_id
        UNION
        SELECT task_dependencies.task_id
        FROM task_dependencies JOIN waiting ON task_dependencies.depends_on = waiting.id
    )
    SELECT 1 FROM waiting WHERE id = NEW.depends_on
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
        CHECK (backend_type < x'' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(CAST(backend_type AS BLOB), x'00') = 0),
    session_id TEXT NOT NULL
        CHECK (session_id < x'' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(session_id AS BLOB), x'00') = 0),
    working_dir TEXT
        CHECK (working_dir IS NULL OR (working_dir < x''
            AND length(CAST(working_dir AS BLOB)) BETWEEN 1 AND 4096
            AND instr(CAST(working_dir AS BLOB), x'00') = 0)),
    -- Where the agent keeps its sessions, if that is not its usual folder.
    config_dir TEXT
        CHECK (config_dir IS NULL OR (config_dir < x''
            AND length(CAST(config_dir AS BLOB)) BETWEEN 1 AND 4096
            AND instr(CAST(config_dir AS BLOB), x'00') = 0)),
    metadata TEXT
        CHECK (metadata IS NULL OR (metadata < x'' AND length(CAST(metadata AS BLOB)) <= 1048576
            AND json_valid(metadata) AND json_type(metadata) = 'object'
            AND instr(replace(metadata, '\\', ''), '\u0000') = 0)),
    created_at BIGINT NOT NULL
        CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999
            AND created_at = CAST(created_at AS INTEGER)),
    updated_at BIGINT NOT NULL
        CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999
            AND updated_at = CAST(updated_at AS INTEGER))
) WITHOUT ROWID;

-- A list finds the tasks of a folder here. The second copy of a binding is its revision, and here that of
-- created_at, so that a changed binding of the same folder writes no index.
CREATE INDEX sessions_working_dir ON sessions (working_dir, task_id, created_at);

-- Every binding a task ever had. The last one is the one in sessions, unless it is retired. A binding that was
-- replaced ended when the next one was saved, and its retired_at may stay NULL.
CREATE TABLE session_revisions (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    -- The trigger has the rest: it is the next number of its task.
    revision BIGINT NOT NULL CHECK (revision <= 9007199254740991),
    backend_type TEXT NOT NULL
        CHECK (backend_type < x'' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(CAST(backend_type AS BLOB), x'00') = 0),
    session_id TEXT NOT NULL
        CHECK (session_id < x'' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(session_id AS BLOB), x'00') = 0),
    working_dir TEXT
        CHECK (working_dir IS NULL OR (working_dir < x''
            AND length(CAST(working_dir AS BLOB)) BETWEEN 1 AND 4096
            AND instr(CAST(working_dir AS BLOB), x'00') = 0)),
    config_dir TEXT
        CHECK (config_dir IS NULL OR (config_dir < x''
            AND length(CAST(config_dir AS BLOB)) BETWEEN 1 AND 4096
            AND instr(CAST(config_dir AS BLOB), x'00') = 0)),
    metadata TEXT
        CHECK (metadata IS NULL OR (metadata < x'' AND length(CAST(metadata AS BLOB)) <= 1048576
            AND json_valid(metadata) AND json_type(metadata) = 'object'
            AND instr(replace(metadata, '\\', ''), '\u0000') = 0)),
    -- The seq of the first turn after it was saved.
    first_seq BIGINT NOT NULL
        CHECK (first_seq BETWEEN 1 AND 9007199254740991 AND first_seq = CAST(first_seq AS INTEGER)),
    saved_at BIGINT NOT NULL
        CHECK (saved_at BETWEEN -62167219200000000 AND 253402300799999999
            AND saved_at = CAST(saved_at AS INTEGER)),
    -- Both or neither.
    retired_at BIGINT,
    retired_reason TEXT,
    PRIMARY KEY (task_id, revision),
    CHECK ((retired_at IS NULL AND retired_reason IS NULL)
        OR (retired_at BETWEEN -62167219200000000 AND 253402300799999999
            AND retired_at = CAST(retired_at AS INTEGER) AND retired_reason < x'') IS TRUE)
) WITHOUT ROWID;

-- As with tasks. The session comes first: an import finds the tasks of a session here.
CREATE INDEX session_revisions_twice ON session_revisions (
    session_id, backend_type, task_id, revision, working_dir, config_dir, metadata, first_seq, saved_at,
    retired_at, retired_reason
);

-- INSERT OR REPLACE fires no delete trigger; the next-number rule leaves it nothing to replace. The last
-- revision of a bound task is its binding, as the triggers of sessions insert it.
CREATE TRIGGER session_revisions_append_only
BEFORE INSERT ON session_revisions
WHEN NEW.revision IS NOT 1 + coalesce(
        (SELECT revision FROM session_revisions WHERE task_id = NEW.task_id ORDER BY revision DESC LIMIT 1), 0)
    OR (SELECT (session_id, updated_at, backend_type, working_dir, config_dir, metadata, NULL)
            IS NOT (NEW.session_id, NEW.saved_at, NEW.backend_type, NEW.working_dir, NEW.config_dir, NEW.metadata,
                NEW.retired_at)
        FROM sessions WHERE task_id = NEW.task_id)
BEGIN
    SELECT RAISE(ABORT, 'session_revisions: a revision must have the next number of its task, and be what is bound');
END;

CREATE TRIGGER session_revisions_no_update
BEFORE UPDATE ON session_revisions
WHEN OLD.retired_at IS NOT NULL
    OR NEW.retired_at IS NULL
    OR (NEW.task_id, NEW.revision, NEW.backend_type, NEW.session_id, NEW.first_seq, NEW.saved_at)
        <> (OLD.task_id, OLD.revision, OLD.backend_type, OLD.session_id, OLD.first_seq, OLD.saved_at)
    OR NEW.working_dir IS NOT OLD.working_dir
    OR NEW.config_dir IS NOT OLD.config_dir
    OR NEW.metadata IS NOT OLD.metadata
    OR EXISTS (SELECT 1 FROM session_revisions WHERE task_id = OLD.task_id AND revision > OLD.revision)
BEGIN
    SELECT RAISE(ABORT, 'session_revisions: only the last revision can be retired, once');
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
WHEN (
    SELECT retired_at IS NULL AND saved_at = NEW.updated_at
        AND backend_type = NEW.backend_type AND session_id = NEW.session_id
        AND working_dir IS NEW.working_dir AND config_dir IS NEW.config_dir AND metadata IS NEW.metadata
    FROM session_revisions WHERE task_id = NEW.task_id ORDER BY revision DESC LIMIT 1
) IS NOT TRUE
BEGIN
    INSERT INTO session_revisions (
        task_id, revision, backend_type, session_id, working_dir, config_dir, metadata, first_seq, saved_at
    )
    VALUES (
        NEW.task_id,
        1 + coalesce((
            SELECT revision FROM session_revisions WHERE task_id = NEW.task_id ORDER BY revision DESC LIMIT 1), 0),
        NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.config_dir, NEW.metadata,
        1 + coalesce(
            (SELECT seq FROM conversation_history WHERE task_id = NEW.task_id ORDER BY seq DESC LIMIT 1), 0),
        NEW.updated_at
    );
END;

CREATE TRIGGER sessions_record_update
AFTER UPDATE ON sessions
WHEN NEW.session_id <> OLD.session_id
    OR NEW.backend_type <> OLD.backend_type
    OR NEW.working_dir IS NOT OLD.working_dir
    OR NEW.config_dir IS NOT OLD.config_dir
    OR NEW.metadata IS NOT OLD.metadata
    OR NEW.updated_at <> OLD.updated_at
BEGIN
    INSERT INTO session_revisions (
        task_id, revision, backend_type, session_id, working_dir, config_dir, metadata, first_seq, saved_at
    )
    VALUES (
        NEW.task_id,
        1 + coalesce((
            SELECT revision FROM session_revisions WHERE task_id = NEW.task_id ORDER BY revision DESC LIMIT 1), 0),
        NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.config_dir, NEW.metadata,
        1 + coalesce(
            (SELECT seq FROM conversation_history WHERE task_id = NEW.task_id ORDER BY seq DESC LIMIT 1), 0),
        NEW.updated_at
    );
    -- As sessions_lift_removal. One trigger costs less than two.
    DELETE FROM removed_sessions WHERE backend_type = NEW.backend_type AND session_id = NEW.session_id;
END;

-- A binding that is saved again is not written. So updated_at is the saved_at of the revision, its second copy.
CREATE TRIGGER sessions_keep_time
BEFORE UPDATE OF updated_at ON sessions
WHEN NEW.session_id = OLD.session_id AND NEW.updated_at <> OLD.updated_at
    AND NEW.backend_type = OLD.backend_type
    AND NEW.working_dir IS OLD.working_dir
    AND NEW.config_dir IS OLD.config_dir
    AND NEW.metadata IS OLD.metadata
    AND NEW.created_at = OLD.created_at
BEGIN
    SELECT RAISE(IGNORE);
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
    WHERE task_id = OLD.task_id AND retired_at IS NULL
        AND revision = (SELECT max(revision) FROM session_revisions WHERE task_id = OLD.task_id);
END;

CREATE TABLE conversation_history (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    -- The trigger has the rest: it is the next number of its task.
    seq BIGINT NOT NULL CHECK (seq <= 9007199254740991),
    role TEXT NOT NULL CHECK (role = 'user' OR role = 'assistant' OR role = 'system' OR role = 'tool'),
    -- Before the content, so that it is read without it.
    "timestamp" BIGINT NOT NULL
        CHECK ("timestamp" BETWEEN -62167219200000000 AND 253402300799999999
            AND "timestamp" = CAST("timestamp" AS INTEGER)),
    message_key TEXT
        CHECK (message_key IS NULL OR (message_key < x''
            AND length(CAST(message_key AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(message_key AS BLOB), x'00') = 0)),
    content TEXT NOT NULL CHECK (content < x''),
    metadata TEXT
        CHECK (metadata IS NULL OR (metadata < x'' AND length(CAST(metadata AS BLOB)) <= 1048576
            AND json_valid(metadata) AND json_type(metadata) = 'object'
            AND instr(replace(metadata, '\\', ''), '\u0000') = 0)),
    -- CRC-32 of the rest, by which a check tells a damaged text. NULL where another program wrote it.
    checksum BIGINT CHECK (checksum = CAST(checksum AS INTEGER)),
    PRIMARY KEY (task_id, seq),
    CHECK (rowid > 0)
);

-- Partial: a turn without a key pays nothing for it.
CREATE UNIQUE INDEX conversation_history_message_key
ON conversation_history (task_id, message_key) WHERE message_key IS NOT NULL;

-- Gapless, and again nothing for INSERT OR REPLACE to replace: not by seq, rowid or key. A turn pays for one
-- look at the end of its history, and for another one if it has a key.
CREATE TRIGGER conversation_history_append_only
BEFORE INSERT ON conversation_history
WHEN NEW.seq IS NOT 1 + coalesce(
        (SELECT seq FROM conversation_history WHERE task_id = NEW.task_id ORDER BY seq DESC LIMIT 1), 0)
    OR NEW.rowid > 0
    OR (NEW.message_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM conversation_history
        WHERE task_id = NEW.task_id AND message_key = NEW.message_key))
BEGIN
    SELECT RAISE(ABORT, 'conversation_history: seq must be the next number of its task, a key new, and no rowid given');
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

-- Turns that get_history leaves out: those after after_seq, up to through_seq.
CREATE TABLE history_retractions (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    -- The trigger has the rest: it is the next number of its task.
    number BIGINT NOT NULL CHECK (number <= 9007199254740991),
    after_seq BIGINT NOT NULL
        CHECK (after_seq BETWEEN 0 AND 9007199254740991 AND after_seq = CAST(after_seq AS INTEGER)),
    -- The trigger has the rest: it is the seq of a turn.
    through_seq BIGINT NOT NULL,
    hidden_at BIGINT NOT NULL
        CHECK (hidden_at BETWEEN -62167219200000000 AND 253402300799999999
            AND hidden_at = CAST(hidden_at AS INTEGER)),
    PRIMARY KEY (task_id, number),
    CHECK (after_seq < through_seq)
) WITHOUT ROWID;

-- As with tasks.
CREATE INDEX history_retractions_twice ON history_retractions (
    task_id, number, after_seq, through_seq, hidden_at
);

CREATE TRIGGER history_retractions_append_only
BEFORE INSERT ON history_retractions
WHEN NEW.number IS NOT 1 + coalesce(
        (SELECT number FROM history_retractions WHERE task_id = NEW.task_id ORDER BY number DESC LIMIT 1), 0)
    OR NOT EXISTS (
        SELECT 1 FROM conversation_history WHERE task_id = NEW.task_id AND seq = NEW.through_seq)
BEGIN
    SELECT RAISE(ABORT, 'history_retractions: number must be the next of its task, through_seq that of a turn');
END;

CREATE TRIGGER history_retractions_no_update
BEFORE UPDATE ON history_retractions
BEGIN
    SELECT RAISE(ABORT, 'history_retractions: retractions are never changed');
END;

CREATE TRIGGER history_retractions_no_delete
BEFORE DELETE ON history_retractions
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id)
BEGIN
    SELECT RAISE(ABORT, 'history_retractions: retractions go only with their task');
END;

-- The files of agents, byte for byte. A file that was rewritten gets a new number, and its earlier one stays for a
-- while. They may be deleted without their task.
CREATE TABLE recordings (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    -- The trigger has the rest: it is above all others of its task.
    number BIGINT NOT NULL CHECK (number <= 9007199254740991 AND number = CAST(number AS INTEGER)),
    -- A relative path: no component is empty, `.` or `..`, no character is a control character or a backslash.
    name TEXT NOT NULL
        CHECK (name < x'' AND length(CAST(name AS BLOB)) BETWEEN 1 AND 1024
            AND instr(CAST(name AS BLOB), x'00') = 0
            AND NOT name GLOB '*[' || char(1) || '-' || char(31) || '\' || char(127) || '-' || char(159) || ']*'
            AND instr('/' || name || '/', '//') = 0 AND instr('/' || name || '/', '/./') = 0
            AND instr('/' || name || '/', '/../') = 0),
    created_at BIGINT NOT NULL
        CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999
            AND created_at = CAST(created_at AS INTEGER)),
    updated_at BIGINT NOT NULL
        CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999
            AND updated_at = CAST(updated_at AS INTEGER)),
    PRIMARY KEY (task_id, number)
) WITHOUT ROWID;

-- As with tasks. The name comes first: a save looks for the last file of a name here.
CREATE INDEX recordings_twice ON recordings (task_id, name, number, created_at, updated_at);

-- This leaves INSERT OR REPLACE nothing to replace.
CREATE TRIGGER recordings_append_only
BEFORE INSERT ON recordings
WHEN (NEW.number > coalesce(
        (SELECT number FROM recordings WHERE task_id = NEW.task_id ORDER BY number DESC LIMIT 1), 0)) IS NOT TRUE
BEGIN
    SELECT RAISE(ABORT, 'recordings: number must be above all others of its task');
END;

CREATE TRIGGER recordings_no_update
BEFORE UPDATE OF task_id, number, name, created_at ON recordings
WHEN (NEW.task_id, NEW.number, NEW.name, NEW.created_at) IS NOT (OLD.task_id, OLD.number, OLD.name, OLD.created_at)
BEGIN
    SELECT RAISE(ABORT, 'recordings: only updated_at changes');
END;

-- Their bytes. The end of a file is replaced as the file grows, by a chunk that is longer.
CREATE TABLE recording_chunks (
    task_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    -- In the file. The trigger has the rest: it is the end of the chunk before.
    "offset" BIGINT NOT NULL CHECK ("offset" <= 9007199254740991),
    -- Of the bytes of the file.
    length BIGINT NOT NULL CHECK (length BETWEEN 1 AND 1048576 AND length = CAST(length AS INTEGER)),
    -- CRC-32 of the bytes of the file.
    checksum BIGINT NOT NULL CHECK (checksum BETWEEN 0 AND 4294967295 AND checksum = CAST(checksum AS INTEGER)),
    -- The bytes as one frame of zstd, which takes at most this much. Every blob sorts after every text.
    data BLOB NOT NULL CHECK (data >= x'' AND length(data) BETWEEN 1 AND 1052672),
    PRIMARY KEY (task_id, number, "offset"),
    FOREIGN KEY (task_id, number) REFERENCES recordings (task_id, number) ON DELETE CASCADE,
    CHECK (rowid > 0)
);

-- Without gaps, and nothing for INSERT OR REPLACE to replace.
CREATE TRIGGER recording_chunks_append_only
BEFORE INSERT ON recording_chunks
WHEN NEW."offset" IS NOT coalesce(
        (SELECT "offset" + length FROM recording_chunks
        WHERE task_id = NEW.task_id AND number = NEW.number ORDER BY "offset" DESC LIMIT 1), 0)
    OR NEW.rowid > 0
BEGIN
    SELECT RAISE(ABORT, 'recording_chunks: offset must be the end of the recording, and no rowid given');
END;

CREATE TRIGGER recording_chunks_no_update
BEFORE UPDATE ON recording_chunks
BEGIN
    SELECT RAISE(ABORT, 'recording_chunks: delete and insert instead of an update');
END;

CREATE TRIGGER recording_chunks_no_gap
BEFORE DELETE ON recording_chunks
WHEN EXISTS (SELECT 1 FROM recordings WHERE task_id = OLD.task_id AND number = OLD.number)
    AND EXISTS (SELECT 1 FROM recording_chunks
        WHERE task_id = OLD.task_id AND number = OLD.number AND "offset" > OLD."offset")
BEGIN
    SELECT RAISE(ABORT, 'recording_chunks: chunks go from the end, or with their recording');
END;

-- As tasks_take_everything.
CREATE TRIGGER recordings_take_chunks
AFTER DELETE ON recordings
BEGIN
    DELETE FROM recording_chunks WHERE task_id = OLD.task_id AND number = OLD.number;
END;

-- The sessions of tasks that were removed for good. An import leaves them out. Their task is gone.
CREATE TABLE removed_sessions (
    backend_type TEXT NOT NULL
        CHECK (backend_type < x'' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(CAST(backend_type AS BLOB), x'00') = 0),
    session_id TEXT NOT NULL
        CHECK (session_id < x'' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(session_id AS BLOB), x'00') = 0),
    task_id TEXT NOT NULL
        CHECK (task_id < x'' AND length(CAST(task_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(task_id AS BLOB), x'00') = 0),
    removed_at BIGINT NOT NULL
        CHECK (removed_at BETWEEN -62167219200000000 AND 253402300799999999
            AND removed_at = CAST(removed_at AS INTEGER)),
    PRIMARY KEY (backend_type, session_id)
) WITHOUT ROWID;

-- As with tasks.
CREATE INDEX removed_sessions_twice ON removed_sessions (task_id, backend_type, session_id, removed_at);

-- What an import has read of a file, so that the next one need not read it again. It can be deleted at any time.
CREATE TABLE imported_files (
    -- A path says nothing on another machine.
    host TEXT NOT NULL
        CHECK (host < x'' AND length(CAST(host AS BLOB)) BETWEEN 1 AND 255
            AND instr(CAST(host AS BLOB), x'00') = 0),
    -- Canonical. It need not be text. With the host it fits in a row of an index of PostgreSQL.
    path BLOB NOT NULL CHECK (path >= x'' AND length(path) BETWEEN 1 AND 2048),
    size BIGINT NOT NULL CHECK (size BETWEEN 0 AND 9007199254740991 AND size = CAST(size AS INTEGER)),
    -- Nanoseconds since 1970-01-01 00:00:00 UTC.
    modified_ns BIGINT NOT NULL CHECK (modified_ns = CAST(modified_ns AS INTEGER)),
    inode TEXT NOT NULL CHECK (inode < x'' AND length(CAST(inode AS BLOB)) <= 64),
    -- The bytes from the beginning whose words need not be read again when the file has grown.
    settled BIGINT NOT NULL CHECK (settled BETWEEN 0 AND size AND settled = CAST(settled AS INTEGER)),
    -- The bytes from the beginning that are among the kept recordings.
    kept BIGINT NOT NULL CHECK (kept BETWEEN 0 AND size AND kept = CAST(kept AS INTEGER)),
    -- The version of the rules by which it was read.
    reader BIGINT NOT NULL CHECK (reader BETWEEN 0 AND 9007199254740991 AND reader = CAST(reader AS INTEGER)),
    backend_type TEXT NOT NULL
        CHECK (backend_type < x'' AND length(CAST(backend_type AS BLOB)) BETWEEN 1 AND 64
            AND instr(CAST(backend_type AS BLOB), x'00') = 0),
    -- NULL for a file of several sessions.
    session_id TEXT
        CHECK (session_id IS NULL OR (session_id < x'' AND length(CAST(session_id AS BLOB)) BETWEEN 1 AND 512
            AND instr(CAST(session_id AS BLOB), x'00') = 0)),
    PRIMARY KEY (host, path)
) WITHOUT ROWID;

CREATE INDEX imported_files_session ON imported_files (backend_type, session_id);

-- A session that is bound to a task is in use again. For another session of a task sessions_record_update does it.
CREATE TRIGGER sessions_lift_removal
AFTER INSERT ON sessions
BEGIN
    DELETE FROM removed_sessions WHERE backend_type = NEW.backend_type AND session_id = NEW.session_id;
END;

-- The next import reads the files of a session again if its task is gone or its removal is lifted.
CREATE TRIGGER session_revisions_forget_files
AFTER DELETE ON session_revisions
BEGIN
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id = OLD.session_id;
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id IS NULL;
END;

CREATE TRIGGER removed_sessions_forget_files
AFTER DELETE ON removed_sessions
BEGIN
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id = OLD.session_id;
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id IS NULL;
END;

-- The deletions of the foreign keys, for programs that have them turned off (SQLite's own default).
CREATE TRIGGER tasks_take_everything
AFTER DELETE ON tasks
BEGIN
    DELETE FROM recordings WHERE task_id = OLD.id;
    DELETE FROM history_retractions WHERE task_id = OLD.id;
    DELETE FROM conversation_history WHERE task_id = OLD.id;
    DELETE FROM sessions WHERE task_id = OLD.id;
    DELETE FROM session_revisions WHERE task_id = OLD.id;
    DELETE FROM task_dependencies WHERE task_id = OLD.id OR depends_on = OLD.id;
END;

-- The same rows for human eyes, times in RFC 3339. The library never reads these.
-- Whole seconds are floored, so that times before 1970 come out right too.
CREATE VIEW tasks_readable AS
SELECT
    id, name, agent_role, prompt, writes_files, status, failure_mode,
    strftime('%Y-%m-%dT%H:%M:%S', (not_before - (not_before % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (not_before % 1000000 + 1000000) % 1000000) AS not_before,
    metadata, result, error, worker, fence,
    strftime('%Y-%m-%dT%H:%M:%S', (lease_ends_at - (lease_ends_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (lease_ends_at % 1000000 + 1000000) % 1000000) AS lease_ends_at,
    lease_length / 1000000.0 AS lease_seconds,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000) AS updated_at,
    strftime('%Y-%m-%dT%H:%M:%S', (status_changed_at - (status_changed_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (status_changed_at % 1000000 + 1000000) % 1000000) AS status_changed_at,
    strftime('%Y-%m-%dT%H:%M:%S', (last_active_at - (last_active_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (last_active_at % 1000000 + 1000000) % 1000000) AS last_active_at
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
    task_id, backend_type, session_id, working_dir, config_dir, metadata,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000) AS updated_at
FROM sessions;

CREATE VIEW session_revisions_readable AS
SELECT
    task_id, revision, backend_type, session_id, working_dir, config_dir, metadata, first_seq,
    strftime('%Y-%m-%dT%H:%M:%S', (saved_at - (saved_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (saved_at % 1000000 + 1000000) % 1000000) AS saved_at,
    strftime('%Y-%m-%dT%H:%M:%S', (ended_at - (ended_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (ended_at % 1000000 + 1000000) % 1000000) AS retired_at,
    retired_reason
FROM (
    SELECT
        it.task_id, it.revision, it.backend_type, it.session_id, it.working_dir, it.config_dir, it.metadata,
        it.first_seq, it.saved_at, coalesce(it.retired_at, next.saved_at) AS ended_at,
        coalesce(it.retired_reason, CASE WHEN next.revision IS NOT NULL THEN 'replaced' END) AS retired_reason
    FROM session_revisions AS it
    LEFT JOIN session_revisions AS next ON next.task_id = it.task_id AND next.revision = it.revision + 1
);

CREATE VIEW conversation_history_readable AS
SELECT
    task_id, seq, role, content, metadata,
    strftime('%Y-%m-%dT%H:%M:%S', ("timestamp" - ("timestamp" % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', ("timestamp" % 1000000 + 1000000) % 1000000) AS "timestamp",
    message_key
FROM conversation_history;

CREATE VIEW history_retractions_readable AS
SELECT
    task_id, number, after_seq, through_seq,
    strftime('%Y-%m-%dT%H:%M:%S', (hidden_at - (hidden_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (hidden_at % 1000000 + 1000000) % 1000000) AS hidden_at
FROM history_retractions;

CREATE VIEW recordings_readable AS
SELECT
    task_id, number, name,
    coalesce((SELECT "offset" + length FROM recording_chunks AS chunk
        WHERE chunk.task_id = recordings.task_id AND chunk.number = recordings.number
        ORDER BY "offset" DESC LIMIT 1), 0) AS length,
    strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000) AS updated_at
FROM recordings;

CREATE VIEW recording_chunks_readable AS
SELECT task_id, number, "offset", length, length(data) AS stored_bytes, checksum FROM recording_chunks;

CREATE VIEW removed_sessions_readable AS
SELECT
    backend_type, session_id, task_id,
    strftime('%Y-%m-%dT%H:%M:%S', (removed_at - (removed_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (removed_at % 1000000 + 1000000) % 1000000) AS removed_at
FROM removed_sessions;

CREATE VIEW imported_files_readable AS
SELECT
    host, CAST(path AS TEXT) AS path, size,
    strftime('%Y-%m-%dT%H:%M:%S', (modified_ns - (modified_ns % 1000000000 + 1000000000) % 1000000000) / 1000000000, 'unixepoch')
        || printf('.%09dZ', (modified_ns % 1000000000 + 1000000000) % 1000000000) AS modified,
    inode, settled, kept, reader, backend_type, session_id
FROM imported_files;
