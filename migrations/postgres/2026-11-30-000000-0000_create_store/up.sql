-- The whole store: the tables of migrations/sqlite with the same constraints, so that a store can move from
-- one engine to the other unchanged.
--
-- Times are microseconds since 1970-01-01 00:00:00 UTC, years 0000 to 9999 (what RFC 3339
-- can write). Ids and keys compare by bytes (COLLATE "C"), as in SQLite and in Rust, whatever the
-- server's locale. PostgreSQL has no U+0000 in a text, so nothing here forbids it: free text (name,
-- agent_role, prompt, result, error, retired_reason, content) has U+0010 '0' for it, and
-- U+0010 U+0010 for U+0010.

-- Everything goes into the first schema of the search path. The functions below keep that path, so that they
-- find these tables for every caller, and never a temporary table of the same name, which comes first in a
-- path that does not name pg_temp. They disable sequential scans: a connection keeps the plans of a
-- function, and a plan made for an empty table would scan the table after it has grown. Each setting costs
-- 0.6 µs a call.
--
-- A role that may create functions in the schema could plant an overload, and PostgreSQL prefers the function
-- with exactly the types of the arguments. So every call and operator here has exactly its own types, and
-- polymorphic ones name pg_catalog.
DO $$
BEGIN
    -- Lengths are in bytes of UTF-8.
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'the encoding of the database must be UTF8, it is %',
            pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF pg_catalog.current_schema() IS NULL THEN
        RAISE EXCEPTION 'no schema of the search path exists' USING ERRCODE = 'invalid_schema_name';
    END IF;
    PERFORM pg_catalog.set_config('search_path',
        pg_catalog.format('%I, pg_temp', pg_catalog.current_schema()), true);
END
$$;

-- Refuses with the text of the trigger. The condition is in the trigger's WHEN.
CREATE FUNCTION turnkeep_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation',
        SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END
$$;

CREATE TABLE tasks (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 512),
    name TEXT NOT NULL,
    agent_role TEXT,
    prompt TEXT NOT NULL,
    -- A JSON array of texts: the one list form that survives commas, spaces and newlines.
    -- The cast refuses text that is not JSON.
    writes_files TEXT NOT NULL CHECK (json_typeof(writes_files::json) = 'array'),
    status TEXT COLLATE "C" NOT NULL
        CHECK (status IN ('pending', 'eligible', 'running', 'completed', 'failed', 'skipped')),
    failure_mode TEXT COLLATE "C" NOT NULL CHECK (failure_mode IN ('hard', 'soft', 'skip')),
    -- The task is not given out before that time.
    not_before BIGINT CHECK (not_before BETWEEN -62167219200000000 AND 253402300799999999),
    -- A JSON object of the caller's, as text: jsonb would not keep it byte for byte. It refuses U+0000.
    metadata TEXT CHECK (octet_length(metadata) <= 1048576 AND jsonb_typeof(metadata::jsonb) = 'object'),
    result TEXT,
    error TEXT,
    -- The worker that holds the lease, its end, and how often the task was given out. A write with an older
    -- fence comes from a worker that has lost the task.
    worker TEXT COLLATE "C" CHECK (octet_length(worker) BETWEEN 1 AND 512),
    fence BIGINT NOT NULL DEFAULT 0 CHECK (fence BETWEEN 0 AND 9007199254740991),
    lease_ends_at BIGINT CHECK (lease_ends_at BETWEEN -62167219200000000 AND 253402300799999999),
    -- In microseconds, at most 24 hours. A lease that ends later than that from now was given out by a
    -- wrong clock, and is over.
    lease_length BIGINT CHECK (lease_length BETWEEN 1 AND 86400000000),
    created_at BIGINT NOT NULL CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999),
    updated_at BIGINT NOT NULL CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999),
    -- When status, result and error were last written. Unlike updated_at, a plan that is saved again
    -- does not move it: with the times of the turns it says when the task was last active.
    status_changed_at BIGINT NOT NULL
        CHECK (status_changed_at BETWEEN -62167219200000000 AND 253402300799999999),
    -- The latest of all changes of the status and of the turns but those of the last minute, so that not every
    -- turn writes the task. With the time of the last turn it is the exact last activity.
    last_active_at BIGINT NOT NULL CHECK (last_active_at BETWEEN -62167219200000000 AND 253402300799999999),
    CHECK ((worker IS NULL) = (lease_ends_at IS NULL)),
    CHECK ((worker IS NULL) = (lease_length IS NULL))
);

-- In the order in which tasks are given out, so that a claim reads only the rows that it takes.
CREATE INDEX tasks_status ON tasks (status, created_at, id);

-- In the order of lists, which read the first rows of each status.
CREATE INDEX tasks_last_active ON tasks (status, last_active_at, id);

