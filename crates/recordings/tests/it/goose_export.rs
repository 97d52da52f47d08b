use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::{Value, json};
use turnkeep_model::SessionId;
use turnkeep_recordings::{Exporter, find};

use crate::support::Folder;

/// The tables of Goose 1.3x, which have all columns that an export needs.
const SCHEMA: &str = "
    CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '',
        description TEXT NOT NULL DEFAULT '', user_set_name BOOLEAN DEFAULT FALSE,
        session_type TEXT NOT NULL DEFAULT 'user', working_dir TEXT NOT NULL,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        extension_data TEXT DEFAULT '{}', total_tokens INTEGER, input_tokens INTEGER,
        output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
        accumulated_total_tokens INTEGER, accumulated_input_tokens INTEGER,
        accumulated_output_tokens INTEGER, accumulated_cache_read_tokens INTEGER,
        accumulated_cache_write_tokens INTEGER, accumulated_cost REAL, schedule_id TEXT,
        recipe_json TEXT, user_recipe_values_json TEXT, provider_name TEXT, model_config_json TEXT,
        goose_mode TEXT NOT NULL DEFAULT 'auto', archived_at TIMESTAMP, project_id TEXT,
        parent_session_id TEXT);
    CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT,
        session_id TEXT NOT NULL, role TEXT NOT NULL, content_json TEXT NOT NULL,
        created_timestamp INTEGER NOT NULL, metadata_json TEXT);";

fn exporter(folder: &Folder, sql: &str) -> Exporter {
    let path = folder.file("sessions/sessions.db", "");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
    let found = find(&path, None).unwrap();
    found.sources[0].exporter().unwrap().unwrap()
}

fn export(exporter: &mut Exporter, id: &str) -> Option<(String, Value)> {
    let export = exporter.export(&SessionId::new(id).unwrap()).unwrap()?;
    let json = serde_json::from_slice(&export.json).unwrap();
    Some((export.name, json))
}

#[test]
fn a_session_is_exported_with_all_that_goose_stores() {
    let folder = Folder::new();
    let mut exporter = exporter(
        &folder,
        &format!(
            r#"{SCHEMA}
            INSERT INTO sessions (id, name, description, user_set_name, session_type, working_dir,
                created_at, updated_at, extension_data, total_tokens, accumulated_input_tokens,
                accumulated_cost, recipe_json, provider_name, model_config_json, archived_at)
            VALUES ('20261005_1', 'Cart', 'old', 1, 'acp', '/srv/app', '2026-10-05 08:00:00',
                '2026-10-05 08:00:09', '{{"todo.v0":{{"content":"x"}}}}', 21, 5, 0.25, 'no JSON',
                'anthropic', '{{"model_name":"m"}}', '2026-10-06T08:00:00.5+00:00'),
                ('20261005_2', '', 'Named before', 0, 'user', '/', 'nonsense', '', NULL, NULL, NULL, NULL,
                NULL, NULL, NULL, NULL);
            INSERT INTO messages VALUES
                (1, 'm2', '20261005_1', 'assistant',
                    '[{{"type":"toolRequest","id":"t","toolCall":{{"status":"success"}}}}]', 1791190802, NULL),
                (2, 'm1', '20261005_1', 'user', '[{{"type":"text","text":"Hi \ud83d\ude80"}}]', 1791190801,
                    '{{"userVisible":false,"agentVisible":true,"steer":true}}'),
                (3, NULL, '20261005_1', 'user', '[{{"type":', 1791190803, NULL),
                (4, NULL, '20261005_1', 'system', '[]', 1791190803, NULL),
                (5, NULL, '20261005_1', 'user', '[]', 1791190804, '{{"userVisible":"?"}}');"#
        ),
    );
    let (name, json) = export(&mut exporter, "20261005_1").unwrap();
    assert_eq!(name, "sessions/20261005_1.json");
    let none = json!({"input_tokens": null, "output_tokens": null, "total_tokens": 21,
        "cache_read_input_tokens": null, "cache_write_input_tokens": null});
    let mut accumulated = none.clone();
    accumulated["total_tokens"] = Value::Null;
    accumulated["input_tokens"] = json!(5);
    let visible = json!({"userVisible": true, "agentVisible": true});
    let expected = json!({
        "id": "20261005_1", "working_dir": "/srv/app", "name": "Cart", "user_set_name": true,
        "session_type": "acp", "created_at": "2026-10-05T08:00:00Z", "updated_at": "2026-10-05T08:00:09Z",
        "extension_data": {"todo.v0": {"content": "x"}}, "usage": none, "accumulated_usage": accumulated,
        "accumulated_cost": 0.25, "schedule_id": null, "recipe": null, "user_recipe_values": null,
        "conversation": [
            {"id": "m1", "role": "user", "created": 1791190801,
                "content": [{"type": "text", "text": "Hi \u{1f680}"}],
                "metadata": {"userVisible": false, "agentVisible": true, "steer": true}},
            {"id": "m2", "role": "assistant", "created": 1791190802, "content":
                [{"type": "toolRequest", "id": "t", "toolCall": {"status": "success"}}], "metadata": visible},
            {"id": null, "role": "user", "created": 1791190804, "content": [], "metadata": visible},
        ],
        "message_count": 3, "last_message_at": "2026-10-05T09:00:04Z", "provider_name": "anthropic",
        "model_config": {"model_name": "m"}, "goose_mode": "auto",
        "archived_at": "2026-10-06T08:00:00.500Z", "project_id": null, "parent_session_id": null,
    });
    assert_eq!(json, expected);

    let (_, json) = export(&mut exporter, "20261005_2").unwrap();
    assert_eq!(json["name"], "Named before");
    assert_eq!(json["created_at"], "1970-01-01T00:00:00Z");
    assert_eq!(json["extension_data"], json!({}));
    assert_eq!(json["conversation"], json!([]));
    assert_eq!(export(&mut exporter, "20261005_3"), None);
}

