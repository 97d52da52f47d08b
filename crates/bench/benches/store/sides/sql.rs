//! SQL shared by several sides.

use turnkeep_repo::Durability;

/// Reads the last seq.
pub(super) const LAST_SEQ: &str = "SELECT max(seq) FROM conversation_history WHERE task_id = ?1";

/// Appends a turn.
pub(super) const APPEND_TURN: &str = "INSERT INTO conversation_history \
     (task_id, seq, role, content, timestamp) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Reads all turns of a task.
pub(super) const GET_HISTORY: &str = "SELECT task_id, seq, role, content, timestamp, message_key \
     FROM conversation_history WHERE task_id = ?1 ORDER BY seq";

/// Reads the binding of a task.
pub(super) const GET_SESSION: &str = "SELECT task_id, backend_type, session_id, working_dir, created_at, updated_at \
     FROM sessions WHERE task_id = ?1";

/// Replaces the binding of a task.
pub(super) const SAVE_SESSION: &str = "INSERT INTO sessions \
     (task_id, backend_type, session_id, working_dir, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (task_id) DO UPDATE SET \
     backend_type = excluded.backend_type, session_id = excluded.session_id, \
     working_dir = excluded.working_dir, updated_at = excluded.updated_at";

/// Returns SQLite's name of the setting.
pub(super) fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Normal => "NORMAL",
        _ => "FULL",
    }
}