CREATE TRIGGER tasks_no_rename
BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.id IS DISTINCT FROM OLD.id)
EXECUTE FUNCTION turnkeep_refuse('tasks: the id of a task never changes');

-- A fence that falls would let a worker write that has lost the task.
CREATE TRIGGER tasks_fence_grows
BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.fence < OLD.fence)
EXECUTE FUNCTION turnkeep_refuse('tasks: fence never falls');

-- A CHECK can't look into the list.
CREATE FUNCTION turnkeep_check_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF json_typeof(NEW.writes_files::json) = 'array' AND EXISTS (
        SELECT FROM json_array_elements(NEW.writes_files::json) AS file
        WHERE json_typeof(file) <> 'string'
    ) THEN
        RAISE EXCEPTION 'tasks: writes_files must be a JSON array of texts'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER tasks_files_are_texts
BEFORE INSERT ON tasks FOR EACH ROW
WHEN (NEW.writes_files <> '[]')
EXECUTE FUNCTION turnkeep_check_files();

CREATE TRIGGER tasks_files_stay_texts
BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.writes_files <> OLD.writes_files AND NEW.writes_files <> '[]')
EXECUTE FUNCTION turnkeep_check_files();

CREATE TABLE task_dependencies (
    task_id TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    PRIMARY KEY (task_id, depends_on),
    CHECK (task_id <> depends_on)
);

CREATE INDEX task_dependencies_depends_on ON task_dependencies (depends_on);

-- Two transactions that each add one half of a cycle do not see each other's half. So one waits here until
-- the other has ended, and checks then: at READ COMMITTED each statement of a function sees everything that
-- was committed before it began. The snapshot of a stricter isolation level would hide the other half.
CREATE FUNCTION turnkeep_check_dependency() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'dependencies of tasks can only be inserted at READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::integer, TG_RELID::integer);
    -- A circle needs a task that waits for this one, and something that the dependency waits for. Where
    -- there is neither, in a plan that is inserted in either order, nothing is walked.
    IF EXISTS (SELECT FROM task_dependencies WHERE task_id = NEW.depends_on) AND EXISTS (
        WITH RECURSIVE waiting (id) AS (
            SELECT task_id FROM task_dependencies WHERE depends_on = NEW.task_id
            UNION
            SELECT task_dependencies.task_id
            FROM task_dependencies JOIN waiting ON task_dependencies.depends_on = waiting.id
        )
        SELECT FROM waiting WHERE id = NEW.depends_on
    ) THEN
        RAISE EXCEPTION 'task_dependencies: a dependency must not close a circle'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER task_dependencies_no_cycle
BEFORE INSERT ON task_dependencies FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_dependency();

-- Without this an UPDATE would slip a circle past the trigger above.
CREATE TRIGGER task_dependencies_no_update
BEFORE UPDATE ON task_dependencies FOR EACH ROW
EXECUTE FUNCTION turnkeep_refuse('task_dependencies: delete and insert instead of an update');

-- Append-only rows are deleted only with their task. A cascade arrives here after the task is gone.
CREATE FUNCTION turnkeep_check_delete() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT task_id FROM removed) AS shrunk
        WHERE (SELECT true FROM tasks WHERE tasks.id = shrunk.task_id)
    ) THEN
        RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE TABLE sessions (
    task_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    backend_type TEXT COLLATE "C" NOT NULL CHECK (octet_length(backend_type) BETWEEN 1 AND 64),
    session_id TEXT COLLATE "C" NOT NULL CHECK (octet_length(session_id) BETWEEN 1 AND 512),
    working_dir TEXT COLLATE "C" CHECK (octet_length(working_dir) BETWEEN 1 AND 4096),
    -- Where the agent keeps its sessions, if that is not its usual folder.
    config_dir TEXT COLLATE "C" CHECK (octet_length(config_dir) BETWEEN 1 AND 4096),
    metadata TEXT CHECK (octet_length(metadata) <= 1048576 AND jsonb_typeof(metadata::jsonb) = 'object'),
    created_at BIGINT NOT NULL CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999),
    updated_at BIGINT NOT NULL CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999)
);

-- A list finds the tasks of a folder here. A row of an index has at most 2,704 bytes.
CREATE INDEX sessions_working_dir ON sessions (working_dir, task_id) WHERE octet_length(working_dir) <= 2000;

