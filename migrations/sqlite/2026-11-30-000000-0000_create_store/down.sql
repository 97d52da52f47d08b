DROP VIEW history_retractions_readable;
DROP VIEW conversation_history_readable;
DROP VIEW session_revisions_readable;
DROP VIEW sessions_readable;
DROP VIEW task_dependencies_readable;
DROP VIEW tasks_readable;
-- Children before parents; triggers and indexes go with their table.
DROP TABLE history_retractions;
DROP TABLE conversation_history;
DROP TABLE session_revisions;
DROP TABLE sessions;
DROP TABLE task_dependencies;
DROP TABLE tasks;
PRAGMA application_id = 0;
