// @generated automatically by Diesel CLI.

diesel::table! {
    conversation_history (task_id, seq) {
        task_id -> Text,
        seq -> BigInt,
        role -> Text,
        timestamp -> BigInt,
        message_key -> Nullable<Text>,
        content -> Text,
        metadata -> Nullable<Text>,
        checksum -> Nullable<BigInt>,
    }
}

diesel::table! {
    history_retractions (task_id, number) {
        task_id -> Text,
        number -> BigInt,
        after_seq -> BigInt,
        through_seq -> BigInt,
        hidden_at -> BigInt,
    }
}

diesel::table! {
    imported_files (host, path) {
        host -> Text,
        path -> Binary,
        size -> BigInt,
        modified_ns -> BigInt,
        inode -> Text,
        settled -> BigInt,
        kept -> BigInt,
        reader -> BigInt,
        backend_type -> Text,
        session_id -> Nullable<Text>,
    }
}

diesel::table! {
    recording_chunks (task_id, number, offset) {
        task_id -> Text,
        number -> BigInt,
        offset -> BigInt,
        length -> BigInt,
        checksum -> BigInt,
        data -> Binary,
    }
}

diesel::table! {
    recordings (task_id, number) {
        task_id -> Text,
        number -> BigInt,
        name -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    removed_sessions (backend_type, session_id) {
        backend_type -> Text,
        session_id -> Text,
        task_id -> Text,
        removed_at -> BigInt,
    }
}

diesel::table! {
    session_revisions (task_id, revision) {
        task_id -> Text,
        revision -> BigInt,
        backend_type -> Text,
        session_id -> Text,
        working_dir -> Nullable<Text>,
        config_dir -> Nullable<Text>,
        metadata -> Nullable<Text>,
        first_seq -> BigInt,
        saved_at -> BigInt,
        retired_at -> Nullable<BigInt>,
        retired_reason -> Nullable<Text>,
    }
}

diesel::table! {
    sessions (task_id) {
        task_id -> Text,
        backend_type -> Text,
        session_id -> Text,
        working_dir -> Nullable<Text>,
        config_dir -> Nullable<Text>,
        metadata -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    task_dependencies (task_id, depends_on) {
        task_id -> Text,
        depends_on -> Text,
    }
}

diesel::table! {
    tasks (id) {
        id -> Text,
        name -> Text,
        agent_role -> Nullable<Text>,
        prompt -> Text,
        writes_files -> Text,
        status -> Text,
        failure_mode -> Text,
        not_before -> Nullable<BigInt>,
        metadata -> Nullable<Text>,
        result -> Nullable<Text>,
        error -> Nullable<Text>,
        worker -> Nullable<Text>,
        fence -> BigInt,
        lease_ends_at -> Nullable<BigInt>,
        lease_length -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        status_changed_at -> BigInt,
        last_active_at -> BigInt,
    }
}

diesel::joinable!(conversation_history -> tasks (task_id));
diesel::joinable!(history_retractions -> tasks (task_id));
diesel::joinable!(recordings -> tasks (task_id));
diesel::joinable!(session_revisions -> tasks (task_id));
diesel::joinable!(sessions -> tasks (task_id));

diesel::allow_tables_to_appear_in_same_query!(
    conversation_history,
    history_retractions,
    imported_files,
    recording_chunks,
    recordings,
    removed_sessions,
    session_revisions,
    sessions,
    task_dependencies,
    tasks,
);