-- Every binding a task ever had. The last one is the one in sessions, unless it is retired. A binding that was
-- replaced ended when the next one was saved, and its retired_at may stay NULL.
CREATE TABLE session_revisions (
    task_id TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL CHECK (revision BETWEEN 1 AND 9007199254740991),
    backend_type TEXT COLLATE "C" NOT NULL CHECK (octet_length(backend_type) BETWEEN 1 AND 64),
    session_id TEXT COLLATE "C" NOT NULL CHECK (octet_length(session_id) BETWEEN 1 AND 512),
    working_dir TEXT COLLATE "C" CHECK (octet_length(working_dir) BETWEEN 1 AND 4096),
    config_dir TEXT COLLATE "C" CHECK (octet_length(config_dir) BETWEEN 1 AND 4096),
    metadata TEXT CHECK (octet_length(metadata) <= 1048576 AND jsonb_typeof(metadata::jsonb) = 'object'),
    -- The seq of the first turn after it was saved.
    first_seq BIGINT NOT NULL CHECK (first_seq BETWEEN 1 AND 9007199254740991),
    saved_at BIGINT NOT NULL CHECK (saved_at BETWEEN -62167219200000000 AND 253402300799999999),
    retired_at BIGINT CHECK (retired_at BETWEEN -62167219200000000 AND 253402300799999999),
    retired_reason TEXT,
    PRIMARY KEY (task_id, revision),
    CHECK ((retired_at IS NULL) = (retired_reason IS NULL))
);

-- An import, a watcher and a hook look for the tasks of a session.
CREATE INDEX session_revisions_by_session ON session_revisions (session_id, backend_type);

-- The primary key excludes duplicate revisions. There is no gap if the new revisions are consecutive and the
-- first follows on a stored one. The last revision of a bound task is its binding, as the triggers of sessions insert
-- it.
CREATE FUNCTION turnkeep_check_revisions() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT task_id, min(revision) AS first, max(revision) AS last, count(*) AS number
            FROM added GROUP BY task_id
        ) AS grown
        WHERE last - first + 1 <> number
            OR (first > 1 AND (
                SELECT true FROM session_revisions AS before
                WHERE before.task_id = grown.task_id AND before.revision = grown.first - 1
            ) IS NULL)
    ) OR EXISTS (
        SELECT FROM added JOIN sessions ON sessions.task_id = added.task_id
        WHERE (sessions.session_id, sessions.updated_at, sessions.backend_type, sessions.working_dir,
                sessions.config_dir, sessions.metadata, NULL)
            IS DISTINCT FROM
            (added.session_id, added.saved_at, added.backend_type, added.working_dir,
                added.config_dir, added.metadata, added.retired_at)
    ) THEN
        RAISE EXCEPTION 'session_revisions: a revision must have the next number of its task, and be what is bound'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER session_revisions_append_only
AFTER INSERT ON session_revisions REFERENCING NEW TABLE AS added FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_check_revisions();

CREATE FUNCTION turnkeep_check_retirement() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF OLD.retired_at IS NOT NULL
        OR NEW.retired_at IS NULL
        OR (NEW.task_id, NEW.revision, NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.config_dir,
            NEW.metadata, NEW.first_seq, NEW.saved_at)
            IS DISTINCT FROM
            (OLD.task_id, OLD.revision, OLD.backend_type, OLD.session_id, OLD.working_dir, OLD.config_dir,
            OLD.metadata, OLD.first_seq, OLD.saved_at)
        OR EXISTS (SELECT FROM session_revisions WHERE task_id = OLD.task_id AND revision > OLD.revision)
    THEN
        RAISE EXCEPTION 'session_revisions: only the last revision can be retired, once'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER session_revisions_no_update
BEFORE UPDATE ON session_revisions FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_retirement();

CREATE TRIGGER session_revisions_no_delete
AFTER DELETE ON session_revisions REFERENCING OLD TABLE AS removed FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_check_delete('session_revisions: revisions go only with their task');

CREATE TRIGGER session_revisions_no_truncate
BEFORE TRUNCATE ON session_revisions
EXECUTE FUNCTION turnkeep_refuse('session_revisions: revisions go only with their task');

-- Every write to sessions is recorded, by other programs as well as by the library, so that no binding is lost
-- without a trace.
CREATE FUNCTION turnkeep_record_session() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    -- A copy of a store brings the record along, before the binding.
    IF TG_OP = 'INSERT' AND (
        SELECT retired_at IS NULL AND saved_at = NEW.updated_at AND backend_type = NEW.backend_type
            AND session_id = NEW.session_id AND working_dir IS NOT DISTINCT FROM NEW.working_dir
            AND config_dir IS NOT DISTINCT FROM NEW.config_dir
            AND metadata IS NOT DISTINCT FROM NEW.metadata
        FROM session_revisions WHERE task_id = NEW.task_id ORDER BY revision DESC LIMIT 1
    ) THEN
        RETURN NULL;
    END IF;
    -- As an append does: the turns of a transaction that has not committed are those before first_seq.
    PERFORM FROM tasks WHERE id = NEW.task_id FOR NO KEY UPDATE;
    INSERT INTO session_revisions (
        task_id, revision, backend_type, session_id, working_dir, config_dir, metadata, first_seq, saved_at
    )
    SELECT NEW.task_id, coalesce(max(revision), 0) + 1,
        NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.config_dir, NEW.metadata,
        coalesce((
            SELECT seq FROM conversation_history WHERE task_id = NEW.task_id ORDER BY seq DESC LIMIT 1
        ), 0) + 1,
        NEW.updated_at
    FROM session_revisions WHERE task_id = NEW.task_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_record_insert
