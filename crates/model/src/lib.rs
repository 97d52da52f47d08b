#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend_type;
mod error;
mod fence;
mod id;
mod import;
mod lease_length;
mod metadata;
mod number;
mod recording;
mod redact;
mod retraction;
mod revision;
mod role;
mod seq;
#[cfg(feature = "serde")]
mod serde_support;
mod session;
mod short_text;
mod task;
mod task_status;
mod text;
mod text_enum;
mod time;
mod turn;
mod visible;

pub use backend_type::{BackendName, BackendType};
pub use error::InvalidValue;
pub use fence::Fence;
pub use id::{HostName, MessageKey, SessionId, TaskId, WorkerId};
pub use import::{ImportedFile, RemovedSession};
pub use lease_length::LeaseLength;
pub use metadata::Metadata;
pub use recording::{RecordingFile, RecordingName, RecordingNumber};
pub use retraction::Retraction;
pub use revision::Revision;
pub use role::Role;
pub use seq::Seq;
pub use session::{ConfigDir, NewSession, Session, SessionRevision, WorkingDir};
pub use task::{FileList, NewTask, StatusUpdate, Task, TaskRow};
pub use task_status::{FailureMode, TaskStatus};
pub use text::{OptionalStoredText, StoredText};
pub use time::{OptionalUtcMicros, UtcMicros};
pub use turn::{ConversationTurn, MAX_TEXT_BYTES, NewMessage};
pub use visible::{VisibleJson, visible, visible_lines, visible_path};