#[test]
fn an_old_database_has_fewer_columns() {
    let folder = Folder::new();
    let mut exporter = exporter(
        &folder,
        r#"CREATE TABLE sessions (id TEXT PRIMARY KEY, description TEXT, working_dir TEXT);
        CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content_json TEXT,
            created_timestamp INTEGER);
        INSERT INTO sessions VALUES ('a/b', 'd', '/srv');
        INSERT INTO messages VALUES (1, 'a/b', 'user', '[{"type":"text","text":"a"}]', 1);"#,
    );
    let (name, json) = export(&mut exporter, "a/b").unwrap();
    assert_eq!(name, "sessions/a%2Fb.json");
    assert_eq!(json["name"], "d");
    assert_eq!(json["session_type"], "user");
    assert_eq!(json["message_count"], 1);
}

/// A store keeps a changed file anew from its first change on.
#[test]
fn a_further_message_changes_only_the_end_of_an_export() {
    let folder = Folder::new();
    let said = |id: u32| {
        format!(
            r#"INSERT INTO messages VALUES ({id}, 'm{id}', '1', 'user', '[{{"type":"text","text":"a"}}]', {id}, NULL);"#
        )
    };
    // Its time would be that of the insertion.
    let session = "INSERT INTO sessions (id, working_dir, created_at) VALUES ('1', '/srv', '2026-10-05 08:00:00');";
    let json = |sql: &str| {
        let mut exporter = exporter(&folder, sql);
        exporter
            .export(&SessionId::new("1").unwrap())
            .unwrap()
            .unwrap()
            .json
    };
    let before = json(&format!("{SCHEMA} {session} {}", said(1)));
    std::fs::remove_file(folder.path().join("sessions/sessions.db")).unwrap();
    let changes = "UPDATE sessions SET name = 'New', updated_at = '2026-10-05 08:00:09', total_tokens = 9,
        accumulated_total_tokens = 9, accumulated_cost = 0.5, working_dir = '/', extension_data = '{\"a\":1}',
        provider_name = 'p', model_config_json = '{}', goose_mode = 'chat';";
    let after = json(&format!(
        "{SCHEMA} {session} {} {} {changes}",
        said(1),
        said(2)
    ));
    let equal = before
        .iter()
        .zip(&after)
        .take_while(|(a, b)| a == b)
        .count();
    let message = before.windows(4).position(|it| it == b"\"m1\"").unwrap();
    let end = message
        + before[message..]
            .iter()
            .position(|byte| *byte == b']')
            .unwrap();
    assert!(equal > end, "{equal} {}", String::from_utf8_lossy(&before));
}