AFTER INSERT ON sessions FOR EACH ROW
EXECUTE FUNCTION turnkeep_record_session();

CREATE TRIGGER sessions_record_update
AFTER UPDATE ON sessions FOR EACH ROW
WHEN (NEW.backend_type <> OLD.backend_type
    OR NEW.session_id <> OLD.session_id
    OR NEW.working_dir IS DISTINCT FROM OLD.working_dir
    OR NEW.config_dir IS DISTINCT FROM OLD.config_dir
    OR NEW.metadata IS DISTINCT FROM OLD.metadata
    OR NEW.updated_at <> OLD.updated_at)
EXECUTE FUNCTION turnkeep_record_session();

-- A binding that is saved again is not written. So updated_at is the saved_at of the revision.
CREATE FUNCTION turnkeep_leave_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_keep_time
BEFORE UPDATE ON sessions FOR EACH ROW
WHEN (NEW.updated_at <> OLD.updated_at
    AND (NEW.task_id, NEW.backend_type, NEW.session_id, NEW.working_dir, NEW.config_dir, NEW.metadata,
            NEW.created_at)
        IS NOT DISTINCT FROM
        (OLD.task_id, OLD.backend_type, OLD.session_id, OLD.working_dir, OLD.config_dir, OLD.metadata,
            OLD.created_at))
EXECUTE FUNCTION turnkeep_leave_out();

CREATE TRIGGER sessions_no_rebind
BEFORE UPDATE ON sessions FOR EACH ROW
WHEN (NEW.task_id IS DISTINCT FROM OLD.task_id)
EXECUTE FUNCTION turnkeep_refuse('sessions: a binding stays with its task');

-- The library retires the revision, with its reason, before it removes the binding.
CREATE FUNCTION turnkeep_record_removal() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    UPDATE session_revisions
    SET retired_at = floor(extract(epoch FROM clock_timestamp()) * 1000000::numeric),
        retired_reason = 'removed'
    WHERE task_id = OLD.task_id AND retired_at IS NULL
        AND revision = (SELECT max(revision) FROM session_revisions WHERE task_id = OLD.task_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_record_delete
AFTER DELETE ON sessions FOR EACH ROW
EXECUTE FUNCTION turnkeep_record_removal();

CREATE TRIGGER sessions_no_truncate
BEFORE TRUNCATE ON sessions
EXECUTE FUNCTION turnkeep_refuse('sessions: delete instead of truncating, for the record');

CREATE TABLE conversation_history (
    task_id TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    role TEXT COLLATE "C" NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    "timestamp" BIGINT NOT NULL
        CHECK ("timestamp" BETWEEN -62167219200000000 AND 253402300799999999),
    message_key TEXT COLLATE "C" CHECK (octet_length(message_key) BETWEEN 1 AND 512),
    content TEXT NOT NULL,
    metadata TEXT CHECK (octet_length(metadata) <= 1048576 AND jsonb_typeof(metadata::jsonb) = 'object'),
    -- CRC-32 of the other columns, to detect damage. NULL in rows of another program.
    checksum BIGINT,
    PRIMARY KEY (task_id, seq)
);

-- Partial: a turn without a key pays nothing for it.
CREATE UNIQUE INDEX conversation_history_message_key
ON conversation_history (task_id, message_key) WHERE message_key IS NOT NULL;

CREATE FUNCTION turnkeep_check_turns() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT task_id, min(seq) AS first, max(seq) AS last, count(*) AS number
            FROM added GROUP BY task_id
        ) AS grown
        WHERE last - first + 1 <> number
            OR (first > 1 AND (
                SELECT true FROM conversation_history AS before
                WHERE before.task_id = grown.task_id AND before.seq = grown.first - 1
            ) IS NULL)
    ) THEN
        RAISE EXCEPTION
            'conversation_history: seq must be the next number of its task, and a key new'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER conversation_history_append_only
AFTER INSERT ON conversation_history REFERENCING NEW TABLE AS added FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_check_turns();

CREATE TRIGGER conversation_history_no_update
BEFORE UPDATE ON conversation_history FOR EACH ROW
EXECUTE FUNCTION turnkeep_refuse('conversation_history: turns are never changed');

CREATE TRIGGER conversation_history_no_delete
AFTER DELETE ON conversation_history REFERENCING OLD TABLE AS removed FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_check_delete('conversation_history: turns go only with their task');

CREATE TRIGGER conversation_history_no_truncate
BEFORE TRUNCATE ON conversation_history
EXECUTE FUNCTION turnkeep_refuse('conversation_history: turns go only with their task');

