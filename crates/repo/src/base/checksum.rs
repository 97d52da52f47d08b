//! The checksum stored with each turn, because SQLite's file format has none: a flipped bit would turn one text
//! into another. `check`, copies and exports verify it. `get_history` does not, to stay fast.

use chrono::{DateTime, Utc};
use turnkeep_model::{ConversationTurn, MessageKey, Metadata, Role};

/// Returns the CRC-32 of role, time, key, text and metadata, signed so that SQLite stores it in four bytes. The
/// indexes hold the task and the seq a second time, so the checksum leaves them out.
pub(crate) fn of_turn(
    role: Role,
    content: &str,
    timestamp: DateTime<Utc>,
    key: Option<&MessageKey>,
    metadata: Option<&Metadata>,
) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(role.as_str().as_bytes());
    hasher.update(&timestamp.timestamp_micros().to_le_bytes());
    if let Some(key) = key {
        hasher.update(key.as_str().as_bytes());
    }
    // Never part of UTF-8, so it separates the key from the text, and the text from the metadata.
    hasher.update(&[0xff]);
    hasher.update(content.as_bytes());
    if let Some(metadata) = metadata {
        hasher.update(&[0xff]);
        hasher.update(metadata.as_str().as_bytes());
    }
    i64::from(hasher.finalize().cast_signed())
}

/// Whether the turn matches its checksum. A turn without one was written by another program.
pub(crate) fn is_right(turn: &ConversationTurn, checksum: Option<i64>) -> bool {
    let computed = || {
        let (key, metadata) = (turn.message_key.as_ref(), turn.metadata.as_ref());
        of_turn(turn.role, &turn.content, turn.timestamp, key, metadata)
    };
    checksum.is_none_or(|checksum| checksum == computed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores hold these numbers: they never change.
    #[test]
    fn the_checksum_of_a_turn_stays_what_it_is() {
        let key = MessageKey::new("k").unwrap();
        let metadata = Metadata::new("{}").unwrap();
        let time = DateTime::from_timestamp_micros(1_791_190_800_000_001).unwrap();
        let sums = [
            of_turn(Role::User, "", DateTime::UNIX_EPOCH, None, None),
            of_turn(Role::User, "Hello\0 é", time, None, None),
            of_turn(Role::Assistant, "Hello\0 é", time, None, None),
            of_turn(Role::User, "Hello\0 é", time, Some(&key), None),
            of_turn(Role::User, "kHello\0 é", time, None, None),
            of_turn(Role::User, "Hello\0 é", time, Some(&key), Some(&metadata)),
            of_turn(Role::User, "Hello\0 é{}", time, Some(&key), None),
        ];
        assert_eq!(
            sums,
            [
                88_496_707,
                -1_814_602_649,
                -930_255_755,
                -836_080_649,
                1_873_068_466,
                1_319_067_234,
                574_340_803
            ]
        );
    }
}