-- Tells the sessions that listen of new turns. Transactions that notify commit one after the other in the whole
-- cluster, so this one does only if a task of its may be followed. A session that follows a task holds a shared lock on
-- the task's part of 64, and the exclusive lock that is tried here ends at once. (A transaction that tries the same
-- one in that moment notifies as well.) Of the appends that commit at the same moment one notifies, which holds lock
-- 64 until then; a follower looks again for the others. An open transaction must not hold that lock.
CREATE FUNCTION turnkeep_notify() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT hashtext(task_id) & 63 AS part FROM added) AS grown
        WHERE CASE WHEN pg_try_advisory_lock(TG_RELID::integer, part)
            THEN NOT pg_advisory_unlock(TG_RELID::integer, part) ELSE true END
    ) THEN
        IF current_setting('turnkeep.commits', true) IS DISTINCT FROM 'on'
            OR pg_try_advisory_xact_lock(TG_RELID::integer, 64)
        THEN
            PERFORM pg_notify('turnkeep', '');
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER conversation_history_notify
AFTER INSERT ON conversation_history REFERENCING NEW TABLE AS added FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_notify();

-- Turns that get_history leaves out: those after after_seq, up to through_seq.
CREATE TABLE history_retractions (
    task_id TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number BIGINT NOT NULL CHECK (number BETWEEN 1 AND 9007199254740991),
    after_seq BIGINT NOT NULL CHECK (after_seq BETWEEN 0 AND 9007199254740991),
    -- The trigger has the rest: it is the seq of a turn.
    through_seq BIGINT NOT NULL,
    hidden_at BIGINT NOT NULL CHECK (hidden_at BETWEEN -62167219200000000 AND 253402300799999999),
    PRIMARY KEY (task_id, number),
    CHECK (after_seq < through_seq)
);

-- Two transactions that take the same number are kept apart by the primary key.
CREATE FUNCTION turnkeep_check_retraction() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF NEW.number IS DISTINCT FROM coalesce((
            SELECT number FROM history_retractions WHERE task_id = NEW.task_id ORDER BY number DESC LIMIT 1
        ), 0) + 1
        OR NOT EXISTS (
            SELECT FROM conversation_history WHERE task_id = NEW.task_id AND seq = NEW.through_seq
        )
    THEN
        RAISE EXCEPTION
            'history_retractions: number must be the next of its task, through_seq that of a turn'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER history_retractions_append_only
BEFORE INSERT ON history_retractions FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_retraction();

CREATE TRIGGER history_retractions_no_update
BEFORE UPDATE ON history_retractions FOR EACH ROW
EXECUTE FUNCTION turnkeep_refuse('history_retractions: retractions are never changed');

CREATE TRIGGER history_retractions_no_delete
AFTER DELETE ON history_retractions REFERENCING OLD TABLE AS removed FOR EACH STATEMENT
EXECUTE FUNCTION turnkeep_check_delete('history_retractions: retractions go only with their task');

CREATE TRIGGER history_retractions_no_truncate
BEFORE TRUNCATE ON history_retractions
EXECUTE FUNCTION turnkeep_refuse('history_retractions: retractions go only with their task');

-- The files of agents, byte for byte. A file that was rewritten gets a new number, and its earlier one stays for a
-- while. They may be deleted without their task.
CREATE TABLE recordings (
    task_id TEXT COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number BIGINT NOT NULL CHECK (number BETWEEN 1 AND 9007199254740991),
    -- A relative path: no component is empty, `.` or `..`, no character is a control character or a backslash.
    name TEXT COLLATE "C" NOT NULL
        CHECK (octet_length(name) BETWEEN 1 AND 1024
            AND name !~ '(^|/)[.]{0,2}(/|$)' AND name !~ '[\u0001-\u001f\\\u007f-\u009f]'),
    created_at BIGINT NOT NULL CHECK (created_at BETWEEN -62167219200000000 AND 253402300799999999),
    updated_at BIGINT NOT NULL CHECK (updated_at BETWEEN -62167219200000000 AND 253402300799999999),
    PRIMARY KEY (task_id, number)
);

CREATE INDEX recordings_name ON recordings (task_id, name, number);

-- Two transactions that take the same number are kept apart by the primary key.
CREATE FUNCTION turnkeep_check_recording() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF NEW.number <= (
        SELECT number FROM recordings WHERE task_id = NEW.task_id ORDER BY number DESC LIMIT 1
    ) THEN
        RAISE EXCEPTION 'recordings: number must be above all others of its task'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER recordings_append_only
BEFORE INSERT ON recordings FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_recording();

CREATE TRIGGER recordings_no_update
BEFORE UPDATE ON recordings FOR EACH ROW
WHEN ((NEW.task_id, NEW.number, NEW.name, NEW.created_at)
    IS DISTINCT FROM (OLD.task_id, OLD.number, OLD.name, OLD.created_at))
EXECUTE FUNCTION turnkeep_refuse('recordings: only updated_at changes');

-- Their bytes. The end of a file is replaced as the file grows, by a chunk that is longer.
CREATE TABLE recording_chunks (
    task_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    -- In the file. The trigger has the rest: it is the end of the chunk before.
    "offset" BIGINT NOT NULL CHECK ("offset" BETWEEN 0 AND 9007199254740991),
    -- Of the bytes of the file.
    length BIGINT NOT NULL CHECK (length BETWEEN 1 AND 1048576),
    -- CRC-32 of the bytes of the file.
    checksum BIGINT NOT NULL CHECK (checksum BETWEEN 0 AND 4294967295),
    -- The bytes as one frame of zstd, which takes at most this much.
    data BYTEA NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 1052672),
    PRIMARY KEY (task_id, number, "offset"),
    FOREIGN KEY (task_id, number) REFERENCES recordings (task_id, number) ON DELETE CASCADE
);

-- They can't be compressed again.
ALTER TABLE recording_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE FUNCTION turnkeep_check_chunk() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF NEW."offset" IS DISTINCT FROM coalesce((
        SELECT "offset" + length FROM recording_chunks
        WHERE task_id = NEW.task_id AND number = NEW.number ORDER BY "offset" DESC LIMIT 1
    ), 0) THEN
        RAISE EXCEPTION 'recording_chunks: offset must be the end of the recording'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER recording_chunks_append_only
BEFORE INSERT ON recording_chunks FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_chunk();

CREATE TRIGGER recording_chunks_no_update
BEFORE UPDATE ON recording_chunks FOR EACH ROW
EXECUTE FUNCTION turnkeep_refuse('recording_chunks: delete and insert instead of an update');

CREATE FUNCTION turnkeep_check_chunk_delete() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM recordings WHERE task_id = OLD.task_id AND number = OLD.number)
        AND EXISTS (
            SELECT FROM recording_chunks
            WHERE task_id = OLD.task_id AND number = OLD.number AND "offset" > OLD."offset"
        )
    THEN
        RAISE EXCEPTION 'recording_chunks: chunks go from the end, or with their recording'
            USING ERRCODE = 'integrity_constraint_violation',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER recording_chunks_no_gap
BEFORE DELETE ON recording_chunks FOR EACH ROW
EXECUTE FUNCTION turnkeep_check_chunk_delete();

-- The sessions of tasks that were removed for good. An import leaves them out. Their task is gone.
CREATE TABLE removed_sessions (
    backend_type TEXT COLLATE "C" NOT NULL CHECK (octet_length(backend_type) BETWEEN 1 AND 64),
    session_id TEXT COLLATE "C" NOT NULL CHECK (octet_length(session_id) BETWEEN 1 AND 512),
    task_id TEXT COLLATE "C" NOT NULL CHECK (octet_length(task_id) BETWEEN 1 AND 512),
    removed_at BIGINT NOT NULL CHECK (removed_at BETWEEN -62167219200000000 AND 253402300799999999),
    PRIMARY KEY (backend_type, session_id)
);

CREATE INDEX removed_sessions_task ON removed_sessions (task_id);

-- What an import has read of a file, so that the next one need not read it again. It can be deleted at any time.
CREATE TABLE imported_files (
    -- A path says nothing on another machine.
    host TEXT COLLATE "C" NOT NULL CHECK (octet_length(host) BETWEEN 1 AND 255),
    -- Canonical. It need not be text. With the host it fits in a row of an index.
    path BYTEA NOT NULL CHECK (octet_length(path) BETWEEN 1 AND 2048),
    size BIGINT NOT NULL CHECK (size BETWEEN 0 AND 9007199254740991),
    -- Nanoseconds since 1970-01-01 00:00:00 UTC.
    modified_ns BIGINT NOT NULL,
    inode TEXT COLLATE "C" NOT NULL CHECK (octet_length(inode) <= 64),
    -- The bytes from the beginning whose words need not be read again when the file has grown.
    settled BIGINT NOT NULL CHECK (settled BETWEEN 0 AND size),
    -- The bytes from the beginning that are among the kept recordings.
    kept BIGINT NOT NULL CHECK (kept BETWEEN 0 AND size),
    -- The version of the rules by which it was read.
    reader BIGINT NOT NULL CHECK (reader BETWEEN 0 AND 9007199254740991),
    backend_type TEXT COLLATE "C" NOT NULL CHECK (octet_length(backend_type) BETWEEN 1 AND 64),
    -- NULL for a file of several sessions.
    session_id TEXT COLLATE "C" CHECK (octet_length(session_id) BETWEEN 1 AND 512),
    PRIMARY KEY (host, path)
);

CREATE INDEX imported_files_session ON imported_files (backend_type, session_id);

-- A session that is bound to a task is in use again.
CREATE FUNCTION turnkeep_lift_removal() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM removed_sessions WHERE backend_type = NEW.backend_type AND session_id = NEW.session_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_lift_removal
AFTER INSERT OR UPDATE OF backend_type, session_id ON sessions FOR EACH ROW
EXECUTE FUNCTION turnkeep_lift_removal();

-- The next import reads the files of a session again if its task is gone or its removal is lifted.
CREATE FUNCTION turnkeep_forget_files() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id = OLD.session_id;
    DELETE FROM imported_files WHERE backend_type = OLD.backend_type AND session_id IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER session_revisions_forget_files
AFTER DELETE ON session_revisions FOR EACH ROW
EXECUTE FUNCTION turnkeep_forget_files();

CREATE TRIGGER removed_sessions_forget_files
AFTER DELETE ON removed_sessions FOR EACH ROW
EXECUTE FUNCTION turnkeep_forget_files();

-- Appends turns to the histories of these tasks, and returns the seq that each task had last before
-- (0 for none). A turn names its task by its place in the list, the fence that the task must have (NULL for
-- any), and its number, from 1, among the turns of the task. Does nothing and returns NULL when a task is not
-- stored, has another fence, is locked by another transaction, or has a turn with one of the keys, or when
-- a newer program has run more migrations than are known to the caller.
-- The ids must be in order and all different. Where all fences, keys or metadata are NULL, an empty list says
-- the same and costs less. The times of a task's turns must not fall; last_times has the last one of each
-- task.
CREATE FUNCTION turnkeep_append(
    known_migrations bigint, task_ids text[], fences bigint[], task_numbers integer[], numbers bigint[], roles text[], contents text[], timestamps bigint[],
    message_keys text[], metadata text[], checksums bigint[], last_times bigint[]
) RETURNS bigint[] LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    locked_ids text[];
    locked_fences bigint[];
    last_seqs bigint[];
    active_ids text[];
    active_times bigint[];
    inserted bigint;
BEGIN
    IF (SELECT count(*) FROM __diesel_schema_migrations) > known_migrations THEN
        RETURN NULL;
    END IF;
    SELECT pg_catalog.array_agg(locked.id), pg_catalog.array_agg(locked.fence) INTO locked_ids, locked_fences
    FROM (
        SELECT tasks.id, tasks.fence FROM tasks WHERE tasks.id = ANY (task_ids)
        ORDER BY tasks.id FOR NO KEY UPDATE SKIP LOCKED
    ) AS locked;
    IF (locked_ids OPERATOR(pg_catalog.=) task_ids) IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    -- One IF in the other: a query that is part of a condition is made ready even if it is not run.
    IF pg_catalog.cardinality(fences) > 0 THEN
        IF EXISTS (
            SELECT FROM unnest(task_numbers, fences) AS new (task_number, fence)
            WHERE new.fence <> locked_fences[new.task_number]
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF pg_catalog.cardinality(message_keys) > 0 THEN
        IF EXISTS (
            SELECT FROM unnest(task_numbers, message_keys) AS new (task_number, message_key)
            -- NOT NULL in words, or the partial index is not used; no EXISTS, or all that have a
            -- key are read and joined.
            WHERE new.message_key IS NOT NULL AND (
                SELECT true FROM conversation_history AS turns
                WHERE turns.task_id = locked_ids[new.task_number]
                    AND turns.message_key = new.message_key AND turns.message_key IS NOT NULL
            )
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    -- Each of these statements sees all that was committed before the locks were had.
    SELECT pg_catalog.array_agg(coalesce(stored.seq, 0) ORDER BY locked.number),
        pg_catalog.array_agg(locked.id) FILTER (WHERE activity.moves),
        pg_catalog.array_agg(greatest(stored."timestamp", locked.last_time)) FILTER (WHERE activity.moves)
    INTO last_seqs, active_ids, active_times
    FROM unnest(locked_ids, last_times) WITH ORDINALITY AS locked (id, last_time, number)
    LEFT JOIN LATERAL (
        SELECT turns.seq, turns."timestamp" FROM conversation_history AS turns WHERE turns.task_id = locked.id
        ORDER BY turns.seq DESC LIMIT 1
    ) AS stored ON true
    -- As in `record_turns` of the library. Division rounds up below 0, hence the year 0 as the origin.
    CROSS JOIN LATERAL (
        SELECT stored.seq IS NULL OR locked.last_time < stored."timestamp"
            OR (locked.last_time + 62167219200000000) / 60000000::bigint
                <> (stored."timestamp" + 62167219200000000) / 60000000::bigint
    ) AS activity (moves);
    -- For turnkeep_notify: the caller commits at once. Only a superuser may create a function that sets it itself.
    PERFORM pg_catalog.set_config('turnkeep.commits', 'on', true);
    INSERT INTO conversation_history
        (task_id, seq, role, content, "timestamp", message_key, metadata, checksum)
    SELECT locked_ids[new.task_number], last_seqs[new.task_number] + new.number, new.role,
        new.content, new."timestamp", new.message_key, new.metadata, new.checksum
    FROM unnest(task_numbers, numbers, roles, contents, timestamps, message_keys, metadata, checksums)
        AS new (task_number, number, role, content, "timestamp", message_key, metadata, checksum);
    GET DIAGNOSTICS inserted = ROW_COUNT;
    PERFORM pg_catalog.set_config('turnkeep.commits', '', true);
    -- Only what is not of the schema, a trigger for one, leaves out rows without an error.
    IF inserted <> pg_catalog.cardinality(numbers) THEN
        RAISE EXCEPTION 'turnkeep_append: % of % turns were not stored',
            pg_catalog.cardinality(numbers) - inserted, pg_catalog.cardinality(numbers);
    END IF;
    IF active_ids IS NOT NULL THEN
        UPDATE tasks SET last_active_at = active.at
        FROM unnest(active_ids, active_times) AS active (id, at)
        WHERE tasks.id = active.id AND tasks.last_active_at < active.at;
    END IF;
    RETURN last_seqs;
END
$$;

-- A time for human eyes. PostgreSQL calls the year 0 1 BC.
CREATE FUNCTION turnkeep_rfc3339(micros bigint) RETURNS text LANGUAGE sql STABLE
RETURN to_char(
    timestamp 'epoch' + (micros / 1000000)::double precision * interval '1 second'
        + (micros % 1000000::bigint)::double precision * interval '1 microsecond',
    CASE WHEN micros < -62135596800000000 THEN '"0000"' ELSE 'YYYY' END || '-MM-DD"T"HH24:MI:SS.US"Z"'
);

-- The same rows for human eyes, times in RFC 3339. The library never reads these.
CREATE VIEW tasks_readable AS
SELECT
    id, name, agent_role, prompt, writes_files, status, failure_mode,
    turnkeep_rfc3339(not_before) AS not_before,
    metadata, result, error, worker, fence,
    turnkeep_rfc3339(lease_ends_at) AS lease_ends_at,
    lease_length::numeric / 1000000.0 AS lease_seconds,
    turnkeep_rfc3339(created_at) AS created_at,
    turnkeep_rfc3339(updated_at) AS updated_at,
    turnkeep_rfc3339(status_changed_at) AS status_changed_at,
    turnkeep_rfc3339(last_active_at) AS last_active_at
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
    turnkeep_rfc3339(created_at) AS created_at,
    turnkeep_rfc3339(updated_at) AS updated_at
FROM sessions;

CREATE VIEW session_revisions_readable AS
SELECT
    it.task_id, it.revision, it.backend_type, it.session_id, it.working_dir, it.config_dir, it.metadata, it.first_seq,
    turnkeep_rfc3339(it.saved_at) AS saved_at,
    turnkeep_rfc3339(coalesce(it.retired_at, next.saved_at)) AS retired_at,
    coalesce(it.retired_reason, CASE WHEN next.revision IS NOT NULL THEN 'replaced' END) AS retired_reason
FROM session_revisions AS it
LEFT JOIN session_revisions AS next ON next.task_id = it.task_id AND next.revision = it.revision + 1;

CREATE VIEW conversation_history_readable AS
SELECT
    task_id, seq, role, content, metadata, turnkeep_rfc3339("timestamp") AS "timestamp", message_key
FROM conversation_history;

CREATE VIEW history_retractions_readable AS
SELECT task_id, number, after_seq, through_seq, turnkeep_rfc3339(hidden_at) AS hidden_at
FROM history_retractions;

CREATE VIEW recordings_readable AS
SELECT
    task_id, number, name,
    coalesce((
        SELECT "offset" + length FROM recording_chunks AS chunk
        WHERE chunk.task_id = recordings.task_id AND chunk.number = recordings.number
        ORDER BY "offset" DESC LIMIT 1
    ), 0) AS length,
    turnkeep_rfc3339(created_at) AS created_at,
    turnkeep_rfc3339(updated_at) AS updated_at
FROM recordings;

CREATE VIEW recording_chunks_readable AS
SELECT task_id, number, "offset", length, octet_length(data) AS stored_bytes, checksum FROM recording_chunks;

CREATE VIEW removed_sessions_readable AS
SELECT backend_type, session_id, task_id, turnkeep_rfc3339(removed_at) AS removed_at
FROM removed_sessions;

CREATE VIEW imported_files_readable AS
SELECT
    host, encode(path, 'escape') AS path, size, turnkeep_rfc3339(modified_ns / 1000::bigint) AS modified,
    inode, settled, kept, reader, backend_type, session_id
FROM imported_files;
